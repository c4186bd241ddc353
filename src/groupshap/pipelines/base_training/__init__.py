"""The dense model, trained on everybody's images."""

from groupshap.pipelines.base_training.pipeline import create_pipeline

__all__ = ["create_pipeline"]
