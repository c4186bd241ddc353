"""A contributor withdraws: what holds their images, listed and on request deleted. Not part of the default run."""

from groupshap.pipelines.withdrawal.pipeline import create_pipeline

__all__ = ["create_pipeline"]
