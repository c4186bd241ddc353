"""Nodes of ``baselines``."""

from __future__ import annotations

import pandas as pd

from groupshap.baselines.config import BaselinesConfig
from groupshap.engines.base import threads
from groupshap.store import FileRef
from groupshap.tasks.config import DeviceSetting, PropertyEvalConfig, RootSeed

__all__ = ["attribute_by_baselines"]


def attribute_by_baselines(
    base_model: FileRef,
    images: FileRef,
    image_table: pd.DataFrame,
    contributors: pd.DataFrame,
    property_directions: dict[str, bool],
    utilities: pd.DataFrame,
    config: BaselinesConfig,
    measuring: PropertyEvalConfig,
    root_seed: RootSeed,
    device: DeviceSetting,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every baseline per property and contributor, and a note on each."""
    from groupshap.baselines.survey import Run, survey
    from groupshap.image_pack import load_pack

    run = Run(
        base_model=base_model.path,
        pack=load_pack(images.path),
        image_table=image_table,
        contributors=contributors,
        directions=property_directions,
        utilities=utilities,
        config=config,
        measuring=measuring,
        root_seed=root_seed.root,
        device=device.root,
    )
    with threads(config.n_threads):
        return survey(run)
