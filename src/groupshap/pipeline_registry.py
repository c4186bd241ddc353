"""The pipelines by name; ``__default__`` is the main job."""

from __future__ import annotations

from importlib import import_module

from kedro.pipeline import Pipeline

__all__ = ["register_pipelines"]

MAIN_JOB = (
    "data_grouping",
    "base_training",
    "pruning",
    "subset_finetune",
    "property_eval",
    "shapley_estimation",
)
ON_REQUEST = (
    "foundation",
    *("plan", "reporting", "correction", "baselines", "validation", "counterfactuals", "ablation", "withdrawal"),
)


def register_pipelines() -> dict[str, Pipeline]:
    """One pipeline per folder of ``pipelines``.

    All are imported whatever is run, so that a wrong parameter of a later stage is refused before the first one.
    Kedro's own search would skip a pipeline that cannot be imported and, with it, the validation of all parameters.
    """
    names = (*MAIN_JOB, *ON_REQUEST)
    pipelines = {name: import_module(f"groupshap.pipelines.{name}").create_pipeline() for name in names}
    pipelines["__default__"] = sum((pipelines[name] for name in MAIN_JOB), start=Pipeline([]))
    return pipelines
