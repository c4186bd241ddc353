"""Jobs on a Dask cluster: one that runs already, one that a batch system starts, or one on this machine.

Dask only carries jobs to workers and outcomes back, as they complete; on the worker each job runs in a child process
(:mod:`groupshap.engines.children`), so that one which hangs or crashes is ended without the worker. A worker that is
lost has its jobs run on another one. Workers and scheduler need this package in their environment, and the workers the
folders of the jobs at the same absolute path.
"""

from __future__ import annotations

import atexit
import logging
import queue
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from groupshap.engines.base import EngineConfig, Job, JobFunction, Outcome, describe
from groupshap.engines.children import Task, end_here, run_here
from groupshap.engines.cluster import ClusterError, Patience, missing_extra

try:
    from distributed import Client, Future, KilledWorker, LocalCluster
    from distributed.system import MEMORY_LIMIT
except ImportError as error:
    raise missing_extra("dask", error) from error

__all__ = ["map_unordered", "n_jobs_at_once"]

logger = logging.getLogger(__name__)

_CLUSTERS = {
    "slurm": "SLURMCluster",
    "pbs": "PBSCluster",
    "sge": "SGECluster",
    "lsf": "LSFCluster",
    "oar": "OARCluster",
    "htcondor": "HTCondorCluster",
}
_CONNECT = "20s"
_LOOK_SECONDS = 1.0  # how often workers that came or went are noticed

_open: tuple[EngineConfig, Client] | None = None


def map_unordered(fn: JobFunction, jobs: Sequence[Job], engine: EngineConfig) -> Iterator[Outcome]:
    """Run the jobs on the cluster; no more of them are given out than keep it busy.

    If the consumer stops early (Ctrl-C, an exception, ``close()``), what runs is killed and nothing queued runs.

    Raises:
        ClusterError: no scheduler there, or it was lost; what is committed stays.
    """
    task = Task.of(fn, engine)
    if not jobs:
        return
    running = _Map(_client(engine), task, engine)
    try:
        yield from running.outcomes(deque(jobs))
    finally:
        running.close()


def n_jobs_at_once(engine: EngineConfig) -> int:
    """Slots of the cluster for such jobs, at least 1; batch jobs that still wait count."""
    if engine.jobqueue is not None:
        return engine.jobqueue.n_jobs * int(engine.jobqueue.options.get("cores", 1))
    return max(1, _n_slots(_client(engine), engine))


@dataclass
class _Map:
    """One map: what is given out, and how outcomes come back.

    Attributes:
        client: Connection to the scheduler.
        task: What the jobs have in common.
        engine: Resources of each job.
        token: Tells this map's jobs from those of other drivers.
    """

    client: Client
    task: Task
    engine: EngineConfig
    token: str = field(default_factory=lambda: uuid4().hex)
    given_out: dict[Future, Job] = field(default_factory=dict)
    completed: queue.SimpleQueue[Future] = field(default_factory=queue.SimpleQueue)

    def outcomes(self, waiting: deque[Job]) -> Iterator[Outcome]:
        """Yield one outcome per job."""
        patience = Patience()
        n_wanted, looked = 1, float("-inf")
        while waiting or self.given_out:
            if time.monotonic() - looked > _LOOK_SECONDS:
                n_slots = self._look(patience)
                n_wanted, looked = self.engine.n_given_out(n_slots), time.monotonic()
            while waiting and len(self.given_out) < n_wanted:
                self._give_out(waiting.popleft())
            try:
                future = self.completed.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                continue
            job = self.given_out.pop(future)
            yield self._outcome(future, job)

    def _look(self, patience: Patience) -> int:
        """The slots there are now; says so if there are none."""
        if self.client.status != "running":
            raise _lost(self.engine)
        try:
            n_slots = _n_slots(self.client, self.engine)
        except (OSError, RuntimeError, TimeoutError) as error:
            raise _lost(self.engine) from error
        patience.see(n_slots, lambda: _offer(self.client, self.engine))
        return n_slots

    def _give_out(self, job: Job) -> None:
        future = self.client.submit(
            run_here,
            self.token,
            self.task,
            job,
            key=f"{job['task_id']}-{self.token}",
            pure=False,
            resources=_resources(self.engine) or None,
        )
        self.given_out[future] = job
        future.add_done_callback(self.completed.put)

    def _outcome(self, future: Future, job: Job) -> Outcome:
        """The job's own outcome, or one that tells why there is none.

        Raises:
            ClusterError: the scheduler is gone, and with it all that was given out.
        """
        if future.status == "cancelled":
            raise _lost(self.engine)
        error = future.exception()
        if error is None:
            outcome = future.result()
        elif isinstance(error, KilledWorker):
            n_lost, last = error.allowed_failures + 1, error.last_worker.address
            outcome = Outcome(job["task_id"], None, f"its worker was lost {n_lost} times, the last time {last}")
        else:  # nothing of ours raises on the worker: the package is missing there, or another version
            outcome = Outcome(job["task_id"], None, describe(error))
        future.release()
        return outcome

    def close(self) -> None:
        """Take back what is given out, kill what runs of it."""
        if self.client.status == "running" and self.given_out:
            self.client.cancel(list(self.given_out), force=True)
            self.client.run(end_here, self.token, on_error="ignore")
        self.given_out.clear()


