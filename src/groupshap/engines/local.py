"""Jobs in worker processes on this machine (loky, which comes with joblib): fresh interpreters, so CUDA is safe.

What differs from a plain process pool: when a worker dies, a pool breaks and loses everything given to it. So no more
jobs are given out than there are workers; those in flight at a death run again, each alone, and only the job that
kills its worker once more is reported. Workers that are done stay warm for the next map, and never outlive the driver.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait

from joblib.externals.loky import get_reusable_executor

from groupshap.engines.base import EngineConfig, Job, JobFunction, Outcome, describe, run_job, thread_variables

__all__ = ["map_unordered"]

_IDLE_SECONDS = 300  # a warm worker saves the next map (another split, property_eval) its imports
_WATCH_SECONDS = 1.0


def map_unordered(fn: JobFunction, jobs: Sequence[Job], engine: EngineConfig) -> Iterator[Outcome]:
    """Run the jobs in ``engine.n_jobs_at_once()`` processes.

    If the consumer stops early (Ctrl-C, an exception, ``close()``), the workers are killed and nothing queued runs.
    """
    waiting = deque(jobs)
    try:
        while waiting:
            suspects = yield from _until_a_worker_dies(fn, waiting, engine)
            for job in suspects:
                yield _alone(fn, job, engine)
    except BaseException:
        _executor(engine).shutdown(wait=True, kill_workers=True)
        raise


def _until_a_worker_dies(fn: JobFunction, waiting: deque[Job], engine: EngineConfig) -> Iterator[Outcome]:
    """Yield outcomes until all jobs are done or a worker died; returns the jobs in flight at the death."""
    executor = _executor(engine)
    running: dict[Future[Outcome], Job] = {}
    suspects: list[Job] = []
    while running or (waiting and not suspects):
        while waiting and not suspects and len(running) < engine.n_jobs_at_once():
            try:
                running[executor.submit(run_job, fn, waiting[0], engine.n_threads_per_worker)] = waiting[0]
            except BrokenExecutor:  # a worker died before this job reached it: not the job's fault
                break
            waiting.popleft()
        if not running:
            return suspects
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            job = running.pop(future)
            if isinstance(future.exception(), BrokenExecutor):
                suspects.append(job)
            else:
                yield _outcome(future, job)
    return suspects


def _alone(fn: JobFunction, job: Job, engine: EngineConfig) -> Outcome:
    """Run a job while nothing else runs: if the worker dies now, it was this job."""
    future = _executor(engine).submit(run_job, fn, job, engine.n_threads_per_worker)
    return _outcome(future, job)


def _outcome(future: Future[Outcome], job: Job) -> Outcome:
    """The job's own outcome, or an outcome that tells why there is none."""
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, BrokenExecutor):
        codes = re.search(r"exit codes of the workers are \{(.*?)\}", str(error))
        ended = codes.group(1) if codes else type(error).__name__
        text = f"its worker process died ({ended}), also with no other job running: out of memory, or a native crash?"
        return Outcome(job["task_id"], None, text)
    return Outcome(job["task_id"], None, describe(error))  # job or record could not be pickled


def _executor(engine: EngineConfig) -> Executor:
    """The running pool of this configuration, or a fresh one if it broke or another one ran."""
    return get_reusable_executor(
        max_workers=engine.n_jobs_at_once(),
        timeout=_IDLE_SECONDS,
        initializer=_prepare_worker,
        initargs=(os.getpid(),),
        env=thread_variables(engine.n_threads_per_worker),
    )


def _prepare_worker(driver_pid: int) -> None:
    """Leave Ctrl-C to the driver, which kills the workers, and end this process when the driver is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if os.name == "posix":  # elsewhere the parent's id says nothing about whether it lives
        threading.Thread(target=_exit_with, args=(driver_pid,), daemon=True).start()


def _exit_with(driver_pid: int) -> None:
    """Watch the parent: after SIGKILL it cannot stop us, and a busy worker would compute on for nobody.

    PR_SET_PDEATHSIG would need no polling, but it is Linux only and fires when the *thread* that started us ends.
    """
    while os.getppid() == driver_pid:
        time.sleep(_WATCH_SECONDS)
    os._exit(1)
