"""A small text-to-image model of everybody else's images, to be tuned on the contributors' by adapters."""

from groupshap.pipelines.foundation.pipeline import create_pipeline

__all__ = ["create_pipeline"]
