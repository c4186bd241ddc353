"""What retraining without the best or the worst contributors does to the property."""

from groupshap.pipelines.counterfactuals.pipeline import create_pipeline

__all__ = ["create_pipeline"]
