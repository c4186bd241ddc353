"""The pipelines by name; their sum is the default."""

from __future__ import annotations

from kedro.framework.project import find_pipelines
from kedro.pipeline import Pipeline

__all__ = ["register_pipelines"]


def register_pipelines() -> dict[str, Pipeline]:
    """One pipeline per folder of ``pipelines``; ``__default__`` runs them all.

    An import error is raised: Kedro would otherwise only log it, and skip the validation of all parameters.
    """
    pipelines = find_pipelines(raise_errors=True)
    pipelines["__default__"] = sum(pipelines.values(), start=Pipeline([]))
    return pipelines
