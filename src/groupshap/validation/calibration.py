"""Scores that see what LDS cannot: a common shift, the scale and the sign of the values.

Two of them: v(∅) + Σ_{i∈S} value_i against the retrained v(S) over coalitions of all sizes, and the values against the
leave-one-out effects v(N) − v(N∖i) of retraining.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt
import pandas as pd

from groupshap.games.types import FloatArray
from groupshap.validation.attributions import attribution_values, scaled_attributions
from groupshap.validation.config import ValidationScoringConfig
from groupshap.validation.lds import MIN_COALITIONS
from groupshap.validation.measured import MeasuredGame, measured_game
from groupshap.validation.resampling import (
    correlations,
    interval,
    line,
    predictions,
    ranks,
    reliability,
    resampled_rows,
)

__all__ = ["CALIBRATION_COLUMNS", "calibration_table"]

CALIBRATION_COLUMNS = (
    *("attribution", "property", "r_squared", "r_squared_low", "r_squared_high", "slope", "slope_low", "slope_high"),
    *("intercept", "bias", "noise_r_squared", "n_coalitions", "n_sizes", "n_removed", "note"),
    *("loo_spearman", "loo_replicate_spearman", "loo_sign_agreement", "n_loo", "loo_note"),
)
NO_SCALE = "no scale: its values are no differences of the property, so only their order means something"


def calibration_table(
    attributions: pd.DataFrame,
    validation_utilities: pd.DataFrame,
    estimation_utilities: pd.DataFrame,
    contributors: pd.DataFrame,
    estimation_ids: Collection[str] = (),
    config: ValidationScoringConfig | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """One row per attribution and property.

    Args:
        attributions: the table of :func:`~groupshap.validation.attributions.gather`.
        validation_utilities: rows of retrained coalitions, of one split, of any sizes.
        estimation_utilities: rows of the game that the values were fitted to, of one split; its measured v(∅) is the
            level of the predictions.
        contributors: player, contributor, n_images.
        estimation_ids: coalitions to remove from the comparison over sizes, for example those of the estimation plan.
            Their *retrained* utility was seen by no attribution, so keeping them is fair where little else is left.
        config: bootstrap and level; None takes the defaults.
        seed: root of the bootstrap.

    Returns:
        :data:`CALIBRATION_COLUMNS`. ``r_squared`` = 1 − Σ(v − v̂)² / Σ(v − v̄)² (below 0: worse than the mean; no
        refit, so a wrong level or scale costs); ``slope`` and ``intercept`` of v = intercept + slope · v̂ (calibrated:
        1 and 0); ``bias`` = mean(v̂ − v); ``noise_r_squared`` is the expected R² of a perfect prediction.
        ``loo_spearman`` and ``loo_sign_agreement`` (share of equal signs, among the effects that are not 0) compare
        with v(N) − v(N∖i), ``loo_replicate_spearman`` is replicate against replicate. Attributions without a scale
        have neither R² nor signs, because an affine fit would grant them both; ``note`` says so.

    Raises:
        ValueError: what is wrong with the tables, or no measured v(∅) in ``estimation_utilities``.
    """
    config = config or ValidationScoringConfig()
    game = measured_game(validation_utilities, contributors)
    cheap = measured_game(estimation_utilities, contributors)
    held_out, scaled = game.without(estimation_ids), scaled_attributions(attributions)
    columns = {"n_coalitions": len(held_out.ids), "n_sizes": len(set(held_out.sizes.tolist()))}
    columns["n_removed"] = len(game.ids) - len(held_out.ids)
    rows = []
    for name in game.utilities:
        v_empty = _v_empty(cheap, name)
        effects = _leave_one_out_effects(game, name)
        drawn = resampled_rows(len(held_out.ids), config.n_bootstrap, seed, "calibration", name)
        for attribution, draws in attribution_values(attributions, name, game.names).items():
            row: dict[str, object] = {"attribution": attribution, "property": name, "note": NO_SCALE, **columns}
            if attribution in scaled:
                predicted = v_empty + predictions(held_out.masks, draws[0])
                row |= _over_sizes(held_out, name, predicted, drawn, config.level)
            rows.append(row | _leave_one_out(effects, draws, attribution in scaled))
    return pd.DataFrame(rows, columns=list(CALIBRATION_COLUMNS))


def _v_empty(game: MeasuredGame, name: str) -> float:
    empty = np.flatnonzero(game.sizes == 0)
    if not len(empty) or name not in game.utilities:
        raise ValueError(
            f"Expected `estimation_utilities` with {name!r} of the empty coalition, got {len(game.ids)} coalitions "
            f"without it and the properties {', '.join(game.utilities)}. Pass the rows that the values were fitted to."
        )
    return float(game.means(name)[empty[0]])


def _over_sizes(
    game: MeasuredGame, name: str, predicted: FloatArray, drawn: npt.NDArray[np.int64], level: float
) -> dict[str, object]:
    """R², slope, intercept and bias of the predictions (m,) of the retrained means, intervals over coalitions."""
    if len(predicted) < MIN_COALITIONS:
        return {"note": f"fewer than {MIN_COALITIONS} held-out coalitions"}
    measured = game.means(name)
    slope, intercept = line(predicted, measured)
    columns = {"r_squared": _r_squared(predicted, measured), "slope": slope, "intercept": intercept}
    r_squared_draws = _r_squared(predicted[drawn], measured[drawn])
    columns["r_squared_low"], columns["r_squared_high"] = interval(r_squared_draws, level)
    columns["slope_low"], columns["slope_high"] = interval(line(predicted[drawn], measured[drawn])[0], level)
    columns = {column: float(number) for column, number in columns.items()}
    note = "" if np.isfinite(slope) else "the predictions are constant"
    bias, noise = float((predicted - measured).mean()), _noise_r_squared(game, name)
    return {**columns, "bias": bias, "noise_r_squared": noise, "note": note}


def _r_squared(predicted: FloatArray, measured: FloatArray) -> FloatArray:
    """1 − Σ(v − v̂)² / Σ(v − v̄)² along the last axis; nan where v does not vary."""
    total = ((measured - measured.mean(axis=-1, keepdims=True)) ** 2).sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0.0, 1.0 - ((measured - predicted) ** 2).sum(axis=-1) / total, np.nan)


def _noise_r_squared(game: MeasuredGame, name: str) -> float:
    """Expected R² of the true expectations: 1 − (noise variance of a mean) / (variance of the means); nan without."""
    total = float(game.means(name).var())
    if total == 0.0:
        return float("nan")
    return 1.0 - game.noise_variance(name) * float((1.0 / game.n_replicates).mean()) / total


def _leave_one_out_effects(game: MeasuredGame, name: str) -> FloatArray:
    """(n_players, R) float64: v(N) − v(N∖i) of every replicate; nan where one of the two was not measured."""
    n = len(game.names)
    effects = np.full((n, game.seconds.shape[1]), np.nan)
    grand = np.flatnonzero(game.sizes == n)
    if len(grand):
        for row in np.flatnonzero(game.sizes == n - 1):
            player = int(np.flatnonzero(~game.masks[row])[0])
            effects[player] = game.utilities[name][grand[0]] - game.utilities[name][row]
    return effects


def _leave_one_out(effects: FloatArray, draws: FloatArray, has_scale: bool) -> dict[str, object]:
    """Agreement of values (n_draws, n_players) with the mean effects of leaving one out."""
    there = np.isfinite(effects).any(axis=1)
    if there.sum() < MIN_COALITIONS:
        missing = f"v(N) − v(N∖i) of at least {MIN_COALITIONS} contributors was not retrained"
        return {"n_loo": int(there.sum()), "loo_note": missing}
    mean, values = np.nanmean(effects[there], axis=1), draws[:, there]
    complete = effects[np.isfinite(effects).all(axis=1)]
    found = {
        "loo_spearman": float(correlations(ranks(values), ranks(mean)).mean()),
        "loo_replicate_spearman": float(reliability(ranks(complete.T))) if len(complete) > 1 else np.nan,
        "n_loo": int(there.sum()),
        "loo_note": "" if has_scale else "no sign, because its values have no scale",
    }
    if has_scale and (mean != 0.0).any():
        found["loo_sign_agreement"] = float((np.sign(values) == np.sign(mean))[:, mean != 0.0].mean())
    return found
