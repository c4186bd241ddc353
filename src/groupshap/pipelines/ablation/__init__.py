"""What fidelity costs: the cheap game under many settings, against retraining."""

from groupshap.pipelines.ablation.pipeline import create_pipeline

__all__ = ["create_pipeline"]
