"""Nodes of ``validation``."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from groupshap.campaign.held_out import draw_held_out, paired_plan
from groupshap.campaign.recipes import StartModels
from groupshap.campaign.recorded import cheap_rows, record_game
from groupshap.campaign.residual import measure_residual
from groupshap.campaign.shared import Campaign
from groupshap.campaign.splits import Workshop, make_and_measure
from groupshap.engines.base import EngineConfig
from groupshap.image_pack import load_pack
from groupshap.store import FileRef, Store
from groupshap.tasks.config import (
    DeviceSetting,
    PropertyEvalConfig,
    RootSeed,
    SubsetFinetuneConfig,
    ValidationConfig,
)

__all__ = [
    "compare_games",
    "draw_held_out_coalitions",
    "gather_attributions",
    "measure_paired",
    "measure_residual_influence",
    "measure_retrained",
    "pair_coalitions",
    "plot_validation",
    "record_utilities",
    "score_attributions",
    "workshop",
]


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
    measuring: PropertyEvalConfig,
    engine: EngineConfig,
    root_seed: RootSeed,
    device: DeviceSetting,
    coalitions: pd.DataFrame,
    images: FileRef,
    **files: Any,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Make every held-out coalition's model by the recipe of the validation and measure it: manifest, utilities."""
    campaign = Campaign(images, root_seed.root, device.root, engine)
    return make_and_measure(workshop(campaign, measuring, **files), coalitions, config)


def measure_paired(
    *,
    config: SubsetFinetuneConfig,
    measuring: PropertyEvalConfig,
    engine: EngineConfig,
    root_seed: RootSeed,
    device: DeviceSetting,
    coalitions: pd.DataFrame,
    images: FileRef,
    **files: Any,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The same in the game that the values are fitted to; what estimation has committed already is not repeated."""
    campaign = Campaign(images, root_seed.root, device.root, engine)
    return make_and_measure(workshop(campaign, measuring, **files), coalitions, config)


def workshop(campaign: Campaign, measuring: PropertyEvalConfig, **files: Any) -> Workshop:
    """The inputs of a measuring node, see ``INPUTS`` of the pipeline, as one thing."""
    start = StartModels(files.pop("base_model"), files.pop("pruned_model"))
    return Workshop(campaign, start, measuring=measuring, **files)


def gather_attributions(
    shapley_values: pd.DataFrame,
    estimator_comparison: pd.DataFrame,
    baseline_attributions: pd.DataFrame | None,
    contributors: pd.DataFrame,
    property_directions: dict[str, bool],
    config: ValidationConfig,
    root_seed: RootSeed,
) -> pd.DataFrame:
    """Everything that is scored: ours, its companions, baselines if they were computed, other runs, size, random."""
    from groupshap.validation.attributions import gather
    from groupshap.validation.rivals import with_rivals

    table = gather(
        shapley_values, estimator_comparison, baseline_attributions, contributors, property_directions, root_seed.root
    )
    return with_rivals(table, config.rivals, contributors)


def score_attributions(
    attributions: pd.DataFrame,
    validation_utilities: pd.DataFrame,
    utilities: pd.DataFrame,
    contributors: pd.DataFrame,
    config: ValidationConfig,
    root_seed: RootSeed,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """LDS with the noise ceiling at each size, and what LDS cannot see: scale, sign, a common shift."""
    from groupshap.validation.calibration import calibration_table
    from groupshap.validation.lds import lds_table

    scoring, fitted = config.scoring(), set(utilities["coalition_id"])
    return (
        lds_table(attributions, validation_utilities, contributors, fitted, scoring, root_seed.root),
        calibration_table(attributions, validation_utilities, utilities, contributors, (), scoring, root_seed.root),
    )


def compare_games(
    paired_utilities: pd.DataFrame,
    validation_utilities: pd.DataFrame,
    contributors: pd.DataFrame,
    config: ValidationConfig,
    root_seed: RootSeed,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The cheap game against the retrained one on the same coalitions: agreement, bias by size, Shapley values."""
    from groupshap.validation.fidelity import bias_by_size, fidelity_table, shapley_pairs

    tables = paired_utilities, validation_utilities, contributors
    return (
        fidelity_table(*tables, config.scoring(), root_seed.root),
        bias_by_size(*tables),
        shapley_pairs(*tables, config.level),
    )


def measure_residual_influence(
    *,
    paired_manifest: pd.DataFrame,
    validation_manifest: pd.DataFrame,
    pruned_model: FileRef,
    base_model: FileRef,
    images: FileRef,
    contributors: pd.DataFrame,
    records: Store,
    config: ValidationConfig,
    finetuning: SubsetFinetuneConfig,
    engine: EngineConfig,
    root_seed: RootSeed,
    device: DeviceSetting,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What the cheap models still know of the contributors they must not know; losses, and a summary."""
    from groupshap.validation.residual import residual_table

    campaign = Campaign(images, root_seed.root, device.root, engine)
    start = StartModels(base_model, pruned_model).file(finetuning.recipe) if finetuning.recipe != "retrain" else None
    manifests = {"paired": paired_manifest, "validation": validation_manifest}
    losses = measure_residual(campaign, records, start, manifests, contributors, config.n_residual_coalitions)
    retrained = losses["model"] == "validation"
    return losses, residual_table(losses[~retrained], losses[retrained], config.scoring(), root_seed.root)


def plot_validation(
    lds: pd.DataFrame,
    fidelity: pd.DataFrame,
    shapley_pairs: pd.DataFrame,
    paired_utilities: pd.DataFrame,
    validation_utilities: pd.DataFrame,
    contributors: pd.DataFrame,
    config: ValidationConfig,
) -> tuple[dict[str, Figure], dict[str, Figure], dict[str, Figure]]:
    """LDS bars per property and size, v of both games, Shapley values of both games; by file name."""
    from groupshap.validation.game_plots import draw_fidelity, draw_shapley_pairs
    from groupshap.validation.plots import draw_lds

    names = list(dict.fromkeys(fidelity["property"]))
    scored = lds.dropna(subset=["lds"]).drop_duplicates(["property", "n_contributors"])
    return (
        {
            f"lds_{row.property}_{row.n_contributors}.png": draw_lds(
                lds, row.property, row.n_contributors, level=config.level
            )
            for row in scored.itertuples()
        },
        {
            f"fidelity_{name}.png": draw_fidelity(paired_utilities, validation_utilities, contributors, fidelity, name)
            for name in names
        },
        {
            f"games_{name}.png": draw_shapley_pairs(shapley_pairs, name, level=config.level)
            for name in dict.fromkeys(shapley_pairs["property"])  # none where the end points were not retrained
        },
    )


def record_utilities(
    utilities: pd.DataFrame,
    paired_utilities: pd.DataFrame,
    validation_utilities: pd.DataFrame,
    contributors: pd.DataFrame,
    config: ValidationConfig,
    finetuning: SubsetFinetuneConfig,
) -> pd.DataFrame:
    """Everything that was paid for, in the format of ``benchmarks/games``."""
    return record_game(
        config.game,
        contributors,
        {finetuning.recipe: cheap_rows(utilities, paired_utilities), config.recipe: validation_utilities},
    )
