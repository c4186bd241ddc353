"""Train one coalition's model, measure it, delete its weights: one job, for plans whose weights would fill a disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from groupshap.retention import discard_files, has_files
from groupshap.store import Record, StoreRun
from groupshap.tasks.config import WEIGHTS
from groupshap.tasks.measure import MeasureJob, measure_task
from groupshap.tasks.train import TrainJob, train_task

__all__ = ["EvaluateJob", "evaluate_task"]


class EvaluateJob(BaseModel):
    """One evaluation as plain data: the two jobs of which it consists."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task_id: str
    train: TrainJob
    measure: MeasureJob
    """Its ``model_sha256`` is filled in when the model is there."""


def evaluate_task(job: dict[str, Any]) -> Record:
    """Commit the model, then its measurement, then discard the weights; a step that is committed is not repeated.

    Both records are those that :func:`train_task` and :func:`measure_task` commit by themselves.

    Args:
        job: A dumped :class:`EvaluateJob`.

    Returns:
        The record of the measurement.

    Raises:
        ValueError, DivergedError, ModelFileError, PropertyError: see the two tasks.
    """
    task = EvaluateJob.model_validate(job)
    model = _committed(task.train.folder)
    if model is None or not has_files(model):
        model = train_task(task.train.model_dump(mode="json"))
    sha256 = model["files"][WEIGHTS]["sha256"]
    measured = _committed(task.measure.folder)
    if measured is None or measured["model_sha256"] != sha256:
        measured = measure_task({**task.measure.model_dump(mode="json"), "model_sha256": sha256})
    discard_files(task.train.folder)
    return measured


def _committed(folder: Path) -> Record | None:
    """The record of a task, or None."""
    run = StoreRun(folder.parent)
    return run.record(folder.name) if run.is_committed(folder.name) else None
