"""The dense model made small once, and recovered on everybody's images."""

from groupshap.pipelines.pruning.pipeline import create_pipeline

__all__ = ["create_pipeline"]
