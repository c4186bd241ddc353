"""How well an attribution predicts retrained models: rank correlation at fixed sizes, beside what noise allows.

LDS (Park et al. 2023, TRAK, eq. 4) at a fixed size cannot see a common shift, the scale or the sign of all values; the
scores of :mod:`groupshap.validation.calibration` can.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from groupshap.games.types import FloatArray
from groupshap.validation.attributions import attribution_values
from groupshap.validation.config import ValidationScoringConfig
from groupshap.validation.measured import MeasuredGame, measured_game
from groupshap.validation.resampling import (
    ceiling_of_mean,
    correlations,
    interval,
    mean_replicates,
    predictions,
    ranks,
    reliability,
    resampled_rows,
    rows_among,
)

__all__ = ["LDS_COLUMNS", "MIN_COALITIONS", "lds_table"]

MIN_COALITIONS = 4
"""Fewer coalitions of a size: no score, because a rank correlation of three numbers takes four values only."""

LDS_COLUMNS = (
    *("attribution", "property", "n_contributors", "lds", "low", "high", "lds_one_replicate"),
    *("replicate_spearman", "replicate_low", "replicate_high", "ceiling", "ceiling_low", "ceiling_high"),
    *("ratio", "ratio_low", "ratio_high", "n_coalitions", "n_replicates", "n_removed", "note"),
)


def lds_table(
    attributions: pd.DataFrame,
    validation_utilities: pd.DataFrame,
    contributors: pd.DataFrame,
    estimation_ids: Collection[str],
    config: ValidationScoringConfig | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Spearman of Σ_{i∈S} value_i with the mean utility over replicates, per attribution, property and size of S.

    Args:
        attributions: the table of :func:`~groupshap.validation.attributions.gather`.
        validation_utilities: rows of retrained coalitions, of one split.
        contributors: player, contributor, n_images.
        estimation_ids: ids of the coalitions that any attribution was fitted to; they are removed.
        config: bootstrap and level; None takes the defaults.
        seed: root of the bootstrap.

    Returns:
        :data:`LDS_COLUMNS`. ``lds`` in [−1, 1] with its interval (of attributions with several draws, the interval in
        which single draws fall: what chance may reach); ``lds_one_replicate`` is the mean over the replicates
        of the score against that replicate alone (what papers report); ``replicate_spearman`` is replicate against
        replicate; ``ceiling`` is what a perfect attribution can be expected to reach against the mean (see
        :func:`~groupshap.validation.resampling.ceiling_of_mean`); ``ratio`` = lds / ceiling. Where nothing can be said
        the numbers are empty and ``note`` says why. The empty and the grand coalition have no row.

    Raises:
        ValueError: what is wrong with the tables, or a property without attributions.
    """
    config = config or ValidationScoringConfig()
    game = measured_game(validation_utilities, contributors)
    held_out = game.without(estimation_ids)
    rows = []
    for name in game.utilities:
        values = attribution_values(attributions, name, game.names)
        for size in sorted({int(size) for size in game.sizes} - {0, len(game.names)}):
            of_size = held_out.subset(held_out.sizes == size)
            fixed = {
                "property": name,
                "n_contributors": size,
                "n_coalitions": len(of_size.ids),
                "n_removed": int((game.sizes == size).sum()) - len(of_size.ids),
            }
            rows += [{**fixed, **row} for row in _rows_of_size(of_size, name, values, config, seed)]
    return pd.DataFrame(rows, columns=list(LDS_COLUMNS))


