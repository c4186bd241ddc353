"""Who gets how much credit: Shapley values from the table of utilities alone, in seconds."""

from groupshap.pipelines.shapley_estimation.pipeline import create_pipeline

__all__ = ["create_pipeline"]
