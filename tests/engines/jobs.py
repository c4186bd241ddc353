"""Functions for the engine tests, at the top level of a module so that workers can import them."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path


def arithmetic(job: dict) -> dict:
    if job.get("fails"):
        raise ValueError(f"no luck with {job['number']}")
    return {"task_id": job["task_id"], "value": sum(1 / (job["number"] + i) for i in range(1, 1000))}


def leaves(job: dict) -> dict:
    sys.exit(f"exit from {job['task_id']}")


def returns_a_lock(job: dict) -> dict:
    return {"value": threading.Lock()}


def dies_always(job: dict) -> dict:
    """Leave one line per attempt; the job "killer" takes its worker down after others have started."""
    time.sleep(0.03)
    with Path(job["log"]).open("a") as log:
        log.write(job["task_id"] + "\n")
    if job["task_id"] == "killer":
        os.kill(os.getpid(), signal.SIGKILL)
    return {"pid": os.getpid()}


def dies_once(job: dict) -> dict:
    marker = Path(job["marker"])
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"task_id": job["task_id"]}


def n_threads(job: dict) -> dict:
    """Threads that torch, OpenMP and BLAS would use; torch is imported here, as a lazy task does."""
    import torch
    from threadpoolctl import threadpool_info

    limits = {info["num_threads"] for info in threadpool_info() if info["user_api"] in ("openmp", "blas")}
    return {"torch": torch.get_num_threads(), "limits": sorted(limits), "variable": os.environ["OMP_NUM_THREADS"]}


def variable(job: dict) -> dict:
    return {"value": os.environ.get(job["name"])}


def sleep_and_tell(job: dict) -> dict:
    Path(job["folder"], str(os.getpid())).touch()
    time.sleep(job["seconds"])
    return {"task_id": job["task_id"]}


def progress_is_shown(job: dict) -> dict:
    from groupshap.progress import Progress, progress

    with progress("training", total=3) as bar:
        return {"shown": type(bar) is not Progress}


def family(job: dict) -> dict:
    """Who ran this: the process, and the worker it belongs to."""
    time.sleep(job["seconds"])
    return {"pid": os.getpid(), "worker": os.getppid()}


def loses_its_worker(job: dict) -> dict:
    """The job "unlucky" kills the worker that runs it: once, or always if it has no marker."""
    time.sleep(0.05)
    if job["task_id"] == "unlucky" and not ("marker" in job and Path(job["marker"]).exists()):
        if "marker" in job:
            Path(job["marker"]).touch()
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(30)
    return {"task_id": job["task_id"]}


def commits(job: dict) -> dict:
    """A task as the real ones are: works a while, commits a file and a record; leaves one line per start."""
    from groupshap.store import commit

    with Path(job["log"]).open("a") as log:
        log.write(f"{job['task_id']} {os.getpid()}\n")
    time.sleep(job["seconds"])
    weights = job["task_id"].encode() * 1000
    with may_write(job.get("file_limit")):
        return commit(
            Path(job["folder"]), {"value": job["value"]}, {"weights.bin": lambda path: path.write_bytes(weights)}
        )


@contextmanager
def may_write(n_bytes: int | None):
    """At most so many bytes per file, as if the disk were full; None: no limit."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    if n_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def interval(job: dict) -> dict:
    start = time.time()
    time.sleep(job["seconds"])
    return {"start": start, "end": time.time()}
