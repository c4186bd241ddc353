"""Which pairs of players overlap (negative) or complement each other (positive): Shapley interaction index.

The index is linear in the game, so the Gaussian process gives it in closed form, like the Shapley value itself:
applied to k(·, T) it depends on |T| and on how many of the two players T holds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from groupshap.games.evaluations import collapse
from groupshap.games.requirements import require_interior
from groupshap.games.subset_gp import MAX_PROCESS_ROWS, SubsetGP, fit_subset_gp
from groupshap.games.subset_kernel import binomials, higher_variance, player_kernel, smooth_kernel, third_moment
from groupshap.games.types import CoalitionMatrix, FloatArray, Utilities

__all__ = ["ShapleyInteractions", "shapley_interactions"]

PAIRS_PER_BLOCK = 4096


@dataclass(frozen=True)
class ShapleyInteractions:
    """Pairwise Shapley interaction indices of the fitted game.

    Attributes:
        values: (n_players, n_players) float64, symmetric, zero diagonal, in the unit of the utility.
        standard_errors: (n_players, n_players) float64, symmetric, zero diagonal.
        inflation: factor of the variances, from leave-one-out residuals.
    """

    values: FloatArray
    standard_errors: FloatArray
    inflation: float


def shapley_interactions(coalitions: CoalitionMatrix, utilities: Utilities) -> ShapleyInteractions:
    """Shapley interaction index of every pair (Grabisch & Roubens 1999) from the Gaussian process of ``gp``.

    More than 3000 distinct coalitions: 3000 of them, spread over all sizes, are used.

    Args:
        coalitions: (n_coalitions, n_players) bool, as for :func:`~groupshap.games.estimators.estimate`; n_players ≥ 2.
        utilities: (n_coalitions,) finite float64.

    Raises:
        ValueError: bad rows, a single player, or too few coalitions.
    """
    evaluations = collapse(coalitions, utilities)
    if evaluations.n_players == 1:
        raise ValueError("Expected at least two players for pairwise interactions, got 1.")
    require_interior(evaluations, "gp")
    if evaluations.is_constant:
        zeros = np.zeros((evaluations.n_players, evaluations.n_players))
        return ShapleyInteractions(zeros, zeros.copy(), 1.0)
    return interactions_of(fit_subset_gp(evaluations.spread(MAX_PROCESS_ROWS)))


def interactions_of(model: SubsetGP) -> ShapleyInteractions:
    """Posterior mean and inflated standard errors of all pairwise indices of a fitted process."""
    n, kappa = model.n_players, model.inflation()
    table = interaction_response(model.theta, n)
    first, second = np.triu_indices(n, 1)
    values, errors = np.zeros((2, n, n))
    prior = _prior_variance(table, n)
    for start in range(0, len(first), PAIRS_PER_BLOCK):
        i, j = first[start : start + PAIRS_PER_BLOCK], second[start : start + PAIRS_PER_BLOCK]
        held = model.masks[:, i].astype(np.int64) + model.masks[:, j]
        operator = table[held, model.sizes[:, None]]  # (m, n_pairs): covariance of the index with each utility
        values[i, j] = model.scale * (model.omega @ operator)
        whitened = scipy.linalg.solve_triangular(model.factor, operator, lower=True, check_finite=False)
        variance = prior - np.einsum("rp,rp->p", whitened, whitened)
        errors[i, j] = model.scale * np.sqrt(kappa * np.maximum(variance, 0.0))
    return ShapleyInteractions(values + values.T, errors + errors.T, kappa)


def interaction_response(theta: FloatArray, n: int) -> FloatArray:
    """(3, n+1) float64: I_ij k(·, T) for |{i,j}∩T| = 0, 1, 2 and |T| = 0..n; impossible entries are nan.

    I_ij f = 1/(n−1) Σ_{a=0}^{n−2} E[f(S∪ij) − f(S∪i) − f(S∪j) + f(S)], S uniform of size a without i and j.
    """
    table = np.full((3, n + 1), np.nan)
    higher = higher_variance(theta, n)
    size_part = _size_second_difference(theta, n)
    a = np.arange(n - 1)[:, None]
    others = max(n - 2, 1)
    for held in range(3):
        b = np.arange(held, n - 1 + held)[None, :]
        rest = b - held  # members of T besides i and j: |S∩T| is hypergeometric among n−2 players
        j = a * rest / others
        rho = j * (n - 2 - rest) / others * (n - 2 - a) / max(n - 3, 1)
        moments = rho, third_moment(rho, n - 2, a, rest)
        both = player_kernel(theta, n, a + 2, b, j + held, *moments)
        # One of i, j joins S; the other does not: held of the two choices raise |S∩T|.
        one = held * player_kernel(theta, n, a + 1, b, j + 1, *moments)
        one = one + (2 - held) * player_kernel(theta, n, a + 1, b, j, *moments)
        mean = (both - one + player_kernel(theta, n, a, b, j, *moments)).mean(axis=0)
        # k₄ is white: the index of the indicator of T is its own coefficient, ±1/((n−1)·C(n−2, |T|−held)).
        white = (-1.0) ** held * higher[b[0]] / ((n - 1) * binomials(n - 2)[rest[0]])
        table[held, b[0]] = mean + size_part[b[0]] + white
    return table


def _size_second_difference(theta: FloatArray, n: int) -> FloatArray:
    """(n+1,) float64: the index of the size components, [f(n) − f(n−1) − f(1) + f(0)]/(n−1); a trend cancels."""
    sizes = np.arange(n + 1)
    at = [smooth_kernel(theta, size, sizes) for size in (n, n - 1, 1, 0)]
    return (at[0] - at[1] - at[2] + at[3]) / (n - 1)


def _prior_variance(table: FloatArray, n: int) -> float:
    """The index applied to both arguments of the kernel."""
    a = np.arange(n - 1)
    return float((table[2, a + 2] - 2.0 * table[1, a + 1] + table[0, a]).mean())
