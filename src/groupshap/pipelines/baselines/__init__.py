"""Other ways to credit contributors, beside the Shapley values of the same run."""

from groupshap.pipelines.baselines.pipeline import create_pipeline

__all__ = ["create_pipeline"]
