"""A few retrainings that turn the values of the cheap game into those of the retrained one."""

from groupshap.pipelines.correction.pipeline import create_pipeline

__all__ = ["create_pipeline"]
