"""Nodes of ``pruning``."""

from __future__ import annotations

from groupshap.campaign.models import prune, recover
from groupshap.campaign.shared import Campaign
from groupshap.store import FileRef, Record, Store
from groupshap.tasks.config import BaseTrainingConfig, DeviceSetting, PruningStageConfig, RootSeed

__all__ = ["prune_model", "recover_model"]


def prune_model(
    base_model: FileRef,
    images: FileRef,
    store: Store,
    config: PruningStageConfig,
    root_seed: RootSeed,
    device: DeviceSetting,
) -> tuple[FileRef, Record]:
    """Remove channels; the report says how many, nominal and effective."""
    return prune(Campaign(images, root_seed.root, device.root), store, base_model, config)


def recover_model(
    unrecovered_model: FileRef,
    images: FileRef,
    store: Store,
    config: PruningStageConfig,
    base: BaseTrainingConfig,
    root_seed: RootSeed,
    device: DeviceSetting,
) -> FileRef:
    """Fine-tune the pruned model on all data, or find the result in the store."""
    return recover(Campaign(images, root_seed.root, device.root), store, unrecovered_model, config, base)
