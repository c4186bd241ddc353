"""Child processes in which jobs run: here for ``local``, on every worker for ``dask`` and ``ray``.

A process can be ended, a thread cannot. So a job that hangs, crashes natively or eats all memory takes down its own
child and nothing else: neither other jobs nor the worker of a cluster. Children are fresh interpreters, so CUDA is
safe; those that are done stay warm for the next map, and none outlives its driver.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from groupshap.engines.base import EngineConfig, Job, JobFunction, Outcome, describe, thread_variables

__all__ = ["Children", "Task", "end_here", "run_here"]

_N_ATTEMPTS = 2  # a child may be killed for no fault of its job, but hardly twice
_DYING_SECONDS = 2.0
_START = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[2]); "
    "from groupshap.engines.child import main; main(int(sys.argv[1]))"
)
# Dask has its worker processes give all freed memory back to the system. For a training step that is every tensor,
# mapped and unmapped again: 1.9 times the CPU seconds on two cores. Other values are the user's, and stay.
_DASK_MALLOC = ("MALLOC_TRIM_THRESHOLD_", "65536")
_DEVICES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")

_lock = threading.Lock()
_idle: list[Child] = []
_maps: dict[str, Children] = {}


@dataclass(frozen=True)
class Task:
    """What the jobs of one map have in common; small, because it travels with each of them.

    Attributes:
        function: ``module:name`` of the job function.
        n_threads: Threads of each job.
        timeout_s: Time limit of each job in seconds; None: none.
        paths: Folders beside the installed packages in which the driver finds modules, such as a user's own property.
    """

    function: str
    n_threads: int
    timeout_s: float | None
    paths: tuple[str, ...]

    @classmethod
    def of(cls, fn: JobFunction, engine: EngineConfig) -> Task:
        """Raises ValueError for a function that other processes cannot import."""
        return cls(_address_of(fn), engine.n_threads_per_worker, engine.job_timeout_s, _own_paths())

    def request(self, job: Job) -> str:
        """One line for a child.

        Raises:
            TypeError, ValueError: the job is not JSON.
        """
        return json.dumps({"function": self.function, "job": job, "n_threads": self.n_threads, "paths": self.paths})


def _own_paths() -> tuple[str, ...]:
    """Absolute search paths that are no part of the Python installation."""
    installed = tuple({sys.prefix, sys.base_prefix, sys.exec_prefix})
    absolute = [str(Path(path).absolute()) for path in sys.path]
    return tuple(path for path in absolute if not path.startswith(installed))


def _address_of(fn: JobFunction) -> str:
    """``module:name`` of a function, so that another process can import it.

    Raises:
        ValueError: a lambda, a nested function, or one of ``__main__``.
    """
    address = f"{fn.__module__}:{fn.__qualname__}"
    if fn.__module__ == "__main__" or getattr(import_module(fn.__module__), fn.__qualname__, None) is not fn:
        raise ValueError(
            f"Worker processes cannot import {address}: expected a function at the top level of a module that can be "
            "imported by name. Move it into one, or use engine kind inline."
        )
    return address


class Child:
    """One process that runs one job at a time."""

    def __init__(self, n_threads: int, surroundings: tuple[str, ...]) -> None:
        self.surroundings = surroundings
        self.timed_out = False
        # A group of its own: Ctrl-C does not reach it, and what a job starts is ended with it.
        group = {"process_group": 0} if os.name == "posix" else {}
        self._process = subprocess.Popen(  # noqa: S603 - fixed words
            [sys.executable, "-c", _START, str(os.getpid()), json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_environment(n_threads),
            text=True,
            encoding="utf-8",
            **group,
        )

    def is_alive(self) -> bool:
        """Whether it can take a job."""
        return self._process.poll() is None

    def ask(self, request: str, timeout_s: float | None) -> dict[str, Any] | None:
        """Send a job and wait for the answer; None if the child died, or was ended, before there was one."""
        timer = threading.Timer(timeout_s or 0, self._expire)
        if timeout_s is not None:
            timer.start()
        try:
            self._process.stdin.write(request + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except (OSError, ValueError):  # broken or closed pipe
            return None
        finally:
            timer.cancel()
        return json.loads(answer) if answer.endswith("\n") else None

    def _expire(self) -> None:
        self.timed_out = True
        self.kill()

    def kill(self) -> None:
        """End the process and what it started, at once."""
        with suppress(ProcessLookupError, PermissionError):  # gone already
            if os.name == "posix":
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()

    def bury(self, patience_s: float = 0.0) -> str:
        """End the process if it still runs, close its pipes; how it ended, for example "SIGKILL" or "exit code 3"."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(patience_s)  # dying by itself: what it says then is the cause
        self.kill()
        code = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):  # an unsent request
                pipe.close()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _environment(n_threads: int) -> dict[str, str]:
    """Environment variables of a child: this process's, but for what only suits this process."""
    inherited = {name: value for name, value in os.environ.items() if (name, value) != _DASK_MALLOC}
    return {**inherited, **thread_variables(n_threads)}


