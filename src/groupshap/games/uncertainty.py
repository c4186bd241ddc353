"""How sure: bootstrap over pairs, noise of one evaluation, and the rule that says when to stop.

Rows are drawn in pairs {S, N∖S}, never singly: the two errors of a pair are related, and estimators rely on both.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from groupshap.games.evaluations import Evaluations
from groupshap.games.types import FloatArray, ShapleyValues
from groupshap.seeds import generator_for

__all__ = ["bootstrap_covariance", "evaluations_to_converge", "is_converged", "relative_standard_error"]

MIN_SEED_FREEDOM = 3


def bootstrap_covariance(
    evaluations: Evaluations, refit: Callable[[FloatArray], FloatArray], *, n_bootstrap: int, seed: int
) -> FloatArray:
    """(n_players, n_players) float64: covariance of ``refit(counts)`` over resampled pairs; infinite for one pair.

    Args:
        evaluations: collapsed rows; the end points stay in every sample.
        refit: maps the multiplicities (m − 2,) of the interior rows to values (n_players,).
        n_bootstrap: number of resamples, 60–100 are enough.
        seed: root of the draws.
    """
    _, pair_of_row = np.unique(evaluations.pair_ids[2:], return_inverse=True)
    n_pairs = int(pair_of_row.max()) + 1
    if n_pairs == 1:  # every resample is the sample: nothing is known about the error
        return np.diag(np.full(evaluations.n_players, np.inf))
    refits = []
    for number in range(n_bootstrap):
        drawn = generator_for(seed, "bootstrap", number).integers(n_pairs, size=n_pairs)
        refits.append(refit(np.bincount(drawn, minlength=n_pairs)[pair_of_row].astype(np.float64)))
    return np.atleast_2d(np.cov(np.array(refits), rowvar=False))


def noise_from_replicates(evaluations: Evaluations) -> float | None:
    """Pooled seed variance of one evaluation, or None below three degrees of freedom."""
    return evaluations.seed_variance if evaluations.seed_freedom >= MIN_SEED_FREEDOM else None


def relative_standard_error(values: ShapleyValues) -> float:
    """Largest standard error / (max value − min value); inf where all values are equal but not known exactly."""
    spread, worst = float(np.ptp(values.values)), float(values.standard_errors.max())
    if worst == 0.0:
        return 0.0
    return worst / spread if spread > 0.0 else float("inf")


def is_converged(values: ShapleyValues, target_relative_error: float = 0.10) -> bool:
    """Whether the largest standard error is below ``target_relative_error`` times the range of the values.

    0.10 went with a true rank correlation of at least 0.95 on accuracies and saturating games, 0.82–0.86 on coverage
    games; 0.05 with 0.97. Show predicted rank correlation and split-half agreement beside it.

    Raises:
        ValueError: the target is not positive.
    """
    if target_relative_error <= 0.0:
        raise ValueError(f"Expected a positive `target_relative_error`, for example 0.1, got {target_relative_error}.")
    return relative_standard_error(values) < target_relative_error


def evaluations_to_converge(values: ShapleyValues, target_relative_error: float = 0.10) -> float:
    """Further evaluations until :func:`is_converged`, if errors fall as 1/√M: 0 when converged, may be inf."""
    if is_converged(values, target_relative_error):
        return 0.0
    ratio = relative_standard_error(values) / target_relative_error
    return float(np.ceil(values.n_evaluations * (ratio**2 - 1.0)))
