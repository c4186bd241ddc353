"""Is the credit right? Retrained models on held-out coalitions, and how well the values foretell them."""

from groupshap.pipelines.validation.pipeline import create_pipeline

__all__ = ["create_pipeline"]