class Children:
    """The children of one map in this process.

    Args:
        task: What its jobs have in common.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._busy: set[Child] = set()
        self._is_closed = False

    def run(self, job: Job) -> Outcome:
        """Run one job in a child; called from as many threads as jobs shall run at once."""
        try:
            request = self._task.request(job)
        except (TypeError, ValueError) as error:
            return Outcome(job["task_id"], None, describe(error))
        ended = ""
        for _ in range(_N_ATTEMPTS):
            child = self._borrow()
            if child is None:
                return Outcome(job["task_id"], None, "cancelled: the map was closed")
            answer = child.ask(request, self._task.timeout_s)
            self._give_back(child, is_usable=answer is not None)
            if answer is not None:
                return Outcome(**answer)
            ended = child.bury(_DYING_SECONDS)
            if child.timed_out:
                text = (
                    f"TimeoutError: not done within {self._task.timeout_s:g} s (engine.job_timeout_s), so it was ended"
                )
                return Outcome(job["task_id"], None, text)
        text = f"its worker process died ({ended}), also at a second attempt: out of memory, or a native crash?"
        return Outcome(job["task_id"], None, text)

    def close(self) -> None:
        """Kill what runs, and what is idle too; start nothing more."""
        with _lock:
            self._is_closed = True
            for child in self._busy:
                child.kill()
            while _idle:
                _idle.pop().bury()

    def _borrow(self) -> Child | None:
        """A warm child, else a new one; None once closed."""
        surroundings = (str(self._task.n_threads), *(os.environ.get(name, "") for name in _DEVICES))
        with _lock:
            if self._is_closed:
                return None
            child = _warm_child(surroundings) or Child(self._task.n_threads, surroundings)
            self._busy.add(child)
            return child

    def _give_back(self, child: Child, *, is_usable: bool) -> None:
        with _lock:
            self._busy.discard(child)
            if is_usable and not self._is_closed:
                _idle.append(child)
            elif is_usable:
                child.bury()


def _warm_child(surroundings: tuple[str, ...]) -> Child | None:
    """An idle child that was started in these surroundings; others are ended: they may hold the memory of a GPU."""
    while _idle:
        child = _idle.pop()
        if child.is_alive() and child.surroundings == surroundings:
            return child
        child.bury()
    return None


def run_here(token: str, task: Task, job: Job) -> Outcome:
    """Run a job in a child of this process, for the map ``token``; what a cluster's worker does."""
    with _lock:
        children = _maps.setdefault(token, Children(task))
    return children.run(job)


def end_here(token: str) -> None:
    """Kill what runs in this process for the map ``token``; what a cluster's worker does when the driver stops."""
    with _lock:
        children = _maps.pop(token, None)
    if children is not None:
        children.close()
