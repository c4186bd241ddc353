"""The result for people: shares for payment and one page that explains the values."""

from groupshap.pipelines.reporting.pipeline import create_pipeline

__all__ = ["create_pipeline"]
