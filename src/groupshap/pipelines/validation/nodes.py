"""Nodes of ``validation``."""

from __future__ import annotations

from typing import Any

import pandas as pd

from groupshap.campaign.coalitions import finetune
from groupshap.campaign.held_out import draw_held_out, paired_plan
from groupshap.campaign.measuring import assemble, measure_models
from groupshap.campaign.recipes import StartModels
from groupshap.campaign.shared import Campaign
from groupshap.engines.base import EngineConfig
from groupshap.image_pack import load_pack
from groupshap.store import FileRef, Store
from groupshap.tasks.config import (
    BaseTrainingConfig,
    CoalitionTraining,
    DeviceSetting,
    PropertyEvalConfig,
    RootSeed,
    SubsetFinetuneConfig,
    ValidationConfig,
)

__all__ = ["draw_held_out_coalitions", "measure_paired", "measure_retrained", "pair_coalitions"]


def draw_held_out_coalitions(
    contributors: pd.DataFrame, images: FileRef, config: ValidationConfig, root_seed: RootSeed
) -> pd.DataFrame:
    """The coalitions that are retrained."""
    return draw_held_out(contributors, load_pack(images.path), config, root_seed.root)


def pair_coalitions(validation_coalitions: pd.DataFrame) -> pd.DataFrame:
    """The same coalitions, for the game that the values are fitted to."""
    return paired_plan(validation_coalitions)


def measure_retrained(config: ValidationConfig, **inputs: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Make every held-out coalition's model by the recipe of the validation and measure it: manifest, utilities."""
    return _measured(config=config, **inputs)


def measure_paired(config: SubsetFinetuneConfig, **inputs: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The same in the game that the values are fitted to; what estimation has committed already is not repeated."""
    return _measured(config=config, **inputs)


def _measured(
    *,
    coalitions: pd.DataFrame,
    contributors: pd.DataFrame,
    base_model: FileRef,
    pruned_model: FileRef,
    images: FileRef,
    image_table: FileRef,
    models: Store,
    records: Store,
    config: CoalitionTraining,
    base: BaseTrainingConfig,
    measuring: PropertyEvalConfig,
    engine: EngineConfig,
    root_seed: RootSeed,
    device: DeviceSetting,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    campaign = Campaign(images, root_seed.root, device.root, engine)
    start = StartModels(base_model, pruned_model, base.model)
    manifest = finetune(campaign, models, start, coalitions, contributors, config)
    return manifest, assemble(manifest, measure_models(campaign, records, manifest, image_table, measuring))
