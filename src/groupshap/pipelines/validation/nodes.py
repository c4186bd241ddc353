"""Nodes of ``validation``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from groupshap.campaign.coalitions import finetune
from groupshap.campaign.held_out import draw_held_out, paired_plan
from groupshap.campaign.measuring import assemble, measure_models
from groupshap.campaign.recipes import StartModels
from groupshap.campaign.shared import Campaign
from groupshap.engines.base import EngineConfig
from groupshap.image_pack import load_pack
from groupshap.store import FileRef
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


def measure_retrained(
    *,
    config: ValidationConfig,
    base: BaseTrainingConfig,
    measuring: PropertyEvalConfig,
    engine: EngineConfig,
    root_seed: RootSeed,
    device: DeviceSetting,
    **inputs: Any,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Make every held-out coalition's model by the recipe of the validation and measure it: manifest, utilities."""
    return _measured(config, base, measuring, Campaign(inputs["images"], root_seed.root, device.root, engine), inputs)


def measure_paired(
    *,
    config: SubsetFinetuneConfig,
    base: BaseTrainingConfig,
    measuring: PropertyEvalConfig,
    engine: EngineConfig,
    root_seed: RootSeed,
    device: DeviceSetting,
    **inputs: Any,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The same in the game that the values are fitted to; what estimation has committed already is not repeated."""
    return _measured(config, base, measuring, Campaign(inputs["images"], root_seed.root, device.root, engine), inputs)


def _measured(
    config: CoalitionTraining,
    base: BaseTrainingConfig,
    measuring: PropertyEvalConfig,
    campaign: Campaign,
    inputs: Mapping[str, Any],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    start = StartModels(inputs["base_model"], inputs["pruned_model"], base.model)
    manifest = finetune(campaign, inputs["models"], start, inputs["coalitions"], inputs["contributors"], config)
    measured = measure_models(campaign, inputs["records"], manifest, inputs["image_table"], measuring)
    return manifest, assemble(manifest, measured)
