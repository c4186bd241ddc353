"""Jobs one after the other in this process: the oracle for the other engines, and the debugger's friend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from groupshap.engines.base import EngineConfig, Job, JobFunction, Outcome, run_job

__all__ = ["map_unordered"]


def map_unordered(fn: JobFunction, jobs: Sequence[Job], engine: EngineConfig) -> Iterator[Outcome]:
    """Run the jobs in their order; Ctrl-C ends the current one."""
    for job in jobs:
        yield run_job(fn, job, engine.n_threads_per_worker)
