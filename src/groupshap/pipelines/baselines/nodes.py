"""Nodes of ``baselines``."""

from __future__ import annotations

import numpy as np
import pandas as pd

from groupshap.baselines.config import BaselinesConfig
from groupshap.campaign.coalitions import ESTIMATION, plan_table
from groupshap.engines.base import threads
from groupshap.games import add_one_in_coalitions, leave_one_out_coalitions
from groupshap.image_pack import load_pack
from groupshap.store import FileRef
from groupshap.tasks.config import (
    DeviceSetting,
    PropertyEvalConfig,
    RootSeed,
)

__all__ = ["attribute_by_baselines", "draw_single_coalitions"]


def draw_single_coalitions(contributors: pd.DataFrame, images: FileRef) -> pd.DataFrame:
    """Nobody, everybody, all but one and one alone: what leave-one-out and add-one-in compare."""
    masks = np.concatenate([leave_one_out_coalitions(len(contributors)), add_one_in_coalitions(len(contributors))])
    return plan_table(np.unique(masks, axis=0), contributors, load_pack(images.path), ESTIMATION)


def attribute_by_baselines(
    base_model: FileRef,
    images: FileRef,
    image_table: pd.DataFrame,
    contributors: pd.DataFrame,
    property_directions: dict[str, bool],
    utilities: pd.DataFrame,
    single_utilities: pd.DataFrame,
    config: BaselinesConfig,
    measuring: PropertyEvalConfig,
    root_seed: RootSeed,
    device: DeviceSetting,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every baseline per property and contributor, and a note on each."""
    from groupshap.baselines.survey import Run, survey

    run = Run(
        base_model=base_model.path,
        pack=load_pack(images.path),
        image_table=image_table,
        contributors=contributors,
        directions=property_directions,
        utilities=utilities,
        single_utilities=single_utilities,
        config=config,
        measuring=measuring,
        root_seed=root_seed.root,
        device=device.root,
    )
    with threads(config.n_threads):
        return survey(run)
