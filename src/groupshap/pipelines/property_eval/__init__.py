"""What each coalition's model generates, measured."""

from groupshap.pipelines.property_eval.pipeline import create_pipeline

__all__ = ["create_pipeline"]
