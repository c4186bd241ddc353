"""Jobs on a Ray cluster: one that runs already, or one on this machine.

As in :mod:`groupshap.engines.dask`, the cluster carries jobs and outcomes, and each job runs in a child process of a
Ray worker. Ray gives every worker its GPUs, whole or in fractions, and chooses them itself. A worker or node that is
lost has its jobs run on another one. Workers need this package, the same Python and the same version of Ray.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from groupshap.engines.base import EngineConfig, Job, JobFunction, Outcome, describe
from groupshap.engines.children import Task, run_here
from groupshap.engines.cluster import ClusterError, Patience, missing_extra

# Before the import: Ray would report its use, and warn of a future default.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

try:
    import ray
    from ray._private import ray_constants
    from ray.exceptions import RayError, RayTaskError
except ImportError as error:
    raise missing_extra("ray", error) from error

__all__ = ["map_unordered", "n_jobs_at_once"]

_LOOK_SECONDS = 1.0
_LOOPBACK = ("127.", "localhost:")
_N_RETRIES = 3
_STORE_BYTES = 80_000_000  # near the least that Ray takes: jobs and records are small

_connected: EngineConfig | None = None


def map_unordered(fn: JobFunction, jobs: Sequence[Job], engine: EngineConfig) -> Iterator[Outcome]:
    """Run the jobs on the cluster; no more of them are given out than keep it busy.

    If the consumer stops early (Ctrl-C, an exception, ``close()``), what runs is killed and nothing queued runs.

    Raises:
        ClusterError: no cluster there.
    """
    task = Task.of(fn, engine)
    if not jobs:
        return
    _connect(engine)
    running = _Map(task, engine)
    try:
        yield from running.outcomes(deque(jobs))
    finally:
        running.close()


def n_jobs_at_once(engine: EngineConfig) -> int:
    """Slots of the cluster for such jobs, at least 1."""
    _connect(engine)
    return max(1, _n_slots(engine))


@dataclass
class _Map:
    """One map: what is given out, and how outcomes come back.

    Attributes:
        task: What the jobs have in common.
        engine: Resources of each job.
        token: Tells this map's jobs from those of others in the same worker.
    """

    task: Task
    engine: EngineConfig
    token: str = field(default_factory=lambda: uuid4().hex)
    given_out: dict[Any, Job] = field(default_factory=dict)

    def outcomes(self, waiting: deque[Job]) -> Iterator[Outcome]:
        """Yield one outcome per job."""
        patience = Patience()
        # max_calls=0: else a worker with a GPU ends after each job, and every job imports torch anew.
        remote = ray.remote(max_calls=0, max_retries=_N_RETRIES, **_resources(self.engine))(run_here)
        while waiting or self.given_out:
            n_slots = _n_slots(self.engine)
            patience.see(n_slots, lambda: _offer(self.engine))
            n_wanted = self.engine.n_given_out(n_slots)
            while waiting and len(self.given_out) < n_wanted:
                job = waiting.popleft()
                self.given_out[remote.remote(self.token, self.task, job)] = job
            done, _ = ray.wait(list(self.given_out), num_returns=1, timeout=_LOOK_SECONDS)
            for reference in done:
                yield _outcome(reference, self.given_out.pop(reference))

    def close(self) -> None:
        """Kill what runs, its child with it, and take back the rest."""
        for reference in self.given_out:
            ray.cancel(reference, force=True)
        self.given_out.clear()


def _outcome(reference: Any, job: Job) -> Outcome:
    """The job's own outcome, or one that tells why there is none."""
    try:
        return ray.get(reference)
    except RayTaskError as error:  # nothing of ours raises on the worker: the package is missing there
        return Outcome(job["task_id"], None, describe(error.cause if isinstance(error.cause, Exception) else error))
    except RayError as error:
        first = str(error).partition("\n")[0]
        text = f"its worker was lost {_N_RETRIES + 1} times: {type(error).__name__}: {first}"
        return Outcome(job["task_id"], None, text)


def _resources(engine: EngineConfig) -> dict[str, float]:
    """What a job needs, as arguments of Ray; nothing of what is zero."""
    needs: dict[str, float] = {"num_cpus": engine.n_threads_per_worker}
    if engine.gpus_per_job:
        needs["num_gpus"] = engine.gpus_per_job
    if engine.memory_gb_per_job:
        needs["memory"] = int(engine.memory_gb_per_job * 1e9)
    return needs


def _nodes() -> list[dict[str, float]]:
    """What each living node has."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _n_slots(engine: EngineConfig) -> int:
    """Jobs that the nodes of this moment can run at once."""
    names = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
    needs = {names[name]: amount for name, amount in _resources(engine).items()}
    return sum(min(int(node.get(name, 0) / need) for name, need in needs.items()) for node in _nodes())


def _offer(engine: EngineConfig) -> str:
    """What jobs need and the nodes have, for the log."""
    shown = [{name: node.get(name, 0) for name in ("CPU", "GPU", "memory")} for node in _nodes()]
    return f"no node of the Ray cluster has the {_resources(engine)} that a job needs; they offer {shown}"


def _connect(engine: EngineConfig) -> None:
    """Connect to the cluster of this configuration, or start one; kept for the next map, so that workers stay warm.

    Raises:
        ClusterError: there is none.
    """
    global _connected  # noqa: PLW0603 - Ray has one connection per process
    wanted = engine.model_copy(update={"job_timeout_s": None})
    if ray.is_initialized() and _connected == wanted:
        return
    if _connected is not None:
        ray.shutdown()
    is_here = engine.address is None or engine.address.startswith(_LOOPBACK)
    try:
        with _on_loopback() if is_here else nullcontext():
            ray.init(**_where(engine), logging_level=logging.WARNING, log_to_driver=False, configure_logging=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        why = str(error.__cause__ or error).strip().splitlines()[-1]
        raise ClusterError(
            f"No Ray cluster at {engine.address or 'this machine'}: {why} Start one (`ray start --head "
            "--node-ip-address=HOST`), or correct `engine.address`. If it wants a token, set RAY_AUTH_MODE=token and "
            "give it the way Ray's documentation says."
        ) from error
    _connected = wanted


def _where(engine: EngineConfig) -> dict[str, Any]:
    """Arguments of ``ray.init``: an address, or a node on this machine without dashboard, whose GPUs Ray finds."""
    if engine.address is not None:
        return {"address": engine.address}
    n_cpus = engine.n_jobs_at_once() * engine.n_threads_per_worker
    return {"address": "local", "num_cpus": n_cpus, "object_store_memory": _STORE_BYTES, "include_dashboard": False}


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Keep to the loopback interface: on Linux Ray otherwise takes the network's address, and all interfaces."""
    before, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False  # there is no public way
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
