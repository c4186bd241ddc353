"""Nodes of ``counterfactuals``."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from groupshap.campaign.coalitions import plan_table
from groupshap.image_pack import load_pack
from groupshap.store import FileRef
from groupshap.tasks.config import (
    CounterfactualConfig,
    RootSeed,
    ValidationConfig,
)

__all__ = ["choose_removals", "plot_counterfactuals", "score_removals"]


def choose_removals(
    attributions: pd.DataFrame | None,
    contributors: pd.DataFrame,
    property_directions: dict[str, bool],
    images: FileRef,
    config: CounterfactualConfig,
    root_seed: RootSeed,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Whom each attribution would remove, and the coalitions that remain, as a plan.

    Raises:
        ValueError: ``counterfactuals.attributions`` names one that was not computed, or there are none at all.
    """
    from groupshap.validation.counterfactuals import removal_coalitions, removals

    if attributions is None:
        raise ValueError("There are no attributions to choose by: run `kedro run --pipelines validation` first.")
    known = list(dict.fromkeys(attributions["attribution"]))
    unknown = [name for name in config.attributions if name not in known]
    if unknown:
        raise ValueError(
            f"`counterfactuals.attributions`: expected names among {', '.join(known)}, got {', '.join(unknown)}."
        )
    chosen = attributions[attributions["attribution"].isin(config.attributions)]
    removed = removals(chosen, contributors, property_directions, config.shares, config.n_random, root_seed.root)
    masks = np.tile(removal_coalitions(removed, contributors), (config.n_replicates, 1))
    return removed, plan_table(masks, contributors, load_pack(images.path), "counterfactuals")


def score_removals(
    counterfactual_utilities: pd.DataFrame,
    removals: pd.DataFrame,
    contributors: pd.DataFrame,
    validation: ValidationConfig,
) -> pd.DataFrame:
    """Change of each property, with intervals, against random removal."""
    from groupshap.validation.counterfactuals import counterfactual_table

    return counterfactual_table(counterfactual_utilities, removals, contributors, validation.level)


def plot_counterfactuals(
    counterfactuals: pd.DataFrame, property_directions: dict[str, bool], validation: ValidationConfig
) -> dict[str, Figure]:
    """One picture per property and share."""
    from groupshap.validation.plots import draw_counterfactuals

    cells = counterfactuals[["property", "share"]].drop_duplicates()
    return {
        f"counterfactuals_{row.property}_{100 * row.share:.0f}.png": draw_counterfactuals(
            counterfactuals, row.property, row.share, property_directions[row.property], level=validation.level
        )
        for row in cells.itertuples()
    }
