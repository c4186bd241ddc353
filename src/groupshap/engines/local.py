"""Jobs in child processes on this machine: as many at once as the configuration says.

A job whose child dies is tried once more and then reported; the jobs beside it do not notice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from itertools import islice

from groupshap.engines.base import EngineConfig, Job, JobFunction, Outcome
from groupshap.engines.children import Children, Task

__all__ = ["map_unordered"]


def map_unordered(fn: JobFunction, jobs: Sequence[Job], engine: EngineConfig) -> Iterator[Outcome]:
    """Run the jobs in ``engine.n_jobs_at_once()`` processes.

    If the consumer stops early (Ctrl-C, an exception, ``close()``), the processes are killed and nothing queued runs.
    """
    children = Children(Task.of(fn, engine))
    waiting = iter(jobs)
    with ThreadPoolExecutor(engine.n_jobs_at_once(), thread_name_prefix="job") as waiters:
        try:
            running = {waiters.submit(children.run, job) for job in islice(waiting, engine.n_jobs_at_once())}
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                # The next ones start before the consumer looks at what is done.
                running |= {waiters.submit(children.run, job) for job in islice(waiting, len(done))}
                for future in done:
                    yield future.result()
        except BaseException:
            children.close()
            raise
