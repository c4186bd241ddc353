"""What a child process does: take one job after the other from stdin, answer on stdout, one line of JSON each.

It ends when its driver is gone, whatever it is doing, and after a while without work. See
:mod:`groupshap.engines.children` for the other side.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
from dataclasses import asdict
from functools import partial
from importlib import import_module
from typing import TextIO

from groupshap.engines.base import Job, Record, run_job

__all__ = ["main"]

_IDLE_SECONDS = 300  # a warm child saves the next map (another split, property_eval) its imports
_WATCH_SECONDS = 1.0


def main(driver_pid: int) -> None:
    """Run jobs until there is no driver, or no job for five minutes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver's Ctrl-C ends us through the driver
    requests, replies = _claim_pipes()
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests, waiting), daemon=True).start()
    if os.name == "posix":  # elsewhere the parent's id says nothing about whether it lives
        threading.Thread(target=_exit_with, args=(driver_pid,), daemon=True).start()
    while True:
        try:
            request = json.loads(waiting.get(timeout=_IDLE_SECONDS))
        except queue.Empty:
            return
        sys.path += [path for path in request["paths"] if path not in sys.path]
        outcome = run_job(partial(_run, request["function"]), request["job"], request["n_threads"])
        print(json.dumps(asdict(outcome)), file=replies, flush=True)


def _run(address: str, job: Job) -> Record:
    """Run the function at ``module:name``; that it cannot be imported here is an error of the job, and reported."""
    module, _, name = address.partition(":")
    return getattr(import_module(module), name)(job)


def _claim_pipes() -> tuple[TextIO, TextIO]:
    """The pipes to the driver, out of reach of the jobs: what they print goes to stderr, what they read is empty."""
    requests, replies = os.fdopen(os.dup(0), encoding="utf-8"), os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, replies


def _listen(requests: TextIO, waiting: queue.SimpleQueue[str]) -> None:
    """Pass requests on; the end of the pipe is the end of the driver, even of one killed with SIGKILL."""
    for line in requests:
        waiting.put(line)
    os._exit(1)


def _exit_with(driver_pid: int) -> None:
    """Watch the parent too: a process that the driver forked may hold the pipe open.

    PR_SET_PDEATHSIG would need no polling, but it is Linux only and fires when the *thread* that started us ends.
    """
    while os.getppid() == driver_pid:
        time.sleep(_WATCH_SECONDS)
    os._exit(1)
