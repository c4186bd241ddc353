"""Where and how wide jobs run, as parameters. Imported by every kedro command, so no cluster library here."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["ENGINES", "EngineConfig", "JobQueueConfig"]

ENGINES = {
    "inline": "groupshap.engines.inline",
    "local": "groupshap.engines.local",
    "dask": "groupshap.engines.dask",
    "ray": "groupshap.engines.ray",
}
"""Engine kind to the module whose ``map_unordered`` runs the jobs; imported only when used."""

_CLUSTERS = ("dask", "ray")


class JobQueueConfig(BaseModel):
    """Dask workers as jobs of a batch system, started by dask-jobqueue and ended with the run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    system: Literal["slurm", "pbs", "sge", "lsf", "oar", "htcondor"] = "slurm"
    """The batch system."""
    n_jobs: int = Field(ge=1)
    """Batch jobs to ask for; work begins with the first that starts."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Arguments of dask-jobqueue's cluster class: cores, memory, walltime, queue, account, job_extra_directives, ..."""


class EngineConfig(BaseModel):
    """Where and how wide the jobs run. Only the threads of a job change numbers, in the last bits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["inline", "local", "dask", "ray"] = "local"
    """``inline``: one after the other in this process; ``local``: worker processes on this machine; ``dask`` and
    ``ray``: a cluster that runs already (``address``, ``scheduler_file``) or that is started for the run."""
    n_workers: int | None = Field(default=None, ge=1)
    """Jobs at the same time; None: as many as the usable cores allow, or as a running cluster takes. ``inline`` has
    one whatever this says."""
    n_threads_per_worker: int = Field(default=1, ge=1)
    """Threads of each job. More than the cores allow is not slower but very slow."""
    job_timeout_s: float | None = Field(default=None, gt=0)
    """Seconds after which a job is ended and reported, imports of its process included; None: no limit."""
    address: str | None = None
    """Of a running cluster: ``tcp://host:8786`` of a Dask scheduler; ``host:6379`` or ``auto`` of Ray."""
    scheduler_file: str | None = None
    """File that a running Dask scheduler wrote (``dask scheduler --scheduler-file``): its address, on a shared disk."""
    jobqueue: JobQueueConfig | None = None
    """``dask`` only: start the workers through a batch system."""
    gpus_per_job: float = Field(default=0.0, ge=0)
    """GPUs of each job; 0.25 lets four jobs share one. Dask: units of the workers' resource ``GPU``."""
    memory_gb_per_job: float = Field(default=0.0, ge=0)
    """Memory to reserve for each job in 1e9 bytes; 0: not counted. Dask: the workers' resource ``MEMORY`` in bytes."""

    @model_validator(mode="after")
    def _fits_together(self) -> EngineConfig:
        problems = [*self._misplaced(), *self._contradictions()]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _misplaced(self) -> list[str]:
        """Settings that this kind of engine would ignore."""
        homes = {
            "address": _CLUSTERS,
            "scheduler_file": ("dask",),
            "jobqueue": ("dask",),
            "gpus_per_job": _CLUSTERS,
            "memory_gb_per_job": _CLUSTERS,
            "job_timeout_s": ("local", *_CLUSTERS),  # inline: this very process would have to be ended
        }
        return [
            f"`engine.{name}` is for kind {' or '.join(kinds)}, got kind {self.kind}: leave it out or change the kind"
            for name, kinds in homes.items()
            if getattr(self, name) and self.kind not in kinds
        ]

    def _contradictions(self) -> list[str]:
        problems = []
        ways = [name for name in ("address", "scheduler_file", "jobqueue") if getattr(self, name)]
        if len(ways) > 1:
            problems.append(f"expected one way to a cluster, got {' and '.join(f'`engine.{name}`' for name in ways)}")
        if self.kind == "dask" and self.gpus_per_job and not ways:
            problems.append(
                "a Dask cluster started for the run knows no GPUs: start `dask cuda worker`s with --resources GPU=1 "
                "and give their scheduler as `engine.address`, or choose kind ray, which finds GPUs by itself"
            )
        if self.kind == "ray" and self.gpus_per_job > 1 and not self.gpus_per_job.is_integer():
            problems.append(f"`engine.gpus_per_job` above 1 must be a whole number for ray, got {self.gpus_per_job}")
        return problems

    @property
    def is_attached(self) -> bool:
        """Whether the cluster was there before us, and will be after us."""
        return self.address is not None or self.scheduler_file is not None

    def n_given_out(self, n_slots: int) -> int:
        """Jobs to give to a cluster with ``n_slots``: two per slot, so that the next is there when one is done.

        On a cluster that others share, ``n_workers`` is a promise not to take more.
        """
        if self.n_workers is not None and self.is_attached:
            return self.n_workers
        return max(1, 2 * n_slots)

    def n_jobs_at_once(self) -> int:
        """Number of jobs that run at the same time; a running cluster is asked, else cores and limits count."""
        if self.kind == "inline":
            return 1
        if self.n_workers is not None:
            return self.n_workers
        if self.is_attached or self.jobqueue is not None:
            return import_module(ENGINES[self.kind]).n_jobs_at_once(self)
        from joblib import cpu_count  # noqa: PLC0415 - keeps joblib out of every kedro command

        return max(1, cpu_count() // self.n_threads_per_worker)
