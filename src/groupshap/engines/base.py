"""Mapping a function over independent jobs, whatever runs them.

A job is a small JSON-able dict (absolute paths and numbers, never tensors) with a ``task_id``; the function commits
its own result and returns a small record. A failing job becomes an outcome and never ends the map: the other jobs may
be hours of work. Imported by every kedro command, so neither torch nor joblib may be imported here.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from groupshap.engines.config import ENGINES, EngineConfig
from groupshap.errors import UserError
from groupshap.progress import progress, quiet

__all__ = [
    "ENGINES",
    "EngineConfig",
    "Job",
    "JobFunction",
    "JobsFailedError",
    "Outcome",
    "Record",
    "describe",
    "map_unordered",
    "run_job",
    "run_jobs",
    "thread_variables",
    "threads",
]

logger = logging.getLogger(__name__)

Job = dict[str, Any]
"""One unit of work: JSON-able, with a unique ``task_id``."""

Record = dict[str, Any]
"""What a finished job returns: JSON-able, small."""

JobFunction = Callable[[Job], Record]
"""Any function at the top level of a module, so that a worker process can import it by name."""

_N_NAMED = 10
_N_FRAMES = 4


@dataclass(frozen=True)
class Outcome:
    """What became of one job: either a record or an error.

    Attributes:
        task_id: The job's id.
        record: What the function returned, or None.
        error: First line: type and message; then the innermost frames. None if the job succeeded.
    """

    task_id: str
    record: Record | None
    error: str | None


class JobsFailedError(UserError, RuntimeError):
    """Some jobs failed; all others ran to the end.

    Attributes:
        failures: The failed outcomes.
    """

    def __init__(self, failures: Sequence[Outcome], n_jobs: int) -> None:
        self.failures = list(failures)
        reasons = {_first_line(outcome.error) for outcome in failures}
        shown = failures[:_N_NAMED] if len(reasons) > 1 else failures[:1]
        named = [f"{outcome.task_id}: {_first_line(outcome.error)}" for outcome in shown]
        if len(failures) > len(shown):
            named.append(
                f"and {len(failures) - len(shown)} more" + ("" if len(reasons) > 1 else ", all for this reason")
            )
        super().__init__(
            f"{len(failures)} of {n_jobs} tasks failed: {'; '.join(named)}; the other {n_jobs - len(failures)} are "
            "committed; run the same command again to retry only these."
        )


def map_unordered(fn: JobFunction, jobs: Sequence[Job], engine: EngineConfig) -> Iterator[Outcome]:
    """Run ``fn`` on every job and yield one outcome per job, as they complete.

    Close the iterator (or let it go) to cancel what is still to be done; Ctrl-C does so by itself.

    Raises:
        ValueError: a job without ``task_id``, or two jobs with the same; before any job runs.
    """
    counts = Counter(job.get("task_id") for job in jobs)
    wrong = [task_id for task_id, count in counts.items() if count > 1 or not isinstance(task_id, str)]
    if wrong:
        raise ValueError(f"Every job needs its own `task_id` (a string); missing or repeated: {wrong[:_N_NAMED]}.")
    return import_module(ENGINES[engine.kind]).map_unordered(fn, jobs, engine)


def run_jobs(fn: JobFunction, jobs: Sequence[Job], engine: EngineConfig, *, label: str) -> list[Record]:
    """Run all jobs, show the progress, and give back their records in the order of ``jobs``.

    Args:
        fn: What to do with each job.
        jobs: What is still to be done; may be empty.
        engine: Where it runs.
        label: What is being done, for example "fine-tuning coalitions".

    Raises:
        JobsFailedError: at least one job failed; raised after all others have finished.
    """
    outcomes: dict[str, Outcome] = {}
    n_failed = 0
    # closing: if showing the progress is interrupted, the workers must not live on until garbage collection.
    with progress(label, total=len(jobs), unit="task") as bar, closing(map_unordered(fn, jobs, engine)) as completed:
        for outcome in completed:
            outcomes[outcome.task_id] = outcome
            if outcome.error is not None:
                n_failed += 1
                logger.error("%s: task %s failed: %s", label, outcome.task_id, outcome.error)
            bar.update(1, failed=n_failed)
    ordered = [outcomes[job["task_id"]] for job in jobs]
    failures = [outcome for outcome in ordered if outcome.error is not None]
    if failures:
        raise JobsFailedError(failures, len(jobs))
    return [outcome.record for outcome in ordered if outcome.record is not None]


def run_job(fn: JobFunction, job: Job, n_threads: int) -> Outcome:
    """Run one job where we are: threads set, progress silent, an exception turned into an outcome."""
    with threads(n_threads), quiet():
        try:
            record = _plain_json(fn(job))
        except (Exception, SystemExit) as error:  # this is the one place that may catch everything: it is reported
            return Outcome(job["task_id"], None, describe(error))
    return Outcome(job["task_id"], record, None)


def _plain_json(record: object) -> Record:
    """The record as it arrives from another process, so that every engine gives the same."""
    if not isinstance(record, dict):
        raise TypeError(f"a job must return a dict of JSON values, got {type(record).__name__}")
    try:
        return json.loads(json.dumps(record))
    except (TypeError, ValueError) as error:
        raise TypeError(f"a job must return a dict of JSON values: {error}") from error


def describe(error: BaseException) -> str:
    """Type and message in the first line, then the innermost frames."""
    summary = "".join(traceback.format_exception_only(error)).strip()
    frames = "".join(traceback.format_tb(error.__traceback__, limit=-_N_FRAMES)).rstrip()
    return f"{summary}\n{frames}" if frames else summary


def _first_line(error: str | None) -> str:
    """The summary line of an error, shortened."""
    line = (error or "").partition("\n")[0]
    return line if len(line) <= 600 else f"{line[:597]}..."


def thread_variables(n_threads: int) -> dict[str, str]:
    """Environment variables for the numeric libraries that are not loaded yet."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    # Waiting threads sleep instead of spinning: spinning ones take the core that another job needs.
    return {"OMP_WAIT_POLICY": "PASSIVE", **{name: str(n_threads) for name in names}}


@contextmanager
def threads(n_threads: int) -> Iterator[None]:
    """Exactly ``n_threads`` per library inside the block: for speed, and for equal bits on every engine."""
    from threadpoolctl import threadpool_limits  # noqa: PLC0415 - only where jobs run

    with ExitStack() as restore:
        restore.enter_context(_environment(thread_variables(n_threads)))
        torch = sys.modules.get("torch")  # a torch that the job has yet to import reads the variables
        if torch is not None:
            restore.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(n_threads)
        restore.enter_context(threadpool_limits(n_threads))
        yield


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Set environment variables inside the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