def _resources(engine: EngineConfig) -> dict[str, float]:
    """What a job needs, in the names that Dask's documentation uses."""
    needs = {"GPU": engine.gpus_per_job, "MEMORY": engine.memory_gb_per_job * 1e9}
    return {name: amount for name, amount in needs.items() if amount}


def _n_slots(client: Client, engine: EngineConfig) -> int:
    """Jobs that the workers of this moment can run at once."""
    needs = _resources(engine)
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return sum(
        min([worker["nthreads"], *(int(worker["resources"].get(name, 0) / need) for name, need in needs.items())])
        for worker in workers
    )


def _offer(client: Client, engine: EngineConfig) -> str:
    """What jobs need and the workers have, for the log."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    if not workers:
        return "no worker is connected to the Dask scheduler yet"
    offers = sorted({str(worker["resources"] or "nothing") for worker in workers})
    return (
        f"none of the {len(workers)} Dask workers has the {_resources(engine)} that a job needs; they offer "
        f'{", ".join(offers)} (`dask worker --resources "GPU=1 MEMORY=64e9"`)'
    )


def _lost(engine: EngineConfig) -> ClusterError:
    return ClusterError(
        f"The Dask scheduler ({_where(engine)}) was lost. What is committed is kept: start it and its workers again, "
        "then run the same command."
    )


def _where(engine: EngineConfig) -> str:
    return engine.address or engine.scheduler_file or "started for this run"


def _quiet() -> None:
    """Dask tells every step of scheduler and workers at level INFO; that is for its developers."""
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "distributed"]
    for library in map(logging.getLogger, names):
        library.setLevel(max(library.level, logging.WARNING))
    # A lost scheduler is one error of ours; the client would add forty lines about it.
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)


def _client(engine: EngineConfig) -> Client:
    """The connection of this configuration; kept for the next map, so that its workers stay warm."""
    global _open  # noqa: PLW0603 - one connection per process
    wanted = engine.model_copy(update={"job_timeout_s": None})
    if _open is not None and _open[0] == wanted and _open[1].status == "running":
        return _open[1]
    _close()
    _quiet()
    _open = (wanted, _connect(engine))
    logger.info("Dask: connected to %s.", _open[1].scheduler.address)
    return _open[1]


def _connect(engine: EngineConfig) -> Client:
    """Connect to a cluster, or start one.

    Raises:
        ClusterError: there is none.
    """
    where: dict[str, Any] = {"address": engine.address}
    if engine.scheduler_file:
        where = {"scheduler_file": engine.scheduler_file}
    elif engine.jobqueue is not None:
        where = {"address": _batch_cluster(engine)}
    elif engine.address is None:
        where = {"address": _own_cluster(engine)}
    try:
        if engine.scheduler_file and not Path(engine.scheduler_file).is_file():
            raise FileNotFoundError("no such file")  # Dask would wait for it for ever
        return Client(**where, timeout=_CONNECT, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise ClusterError(
            f"No Dask scheduler at {_where(engine)}: {error}. Start one (`dask scheduler --host HOST`) and workers "
            "(`dask worker tcp://HOST:8786`), or correct `engine.address` or `engine.scheduler_file`."
        ) from error


def _own_cluster(engine: EngineConfig) -> LocalCluster:
    """Scheduler and workers as threads of this process, which nobody else can reach; the jobs have child processes."""
    n_workers = engine.n_jobs_at_once()
    return LocalCluster(
        n_workers=n_workers,
        threads_per_worker=1,
        processes=False,
        protocol="inproc",
        dashboard_address="127.0.0.1:0",
        worker_dashboard_address="127.0.0.1:0",
        memory_limit=0,  # of the threads; what jobs need is engine.memory_gb_per_job
        resources={"MEMORY": MEMORY_LIMIT / n_workers},
    )


def _batch_cluster(engine: EngineConfig) -> Any:
    """Workers as jobs of the batch system."""
    try:
        import dask_jobqueue  # noqa: PLC0415 - only where there is a batch system
    except ImportError as error:
        raise missing_extra("dask", error) from error
    wanted = engine.jobqueue
    defaults = {"scheduler_options": {"dashboard": False}, **wanted.options}
    cluster = getattr(dask_jobqueue, _CLUSTERS[wanted.system])(**defaults)
    cluster.scale(jobs=wanted.n_jobs)
    return cluster


@atexit.register
def _close() -> None:
    """Disconnect; a cluster that was started for us ends, one that ran already stays."""
    global _open
    if _open is None:
        return
    client, _open = _open[1], None
    cluster = client.cluster
    client.close(timeout=2)
    if cluster is not None:
        cluster.close(timeout=10)
