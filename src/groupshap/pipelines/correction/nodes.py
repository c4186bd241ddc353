"""Nodes of ``correction``."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from groupshap.attribution.config import EstimationConfig
from groupshap.attribution.correction import draw_correction, moves_table, retrained_rows
from groupshap.attribution.fits import corrected_values, values_of
from groupshap.attribution.utilities_table import coalition_utilities, player_names
from groupshap.campaign.correction import correct
from groupshap.campaign.shared import Campaign
from groupshap.engines.base import EngineConfig
from groupshap.pipelines.validation.nodes import workshop
from groupshap.store import FileRef
from groupshap.tasks.config import (
    CorrectionConfig,
    DeviceSetting,
    PropertyEvalConfig,
    RootSeed,
    SubsetFinetuneConfig,
)

__all__ = ["explain_correction", "plot_correction", "retrain_some"]


def retrain_some(
    *,
    config: CorrectionConfig,
    finetuning: SubsetFinetuneConfig,
    measuring: PropertyEvalConfig,
    engine: EngineConfig,
    root_seed: RootSeed,
    device: DeviceSetting,
    utilities: pd.DataFrame,
    images: FileRef,
    **files: Any,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Retrain a few coalitions, chosen beforehand or in rounds: utilities of both games, and what each round cost."""
    campaign = Campaign(images, root_seed.root, device.root, engine)
    return correct(workshop(campaign, measuring, **files), utilities, finetuning, config)


def explain_correction(
    utilities: pd.DataFrame,
    correction_utilities: pd.DataFrame,
    contributors: pd.DataFrame,
    estimation: EstimationConfig,
) -> pd.DataFrame:
    """How far the retrainings move every contributor, and where the cheap game leans."""
    cheap, retrained = retrained_rows(correction_utilities, utilities, contributors)
    masks, measured = coalition_utilities(cheap, contributors)
    names = player_names(contributors)
    return moves_table(
        {
            name: (
                values_of(estimation.estimator, masks, values, estimation, names),
                corrected_values(retrained[name], masks, values, estimation, names),
            )
            for name, values in measured.items()
        },
        estimation.level,
    )


def plot_correction(correction_moves: pd.DataFrame) -> dict[str, Figure]:
    """One picture per property."""
    names = dict.fromkeys(correction_moves["property"])
    return {f"correction_{name}.png": draw_correction(correction_moves, name) for name in names}
