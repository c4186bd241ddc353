"""Oracles: Shapley values by the formula over all coalitions, and the regression with the exact matrix A.

Slow and exact on purpose; the estimators are tested against them.
"""

from __future__ import annotations

import math

import numpy as np

from groupshap.games.coalitions import all_coalitions
from groupshap.games.evaluations import Evaluations
from groupshap.games.types import CoalitionMatrix, FloatArray, Utilities

__all__ = ["banzhaf_coefficients", "exact_banzhaf", "exact_interactions", "exact_shapley", "shapley_coefficients"]

MAX_EXACT_PLAYERS = 20


def shapley_coefficients(coalitions: CoalitionMatrix) -> FloatArray:
    """(n_players, n_coalitions) float64 matrix B with φ = B v, when the rows are all coalitions (Shapley 1953).

    B_iS = (a−1)!(n−a)!/n! for i ∈ S and −a!(n−a−1)!/n! otherwise, a = |S|.
    """
    n_players = coalitions.shape[1]
    sizes = coalitions.sum(axis=1)
    # 1/(a·C(n,a)) and 1/((n−a)·C(n,a)) are the same numbers without large factorials.
    inside = np.array([0.0] + [1.0 / (a * math.comb(n_players, a)) for a in range(1, n_players + 1)])
    outside = -inside[::-1]
    return np.where(coalitions, inside[sizes][:, None], outside[sizes][:, None]).T


def banzhaf_coefficients(coalitions: CoalitionMatrix) -> FloatArray:
    """(n_players, n_coalitions) float64: ±2^(1−n), the Banzhaf value of a full table (Data Banzhaf, 2205.15466)."""
    return np.where(coalitions, 1.0, -1.0).T * 2.0 ** (1 - coalitions.shape[1])


def exact_shapley(utilities: Utilities) -> FloatArray:
    """(n_players,) float64 from v over :func:`~groupshap.games.coalitions.all_coalitions`, (2**n_players,)."""
    return shapley_coefficients(all_coalitions(_players_of(utilities))) @ utilities


def exact_banzhaf(utilities: Utilities) -> FloatArray:
    """(n_players,) float64 Banzhaf values from v over all coalitions, (2**n_players,)."""
    return banzhaf_coefficients(all_coalitions(_players_of(utilities))) @ utilities


def exact_interactions(utilities: Utilities) -> FloatArray:
    """(n_players, n_players) float64 Shapley interaction indices of all pairs, zero diagonal, by enumeration.

    I_ij = Σ_{S ⊆ N∖{i,j}} |S|!(n−|S|−2)!/(n−1)! · [v(S∪ij) − v(S∪i) − v(S∪j) + v(S)] (Grabisch & Roubens 1999).
    """
    n = _players_of(utilities)
    sizes = all_coalitions(n).sum(axis=1)
    codes = np.arange(2**n)
    result = np.zeros((n, n))
    for i in range(n):
        for j in range(i):
            without = codes[(codes >> i & 1 == 0) & (codes >> j & 1 == 0)]
            both, one, other = without | 1 << i | 1 << j, without | 1 << i, without | 1 << j
            weights = [1.0 / ((n - 1) * math.comb(n - 2, a)) for a in sizes[without]]
            second = utilities[both] - utilities[one] - utilities[other] + utilities[without]
            result[i, j] = result[j, i] = weights @ second
    return result


def exact_from_evaluations(evaluations: Evaluations, noise_variance: float) -> tuple[FloatArray, FloatArray]:
    """Values (n,) and covariance B diag(σ²/R) Bᵀ (n, n) from a complete table with noise variance σ² per row.

    Raises:
        ValueError: coalitions are missing (some are listed), or more players than can be enumerated.
    """
    _check_complete(evaluations)
    coefficients = shapley_coefficients(evaluations.masks)
    values = coefficients @ evaluations.utilities
    return values, (coefficients * (noise_variance / evaluations.replicates)) @ coefficients.T


def harmonic(n: int) -> float:
    """H_n = Σ_{k ≤ n} 1/k; 0 for n = 0."""
    return float((1.0 / np.arange(1, n + 1)).sum())


def _players_of(utilities: Utilities) -> int:
    n_players = len(utilities).bit_length() - 1
    if len(utilities) != 2**n_players:
        raise ValueError(f"Expected one utility for each of the 2**n coalitions, got {len(utilities)}.")
    return n_players


def _check_complete(evaluations: Evaluations) -> None:
    n = evaluations.n_players
    if n > MAX_EXACT_PLAYERS:
        raise ValueError(f"Expected at most {MAX_EXACT_PLAYERS} players for the exact formula, got {n}. Use `gp`.")
    if evaluations.is_complete:
        return
    present = set(evaluations.masks.astype(np.int64) @ (1 << np.arange(n)))
    missing = [code for code in range(2**n) if code not in present]
    members = [[player for player in range(n) if code >> player & 1] for code in missing[:5]]
    raise ValueError(
        f"Expected all {2**n} coalitions for the exact formula, got {len(evaluations.masks)} distinct ones; "
        f"{len(missing)} are missing, the first by members: {members}. "
        f"Smallest sufficient plan: plan_coalitions({n}, {2**n}, seed=...)."
    )
