"""Images and who contributed them."""

from groupshap.pipelines.data_grouping.pipeline import create_pipeline

__all__ = ["create_pipeline"]
