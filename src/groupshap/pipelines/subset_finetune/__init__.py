"""Which coalitions, and one short fine-tuning for each."""

from groupshap.pipelines.subset_finetune.pipeline import create_pipeline

__all__ = ["create_pipeline"]
