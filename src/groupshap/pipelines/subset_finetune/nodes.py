"""Nodes of ``subset_finetune``."""

from __future__ import annotations

from typing import Any

import pandas as pd

from groupshap.attribution.config import EstimationConfig
from groupshap.campaign.coalitions import draw_plan, grow
from groupshap.campaign.recipes import StartModels
from groupshap.campaign.shared import Campaign
from groupshap.engines.base import EngineConfig
from groupshap.image_pack import load_pack
from groupshap.store import FileRef, Store
from groupshap.tasks.config import DeviceSetting, PropertyEvalConfig, RootSeed, SubsetFinetuneConfig

__all__ = ["draw_coalitions", "finetune_coalitions"]


def draw_coalitions(
    contributors: pd.DataFrame, images: FileRef, config: SubsetFinetuneConfig, root_seed: RootSeed
) -> pd.DataFrame:
    """The plan of the whole budget; empty and grand coalition are ordinary rows."""
    return draw_plan(contributors, load_pack(images.path), config, root_seed.root)


def finetune_coalitions(
    coalitions: pd.DataFrame,
    contributors: pd.DataFrame,
    base_model: FileRef,
    pruned_model: FileRef,
    images: FileRef,
    image_table: FileRef,
    models: Store,
    records: Store,
    base_store: Store,
    pruning_store: Store,
    config: SubsetFinetuneConfig,
    measuring: PropertyEvalConfig,
    estimation: EstimationConfig,
    engine: EngineConfig,
    root_seed: RootSeed,
    device: DeviceSetting,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Make each coalition's model, by default from the pruned one; workers commit one by one, so nothing is saved here.

    Returns:
        No partitions (they are in the store already), and the manifest of the finished rows.
    """
    campaign = Campaign(images, root_seed.root, device.root, engine, timings=(base_store, pruning_store))
    manifest = grow(
        campaign,
        coalitions,
        contributors,
        config,
        models=models,
        records=records,
        start=StartModels(base_model, pruned_model),
        image_table=image_table,
        measuring=measuring,
        estimator=estimation.estimator,
    )
    return {}, manifest
