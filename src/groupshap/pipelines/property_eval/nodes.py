"""Nodes of ``property_eval``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from groupshap.campaign.measuring import assemble, measure_models
from groupshap.campaign.shared import Campaign
from groupshap.engines.base import EngineConfig
from groupshap.store import FileRef, Store
from groupshap.tasks.config import DeviceSetting, PropertyEvalConfig, RootSeed

__all__ = ["assemble_utilities", "measure_properties", "state_directions"]


def measure_properties(
    manifest: pd.DataFrame,
    coalition_models: Mapping[str, Any],
    images: FileRef,
    image_table: FileRef,
    store: Store,
    config: PropertyEvalConfig,
    engine: EngineConfig,
    root_seed: RootSeed,
    device: DeviceSetting,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Generate from every model of the manifest and measure all properties; workers commit one by one.

    ``coalition_models`` is here for the lineage: the manifest says which of them count.

    Returns:
        No partitions (they are in the store already), and one row per model.
    """
    campaign = Campaign(images, root_seed.root, device.root, engine)
    return {}, measure_models(campaign, store, manifest, image_table, config)


def assemble_utilities(
    manifest: pd.DataFrame, measured_models: pd.DataFrame, property_records: Mapping[str, Any]
) -> pd.DataFrame:
    """The utilities table; refuses gaps, duplicates and values that are not finite."""
    return assemble(manifest, measured_models)


def state_directions(config: PropertyEvalConfig) -> dict[str, bool]:
    """Property to whether higher values are better; the sign is applied in reporting only."""
    from groupshap.properties.base import higher_is_better_of

    return higher_is_better_of(config.properties)
