"""How faithful the cheap game is to the retrained one, on coalitions measured in both: utilities, Shapley values, cost.

The paper never shows this comparison; from its records, Shapley values of both games correlate with 0.80, 0.63 and
0.48 in its three cases.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd

from groupshap.games import ShapleyValues, estimate, exact_shapley
from groupshap.games.types import FloatArray
from groupshap.seeds import generator_for
from groupshap.validation.config import ValidationScoringConfig
from groupshap.validation.lds import MIN_COALITIONS
from groupshap.validation.measured import MeasuredGame, in_common, measured_game
from groupshap.validation.resampling import (
    ceiling_of_mean,
    centred_interval,
    correlations,
    interval,
    line,
    mean_replicates,
    ranks,
    reliability,
    resampled_rows,
    rows_among,
)

__all__ = ["CHEAP", "FIDELITY_COLUMNS", "RETRAINED", "bias_by_size", "fidelity_table", "shapley_pairs"]

FIDELITY_COLUMNS = (
    *("property", "measure", "value", "low", "high", "replicates", "ceiling", "ceiling_low", "ceiling_high", "ratio"),
    *("n_coalitions", "n_replicates", "note"),
)
logger = logging.getLogger(__name__)

PAIR_COLUMNS = ("property", "contributor", "game", "estimator", "shapley_value", "ci_low", "ci_high")
CHEAP, RETRAINED = "cheap", "retrained"
NO_CEILING = "no ceiling: fewer than two replicates of retraining"
Measure = Callable[[FloatArray, FloatArray], FloatArray]


def fidelity_table(
    cheap_utilities: pd.DataFrame,
    validation_utilities: pd.DataFrame,
    contributors: pd.DataFrame,
    config: ValidationScoringConfig | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """One row per property and measure of agreement between the two games.

    Args:
        cheap_utilities: rows of the cheap game of one split (``paired`` or ``estimation``).
        validation_utilities: rows of the retrained game of one split; only coalitions in both are used.
        contributors: player, contributor, n_images.
        config: bootstrap and level; None takes the defaults.
        seed: root of the bootstrap.

    Returns:
        :data:`FIDELITY_COLUMNS`. Measures of v (means over replicates): ``pearson_v``, ``spearman_v``, ``mae_v``,
        ``bias_v`` (cheap − retrained), ``slope_v`` (retrained on cheap). Of Shapley values (exact where both games are
        complete, otherwise gp on the common rows): ``pearson_shapley``, ``spearman_shapley``, ``relative_l2_shapley``
        (norm of the difference of centred values over the norm of the retrained ones), and ``reliability_shapley``, the
        part of the variance of the *cheap* values that is not their own noise, which the ceiling leaves out of account:
        far below 1, more evaluations help; near 1, only another recipe does. ``cost_ratio``: mean seconds of a
        retrained evaluation over those of a cheap one.
        ``replicates`` is the same measure between two single replicates of retraining and ``ceiling`` what a cheap
        game equal to the expected retrained one would get against the mean of R replicates (a floor for errors).
        Intervals: bootstrap over coalitions for v and cost, the covariance of both estimates for Shapley values.
        ``ratio`` = value / ceiling of the correlations: the correlation corrected for the noise of retraining.

    Raises:
        ValueError: what is wrong with the tables, or fewer than four coalitions measured in both games.
    """
    config = config or ValidationScoringConfig()
    cheap, retrained = in_common(
        measured_game(cheap_utilities, contributors), measured_game(validation_utilities, contributors)
    )
    if len(cheap.ids) < MIN_COALITIONS:
        raise ValueError(
            f"Expected at least {MIN_COALITIONS} coalitions measured in both games, got {len(cheap.ids)}. "
            "Measure the cheap recipe on more validation coalitions."
        )
    counts = {"n_coalitions": len(cheap.ids), "n_replicates": mean_replicates(retrained.n_replicates)}
    drawn = resampled_rows(len(cheap.ids), config.n_bootstrap, seed, "fidelity")
    rows = []
    for name in cheap.utilities:
        found = {
            **_of_utilities(cheap, retrained, name, drawn, config.level),
            **_of_shapley_values(cheap, retrained, name, config, seed),
            "cost_ratio": _cost_ratio(cheap, retrained, drawn, config.level),
        }
        rows += [{"property": name, "measure": measure, **counts, "note": "", **row} for measure, row in found.items()]
    return pd.DataFrame(rows, columns=list(FIDELITY_COLUMNS))


def bias_by_size(
    cheap_utilities: pd.DataFrame, validation_utilities: pd.DataFrame, contributors: pd.DataFrame
) -> pd.DataFrame:
    """Mean of cheap − retrained per property and size of the coalition, its standard error and the number of rows.

    Returns:
        property, n_contributors, bias, standard_error (over the coalitions of the size; nan for one), n_coalitions.
    """
    cheap, retrained = in_common(
        measured_game(cheap_utilities, contributors), measured_game(validation_utilities, contributors)
    )
    tables = []
    for name in cheap.utilities:
        gaps = pd.Series(cheap.means(name) - retrained.means(name)).groupby(cheap.sizes)
        table = pd.DataFrame({"bias": gaps.mean(), "standard_error": gaps.sem(), "n_coalitions": gaps.size()})
        tables.append(table.rename_axis("n_contributors").reset_index().assign(property=name))
    columns = ["property", "n_contributors", "bias", "standard_error", "n_coalitions"]
    return pd.concat(tables, ignore_index=True)[columns]


def shapley_pairs(
    cheap_utilities: pd.DataFrame,
    validation_utilities: pd.DataFrame,
    contributors: pd.DataFrame,
    level: float = 0.95,
) -> pd.DataFrame:
    """Shapley values of both games on their common coalitions, one row per property, contributor and game.

    Returns:
        property, contributor, game (``cheap`` or ``retrained``), estimator, shapley_value, ci_low, ci_high. Without
        rows where the common coalitions do not suffice for Shapley values; the log says why.
    """
    cheap, retrained = in_common(
        measured_game(cheap_utilities, contributors), measured_game(validation_utilities, contributors)
    )
    tables = [pd.DataFrame(columns=list(PAIR_COLUMNS))]
    for name in cheap.utilities:
        try:
            both = {CHEAP: _estimated(cheap, name), RETRAINED: _estimated(retrained, name)}
        except ValueError as error:
            logger.info("Left out: Shapley values of both games (%s). %s", name, error)
            continue
        for label, values in both.items():
            columns = (name, cheap.names, label, values.estimator, values.values, *values.interval(level))
            tables.append(pd.DataFrame(dict(zip(PAIR_COLUMNS, columns, strict=True))))
    return pd.concat(tables[1:] or tables, ignore_index=True)


def _of_utilities(
    cheap: MeasuredGame, retrained: MeasuredGame, name: str, drawn: npt.NDArray[np.int64], level: float
) -> dict[str, dict[str, object]]:
    first, second = cheap.means(name), retrained.means(name)
    replicates, effective = retrained.complete_replicates(name), mean_replicates(retrained.n_replicates)
    rows: dict[str, dict[str, object]] = {}
    for measure, function in MEASURES_OF_V.items():
        low, high = interval(function(first[drawn], second[drawn]), level)
        rows[measure] = {"value": float(function(first, second)), "low": low, "high": high}
    if min(replicates.shape) < 2:
        return {measure: {**row, "note": NO_CEILING} for measure, row in rows.items()}
    for measure in ("pearson_v", "spearman_v", "mae_v"):
        rows[measure]["replicates"] = _between_replicates(MEASURES_OF_V[measure], replicates)
    resampled = replicates[:, rows_among(drawn, replicates.shape[1])].transpose(1, 0, 2)
    for measure, prepared in (("pearson_v", np.asarray), ("spearman_v", ranks)):
        one = float(reliability(prepared(replicates)))
        ends = interval(reliability(prepared(resampled)), level)
        rows[measure] |= _ceiling(rows[measure]["value"], one, ends, effective)
    # E|ε| of a normal error with the variance of the mean of R replicates.
    rows["mae_v"]["ceiling"] = float(np.sqrt(2.0 / np.pi * retrained.noise_variance(name) / effective))
    return rows


def _of_shapley_values(
    cheap: MeasuredGame, retrained: MeasuredGame, name: str, config: ValidationScoringConfig, seed: int
) -> dict[str, dict[str, object]]:
    try:
        first, second = _estimated(cheap, name), _estimated(retrained, name)
    except ValueError as error:  # too few coalitions: said in the table, because v can still be compared
        return {measure: {"note": str(error).partition("\n")[0]} for measure in MEASURES_OF_SHAPLEY}
    note = first.estimator if first.estimator == second.estimator else f"{first.estimator} and {second.estimator}"
    noise = [_noise(values, config.n_bootstrap, seed, name, k) for k, values in enumerate((first, second))]
    replicates, effective = _values_of_replicates(retrained, name), mean_replicates(retrained.n_replicates)
    rows: dict[str, dict[str, object]] = {}
    for measure, (function, bounds) in MEASURES_OF_SHAPLEY.items():
        value = float(function(first.values, second.values))
        draws = function(first.values + noise[0], second.values + noise[1])
        low, high = centred_interval(value, draws, config.level, bounds)
        rows[measure] = {"value": value, "low": low, "high": high, "note": note}
        if len(replicates) > 1:
            rows[measure]["replicates"] = _between_replicates(function, replicates)
    rows["relative_l2_shapley"]["ceiling"] = _relative_noise(second)
    rows["reliability_shapley"] = {"value": max(1.0 - _relative_noise(first) ** 2, 0.0), "note": note}
    if len(replicates) < 2:
        return {measure: {**row, "note": f"{row['note']}; {NO_CEILING}"} for measure, row in rows.items()}
    each = [_noise(second, config.n_bootstrap, seed, name, 2 + r) for r in range(len(replicates))]
    resampled = second.values + np.sqrt(effective) * np.stack(each, axis=1)
    for measure, prepared in (("pearson_shapley", np.asarray), ("spearman_shapley", ranks)):
        one = float(reliability(prepared(replicates)))
        ends = centred_interval(one, reliability(prepared(resampled)), config.level)
        rows[measure] |= _ceiling(rows[measure]["value"], one, ends, effective)
    return rows


def _ceiling(value: object, one: float, ends: tuple[float, float], n_replicates: float) -> dict[str, float]:
    """Ceiling with its interval from the reliability of one replicate, and value / ceiling."""
    ceiling, low, high = ceiling_of_mean(np.array([one, *ends]), n_replicates).tolist()
    ratio = float(value) / ceiling if ceiling > 0.0 else float("nan")
    return {"ceiling": ceiling, "ceiling_low": low, "ceiling_high": high, "ratio": ratio}


def _cost_ratio(
    cheap: MeasuredGame, retrained: MeasuredGame, drawn: npt.NDArray[np.int64], level: float
) -> dict[str, object]:
    """Seconds of a retrained evaluation over seconds of a cheap one, means over coalitions without the empty one."""
    # Nothing is trained for the empty coalition in either game, so it says nothing about their cost.
    costly = cheap.sizes > 0
    seconds = [np.nanmean(game.seconds, axis=1) * costly for game in (retrained, cheap)]
    if not seconds[1].sum() > 0.0:
        return {"note": "the cheap game took no time"}
    with np.errstate(invalid="ignore", divide="ignore"):
        draws = seconds[0][drawn].sum(axis=1) / seconds[1][drawn].sum(axis=1)
    low, high = interval(draws, level)
    return {"value": float(seconds[0].sum() / seconds[1].sum()), "low": low, "high": high}


def _estimated(game: MeasuredGame, name: str) -> ShapleyValues:
    """Exact for a complete game, otherwise gp."""
    return estimate(*game.long(name), estimator="gp", player_names=game.names)


def _values_of_replicates(game: MeasuredGame, name: str) -> FloatArray:
    """(R', n_players) float64: Shapley values from each replicate alone, of the replicates that suffice for them."""
    found = []
    for replicate in range(game.seconds.shape[1]):
        masks, utilities = game.long(name, replicate)
        n_players, sizes = masks.shape[1], masks.sum(axis=1)
        if len(masks) == 2**n_players:
            found.append(exact_shapley(utilities[np.argsort(masks @ (1 << np.arange(n_players)))]))
        elif len(masks) == len(game.ids) and game.has_end_points:
            found.append(estimate(masks, utilities, estimator="gp").values)
        else:
            logger.info(
                "Replicate %d of %s is left out of the comparison of Shapley values: %d of %d coalitions, sizes %s.",
                replicate, name, len(masks), len(game.ids), sorted(set(sizes.tolist())),
            )  # fmt: skip
    return np.array(found).reshape(len(found), len(game.names))


def _between_replicates(function: Measure, replicates: FloatArray) -> float:
    """Mean of the measure over all pairs of rows."""
    first, second = np.triu_indices(len(replicates), 1)
    return float(np.mean(function(replicates[first], replicates[second])))


def _noise(values: ShapleyValues, n_draws: int, seed: int, *address: str | int) -> FloatArray:
    """(n_draws, n_players) float64: errors of the estimate drawn from its covariance."""
    eigenvalues, vectors = np.linalg.eigh(values.covariance)
    normal = generator_for(seed, "shapley noise", *address).standard_normal((n_draws, values.n_players))
    return normal @ (vectors * np.sqrt(np.maximum(eigenvalues, 0.0))).T


def _relative_noise(values: ShapleyValues) -> float:
    """√(expected squared norm of the centred error) over the norm of the centred values."""
    centred = values.values - values.values.mean()
    variance = np.trace(values.covariance) - values.covariance.sum() / values.n_players
    norm = np.linalg.norm(centred)
    return float(np.sqrt(max(variance, 0.0)) / norm) if norm > 0.0 else float("nan")


def _spearman(first: FloatArray, second: FloatArray) -> FloatArray:
    return correlations(ranks(first), ranks(second))


def _mean_absolute_error(first: FloatArray, second: FloatArray) -> FloatArray:
    return np.abs(first - second).mean(axis=-1)


def _bias(first: FloatArray, second: FloatArray) -> FloatArray:
    return (first - second).mean(axis=-1)


def _relative_l2(first: FloatArray, second: FloatArray) -> FloatArray:
    """Norm of the difference of the centred values over that of the second, along the last axis."""
    first, second = (array - array.mean(axis=-1, keepdims=True) for array in (first, second))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.linalg.norm(first - second, axis=-1) / np.linalg.norm(second, axis=-1)


MEASURES_OF_V: dict[str, Measure] = {
    "pearson_v": correlations,
    "spearman_v": _spearman,
    "mae_v": _mean_absolute_error,
    "bias_v": _bias,
    "slope_v": lambda first, second: line(first, second)[0],
}
MEASURES_OF_SHAPLEY: dict[str, tuple[Measure, tuple[float, float]]] = {
    "pearson_shapley": (correlations, (-1.0, 1.0)),
    "spearman_shapley": (_spearman, (-1.0, 1.0)),
    "relative_l2_shapley": (_relative_l2, (0.0, np.inf)),
}
"""Name → (function of cheap and retrained values along the last axis, its bounds)."""