def _rows_of_size(
    game: MeasuredGame, name: str, values: dict[str, FloatArray], config: ValidationScoringConfig, seed: int
) -> list[dict[str, object]]:
    """One row per attribution on coalitions of one size, all with the same ceiling and the same resamples."""
    if len(game.ids) < MIN_COALITIONS:
        note = f"fewer than {MIN_COALITIONS} held-out coalitions of this size"
        return [{"attribution": attribution, "n_replicates": np.nan, "note": note} for attribution in values]
    target = game.means(name)
    drawn = resampled_rows(len(target), config.n_bootstrap, seed, name, int(game.sizes[0]))
    target_ranks = ranks(target[drawn])
    noise, ceiling_draws = _ceiling(game, name, drawn, config.level)
    rows = []
    for attribution, draws in values.items():
        predicted = predictions(game.masks, draws)
        scores = correlations(ranks(predicted), ranks(target))
        score = float(scores.mean())
        if len(predicted) == 1:
            scores = correlations(ranks(predicted[0][drawn]), target_ranks)
        low, high = interval(scores, config.level)
        row = {"attribution": attribution, "lds": score, "low": low, "high": high, **noise}
        row["lds_one_replicate"] = _against_single_replicates(predicted, game.utilities[name])
        rows.append(row | _ratio(score, scores, noise["ceiling"], ceiling_draws, config.level))
        if not np.isfinite(score):
            rows[-1]["note"] = "the attribution predicts the same for all coalitions of this size"
    return rows


def _ceiling(
    game: MeasuredGame, name: str, drawn: np.ndarray, level: float
) -> tuple[dict[str, float | str], FloatArray]:
    """Replicate against replicate and the ceiling, with intervals, and the draws of the ceiling (n_bootstrap,).

    Coalitions that lack a replicate count for the mean, not for the comparison of replicates.
    """
    values = game.utilities[name]
    complete = np.isfinite(values).all(axis=1)
    effective = mean_replicates(game.n_replicates)
    nothing = np.full(len(drawn), np.nan)
    found: dict[str, float | str] = {"n_replicates": effective, "ceiling": np.nan}
    if values.shape[1] < 2 or complete.sum() < MIN_COALITIONS:
        return found | {"note": "no ceiling: fewer than two replicates"}, nothing
    between = float(reliability(ranks(values[complete].T)))
    rows = rows_among(drawn, int(complete.sum()))
    draws = reliability(ranks(values[complete].T[:, rows].transpose(1, 0, 2)))
    low, high = interval(draws, level)
    ceiling, ceiling_low, ceiling_high = ceiling_of_mean(np.array([between, low, high]), effective).tolist()
    found |= {"replicate_spearman": between, "replicate_low": low, "replicate_high": high}
    found |= {"ceiling": ceiling, "ceiling_low": ceiling_low, "ceiling_high": ceiling_high}
    found["note"] = "" if ceiling > 0.0 else "the replicates do not agree: all differences may be noise"
    return found, ceiling_of_mean(draws, effective)


def _ratio(
    score: float, scores: FloatArray, ceiling: float, ceiling_draws: FloatArray, level: float
) -> dict[str, float]:
    """The score over the ceiling, with an interval from the same resamples; nan where there is no positive ceiling."""
    if not ceiling > 0.0:
        return {"ratio": np.nan, "ratio_low": np.nan, "ratio_high": np.nan}
    if len(scores) != len(ceiling_draws):  # several draws of an attribution instead of resamples
        ceiling_draws = np.full(len(scores), ceiling)
    usable = ceiling_draws > 0.0
    draws = np.where(usable, scores / np.where(usable, ceiling_draws, 1.0), np.nan)
    low, high = interval(draws, level)
    return {"ratio": score / ceiling, "ratio_low": low, "ratio_high": high}


def _against_single_replicates(predicted: FloatArray, values: FloatArray) -> float:
    """Mean over replicates, and over draws, of the Spearman with one replicate, on the coalitions that have it."""
    scores = []
    for replicate in values.T:
        there = np.isfinite(replicate)
        if there.sum() >= MIN_COALITIONS:
            scores.append(float(correlations(ranks(predicted[:, there]), ranks(replicate[there])).mean()))
    return float(np.mean(scores)) if scores else float("nan")
