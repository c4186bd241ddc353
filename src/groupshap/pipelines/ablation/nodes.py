"""Nodes of ``ablation``."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from groupshap.campaign.ablation import ablate
from groupshap.campaign.shared import Campaign
from groupshap.engines.base import EngineConfig
from groupshap.tasks.config import (
    AblationConfig,
    BaseTrainingConfig,
    DeviceSetting,
    PropertyEvalConfig,
    PruningStageConfig,
    RootSeed,
    SubsetFinetuneConfig,
    ValidationConfig,
)

__all__ = ["plot_ablation", "run_grid", "score_grid"]


def run_grid(
    *,
    config: AblationConfig,
    base: BaseTrainingConfig,
    pruning: PruningStageConfig,
    finetuning: SubsetFinetuneConfig,
    measuring: PropertyEvalConfig,
    engine: EngineConfig,
    root_seed: RootSeed,
    device: DeviceSetting,
    images: Any,
    **inputs: Any,
) -> pd.DataFrame:
    """The cheap game in every cell of the grid, on coalitions whose retrained utility is known."""
    return ablate(
        Campaign(images, root_seed.root, device.root, engine),
        config=config,
        base=base,
        pruning=pruning,
        finetuning=finetuning,
        measuring=measuring,
        **inputs,
    )


def score_grid(
    ablation_utilities: pd.DataFrame,
    validation_utilities: pd.DataFrame,
    contributors: pd.DataFrame,
    config: AblationConfig,
    validation: ValidationConfig,
    root_seed: RootSeed,
) -> pd.DataFrame:
    """Fidelity and cost per cell, the Pareto front, and the cell to take."""
    from groupshap.validation.ablation import AXES, ablation_table, fidelity_columns
    from groupshap.validation.fidelity import fidelity_table

    cells = []
    for cell, rows in ablation_utilities.groupby(list(AXES), sort=True):
        utilities = rows.drop(columns=list(AXES)).reset_index(drop=True)
        tables = utilities, validation_utilities, contributors
        fidelity = fidelity_table(*tables, validation.scoring(), root_seed.root)
        costs = utilities.loc[utilities["n_contributors"] > 0, ["train_seconds", "sample_seconds"]].mean().to_dict()
        cells.append({**dict(zip(AXES, cell, strict=True)), **costs, **fidelity_columns(fidelity, config.measure)})
    return ablation_table(pd.DataFrame(cells))


def plot_ablation(ablation: pd.DataFrame) -> Figure:
    """Fidelity against cost."""
    from groupshap.validation.game_plots import draw_ablation

    return draw_ablation(ablation)
