"""The result as tables: who gets how much of which property, by which estimator, and how sure that is."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from groupshap.attribution.config import EstimationConfig
from groupshap.attribution.fits import Attribution
from groupshap.attribution.utilities_table import SECONDS_COLUMNS, coalition_utilities, player_names, property_columns
from groupshap.games import (
    ShapleyValues,
    evaluations_to_converge,
    is_converged,
    predicted_spearman,
    relative_standard_error,
)
from groupshap.games.types import FloatArray

__all__ = [
    "coalition_utilities",
    "comparison_table",
    "diagnostics_table",
    "interaction_table",
    "player_names",
    "property_columns",
    "seconds_per_evaluation",
    "shapley_table",
]

logger = logging.getLogger(__name__)

SHAPLEY_COLUMNS = (
    *("property", "contributor", "n_images", "shapley_value", "standard_error", "ci_low", "ci_high", "share"),
)
COMPARISON_COLUMNS = ("property", "contributor", "estimator", "shapley_value", "standard_error", "ci_low", "ci_high")
INTERACTION_COLUMNS = ("property", "contributor_a", "contributor_b", "interaction", "standard_error")

Attributions = Mapping[str, Attribution]


def shapley_table(attributions: Attributions, contributors: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """Values of the main estimator: per property one row per contributor, from the largest value to the smallest.

    Args:
        attributions: {property: fits}.
        contributors: as for :func:`coalition_utilities`.
        level: coverage of the intervals.

    Returns:
        property, contributor, n_images, shapley_value, standard_error, ci_low, ci_high (unit of the property; the
        values of a property sum to v(N) - v(empty)) and share, the part of that sum (sums to 1 per property; empty
        where the sum is 0 to rounding).
    """
    n_images = contributors.sort_values("player", kind="stable")["n_images"].to_numpy()
    tables = []
    for name, attribution in attributions.items():
        table = _value_rows(name, attribution.main, level)
        table["n_images"], table["share"] = n_images, _shares(name, attribution.main)
        tables.append(table.sort_values("shapley_value", ascending=False, kind="stable"))
    return pd.concat(tables, ignore_index=True)[list(SHAPLEY_COLUMNS)]


def comparison_table(attributions: Attributions, level: float = 0.95) -> pd.DataFrame:
    """Values of the main estimator and, below, of its companions: one row per property, estimator and contributor.

    The estimator named is the one that made the numbers (after a fall-back: the substitute).
    """
    tables = [
        _value_rows(name, values, level).assign(estimator=estimator)
        for name, attribution in attributions.items()
        for estimator, values in {attribution.main.estimator: attribution.main, **attribution.companions}.items()
    ]
    return pd.concat(tables, ignore_index=True)[list(COMPARISON_COLUMNS)]


def diagnostics_table(
    attributions: Attributions, utilities: pd.DataFrame, config: EstimationConfig, split: str = "estimation"
) -> pd.DataFrame:
    """One row per property: what was used, how well it fits, whether it converged, what it would cost to go on.

    Args:
        attributions: {property: fits}.
        utilities: the table behind the fits, for the seconds.
        config: what was asked for.
        split: the rows behind the fits.

    Returns:
        Seconds are those of one worker: divide by the number of workers for the waiting time. Numbers that the rows
        do not support are empty, and ``left_out`` says why.
    """
    seconds = seconds_per_evaluation(utilities, split)
    return pd.DataFrame(
        [_diagnostics_row(name, attribution, config, seconds) for name, attribution in attributions.items()]
    )


def interaction_table(attributions: Attributions) -> pd.DataFrame:
    """Shapley interaction index of every pair a < b of players; negative: they overlap, positive: they complement."""
    tables = [pd.DataFrame(columns=list(INTERACTION_COLUMNS)).astype({"interaction": float, "standard_error": float})]
    for name, attribution in attributions.items():
        if (found := attribution.interactions) is None:
            continue
        contributors = np.array(attribution.main.player_names, dtype=object)
        a, b = np.triu_indices(len(contributors), 1)
        columns = (name, contributors[a], contributors[b], found.values[a, b], found.standard_errors[a, b])
        tables.append(pd.DataFrame(dict(zip(INTERACTION_COLUMNS, columns, strict=True))))
    return pd.concat(tables[1:] or tables, ignore_index=True)


def seconds_per_evaluation(utilities: pd.DataFrame, split: str = "estimation") -> float:
    """Mean seconds of training plus sampling over the rows of ``split``."""
    rows = utilities[utilities["split"] == split]
    return float(rows[list(SECONDS_COLUMNS)].sum(axis=1).mean())


def _value_rows(property_name: str, values: ShapleyValues, level: float) -> pd.DataFrame:
    low, high = values.interval(level)
    return pd.DataFrame(
        {
            "property": property_name,
            "contributor": np.array(values.player_names, dtype=object),
            "shapley_value": values.values,
            "standard_error": values.standard_errors,
            "ci_low": low,
            "ci_high": high,
        }
    )


def _shares(property_name: str, values: ShapleyValues) -> FloatArray:
    """(n_players,) float64 that sum to 1; nan where the total is 0 to rounding, because nothing is there to share."""
    total = values.values.sum()
    scale = max(abs(values.v_empty), abs(values.v_grand), float(np.abs(values.values).max()))
    if abs(total) > 16.0 * np.finfo(np.float64).eps * values.n_players * scale:
        return values.values / total
    logger.warning(
        "Property %s: v(N) - v(empty) is 0 to rounding, so the shares of the contributors are left empty.",
        property_name,
    )
    return np.full(values.n_players, np.nan)


def _diagnostics_row(
    name: str, attribution: Attribution, config: EstimationConfig, seconds: float
) -> dict[str, object]:
    main, curve, halves = attribution.main, attribution.curve, attribution.halves
    further = evaluations_to_converge(main, config.target)
    return {
        "property": name,
        "estimator": main.estimator,
        "requested_estimator": config.estimator,
        "fall_back": _fall_back(main, config.estimator),
        "law": main.law,
        "n_evaluations": main.n_evaluations,
        "v_empty": main.v_empty,
        "v_grand": main.v_grand,
        "efficiency_gap": main.diagnostics["efficiency_gap"],
        "seed_variance": main.diagnostics["seed_variance"],
        "noise_sd": math.sqrt(main.diagnostics["noise_variance"]),
        "r_squared_size": math.nan if curve is None else curve.r_squared,
        "predicted_saving": math.nan if curve is None else curve.predicted_saving,
        "predicted_spearman": predicted_spearman(main),
        "split_half_spearman": math.nan if halves is None else halves.spearman,
        "relative_standard_error": relative_standard_error(main),
        "target_relative_error": config.target,
        "is_converged": is_converged(main, config.target),
        "evaluations_to_converge": further,
        "seconds_per_evaluation": seconds,
        "seconds_to_converge": further * seconds if further else 0.0,
        "left_out": "; ".join(f"{what}: {why}" for what, why in attribution.left_out.items()),
    }


def _fall_back(main: ShapleyValues, requested: str) -> str:
    if main.estimator == requested:
        return "none"
    # Only a complete table makes an estimator hand over without a remark of its own.
    return str(
        main.diagnostics.get("fall_back", f"{main.estimator} instead of {requested}: all coalitions are present")
    )
