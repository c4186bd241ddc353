"""What a run will take, before it is started."""

from groupshap.pipelines.plan.pipeline import create_pipeline

__all__ = ["create_pipeline"]
