"""What all scores share: correlations of many samples at once, reliability of replicates, ceilings, intervals.

Intervals resample coalitions, and every drawn coalition brings all its replicates: the two-stage bootstrap that draws
groups with and members without replacement, whose variance is closer to the truth than drawing both with replacement
(Davison & Hinkley 1997, section 3.8). It holds because the seed of a training run depends on coalition *and*
replicate, so the noise of two coalitions is independent.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from groupshap.games.types import FloatArray
from groupshap.seeds import generator_for

__all__ = [
    "ceiling_of_mean",
    "centred_interval",
    "correlations",
    "interval",
    "line",
    "mean_replicates",
    "predictions",
    "ranks",
    "reliability",
    "resampled_rows",
    "rows_among",
]

SIGNIFICANT_DIGITS = 11


def predictions(masks: npt.NDArray[np.bool_], values: FloatArray) -> FloatArray:
    """(..., m) float64: Σ_{i∈S} value_i for values (..., n_players), equal sums made equal.

    Rounded relative to the largest value: sums of the same numbers in another order differ in the last digit, which
    Spearman would take for an order.
    """
    sums = np.asarray(values, dtype=np.float64) @ masks.T
    largest = float(np.abs(values).sum(axis=-1).max(initial=0.0))
    if largest == 0.0:
        return sums
    unit = 10.0 ** (np.floor(np.log10(largest)) - SIGNIFICANT_DIGITS)
    return np.round(sums / unit) * unit


def ranks(array: FloatArray) -> FloatArray:
    """Ranks along the last axis, ties at the mean rank."""
    return rankdata(array, axis=-1)


def correlations(first: FloatArray, second: FloatArray) -> FloatArray:
    """Pearson correlation along the last axis of two arrays that broadcast; nan where one of them is constant."""
    first = first - first.mean(axis=-1, keepdims=True)
    second = second - second.mean(axis=-1, keepdims=True)
    norm = np.sqrt((first**2).sum(axis=-1) * (second**2).sum(axis=-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(norm > 0.0, np.clip((first * second).sum(axis=-1) / norm, -1.0, 1.0), np.nan)


def line(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Slope and intercept of the least-squares line along the last axis; nan where x does not vary."""
    x_mean, y_mean = x.mean(axis=-1, keepdims=True), y.mean(axis=-1, keepdims=True)
    square = ((x - x_mean) ** 2).sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = np.where(square > 0.0, ((x - x_mean) * (y - y_mean)).sum(axis=-1) / square, np.nan)
    return slope, y_mean[..., 0] - slope * x_mean[..., 0]


def reliability(replicates: FloatArray) -> FloatArray:
    """(...) float64: mean correlation over all pairs of replicates (..., R, m); nan for a single replicate."""
    n_replicates = replicates.shape[-2]
    first, second = np.triu_indices(n_replicates, 1)
    if not len(first):
        return np.full(replicates.shape[:-2], np.nan)
    return correlations(replicates[..., first, :], replicates[..., second, :]).mean(axis=-1)


def mean_replicates(n_replicates: npt.NDArray[np.int64]) -> float:
    """Harmonic mean, the R with which the noise of the mean falls as 1/R."""
    return float(len(n_replicates) / (1.0 / n_replicates).sum()) if len(n_replicates) else float("nan")


def ceiling_of_mean(reliability_of_one: FloatArray | float, n_replicates: float) -> FloatArray:
    """Largest correlation with the mean of R replicates that a prediction of their expectation can be expected to have.

    Spearman–Brown: the mean of R replicates has the reliability ρ_R = R ρ₁ / (1 + (R − 1) ρ₁), and the truth
    correlates with it as √ρ_R (Spearman 1904, 1910; exact for Pearson, for normal ranks to 0.01). 0 where ρ₁ ≤ 0.
    """
    one = np.maximum(np.asarray(reliability_of_one, dtype=np.float64), 0.0)
    return np.sqrt(n_replicates * one / (1.0 + (n_replicates - 1.0) * one))


def resampled_rows(n_rows: int, n_bootstrap: int, seed: int, *address: str | int) -> npt.NDArray[np.int64]:
    """(n_bootstrap, n_rows) int64: row numbers drawn with replacement."""
    return generator_for(seed, "validation bootstrap", *address).integers(max(n_rows, 1), size=(n_bootstrap, n_rows))


def rows_among(drawn: npt.NDArray[np.int64], n_rows: int) -> npt.NDArray[np.int64]:
    """(n_bootstrap, n_rows) int64: the resamples as numbers of fewer rows, for quantities that some rows lack."""
    return drawn if drawn.shape[1] == n_rows else drawn[:, :n_rows] * n_rows // drawn.shape[1]


def interval(draws: FloatArray, level: float) -> tuple[float, float]:
    """Percentile interval of the draws (n_bootstrap,) that are numbers; nan if fewer than half of them are."""
    draws = draws[np.isfinite(draws)] if np.isfinite(draws).mean() >= 0.5 else np.array([np.nan])
    low, high = np.quantile(draws, [0.5 - level / 2.0, 0.5 + level / 2.0])
    return float(low), float(high)


def centred_interval(
    value: float, draws: FloatArray, level: float, bounds: tuple[float, float] = (-1.0, 1.0)
) -> tuple[float, float]:
    """Interval of draws that carry the noise twice: their spread around ``value``, cut at ``bounds``.

    Draws around an estimate that is itself noisy are attenuated once more, so their mean is no estimate.
    """
    low, high = interval(draws - np.mean(draws) + value, level)
    return float(np.clip(low, *bounds)), float(np.clip(high, *bounds))
