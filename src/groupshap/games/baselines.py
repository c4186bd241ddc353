"""Estimators without a model of the game: marginal contributions, with-minus-without means, single removals.

Known, simple, and needing more evaluations; reported for comparison. Only ``permutation`` aims at Shapley values.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from groupshap.games.evaluations import Evaluations, listed
from groupshap.games.exact import banzhaf_coefficients
from groupshap.games.types import FloatArray
from groupshap.games.uncertainty import noise_from_replicates

__all__ = ["fit_banzhaf", "fit_permutation", "fit_single_changes"]


def fit_permutation(evaluations: Evaluations) -> tuple[FloatArray, FloatArray]:
    """Mean marginal contributions (n,) and their variances (n,) (Castro 2009, section 3).

    Every measured couple S, S∪{i} counts, averaged within |S| first and over the sizes then: on a plan of
    permutations the classical estimator (stratified where sizes repeat), on a complete table the exact formula.

    Raises:
        ValueError: players without any marginal contribution among the rows.
    """
    n = evaluations.n_players
    sums, squares, counts = _marginals_by_size(evaluations)
    missing = np.flatnonzero(counts.sum(axis=0) == 0)
    if len(missing):
        raise ValueError(
            f"Expected a couple of coalitions S, S∪{{i}} for every player i for estimator 'permutation', none for "
            f"players {listed(missing)}. Smallest sufficient plan: "
            f"plan_coalitions({n}, {n + 1}, seed=..., law='permutation')."
        )
    filled = np.maximum(counts, 1)
    strata = (counts > 0).sum(axis=0)
    values = (sums / filled).sum(axis=0) / strata
    # Spread around the player's own mean: includes the differences between sizes, so it errs on the safe side.
    n_marginals = counts.sum(axis=0)
    spread = squares.sum(axis=0) / n_marginals - (sums.sum(axis=0) / n_marginals) ** 2
    return values, np.where(n_marginals > 1, np.maximum(spread, 0.0) / np.maximum(n_marginals - 1, 1), np.inf)


def _marginals_by_size(evaluations: Evaluations) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Sums, sums of squares and counts, each (n, n) float64: [size of S, player], of v(S∪i) − v(S)."""
    n, sizes = evaluations.n_players, evaluations.sizes
    sums, squares, counts = np.zeros((3, n, n))
    rows_of_size = [np.flatnonzero(sizes == size) for size in range(n + 1)]
    for size in range(n):
        lower, upper = rows_of_size[size], rows_of_size[size + 1]
        joint = evaluations.masks[lower].astype(np.float32) @ evaluations.masks[upper].astype(np.float32).T
        below, above = (index[place] for index, place in zip((lower, upper), np.nonzero(joint == size), strict=True))
        player = np.argmax(evaluations.masks[above] & ~evaluations.masks[below], axis=1)
        marginal = evaluations.utilities[above] - evaluations.utilities[below]
        for table, term in ((sums, marginal), (squares, marginal**2), (counts, np.ones_like(marginal))):
            np.add.at(table[size], player, term)
    return sums, squares, counts


def fit_banzhaf(evaluations: Evaluations, counts: FloatArray | None = None) -> FloatArray:
    """(n,) float64: mean of v with i minus mean without i over the interior rows (Data Banzhaf, 2205.15466).

    Estimates Banzhaf values under the laws ``bernoulli`` and, up to the choice of sizes, ``half``.

    Args:
        evaluations: collapsed rows.
        counts: (m − 2,) multiplicities of a bootstrap sample; None for all rows once.

    Raises:
        ValueError: players that are in all or in none of the interior rows.
    """
    if evaluations.is_complete:
        return banzhaf_coefficients(evaluations.masks) @ evaluations.utilities
    members = evaluations.masks[2:].astype(np.float64)
    weights = evaluations.replicates[2:] if counts is None else evaluations.replicates[2:] * counts
    inside, outside = weights @ members, weights @ (1.0 - members)
    if counts is None:
        _check_both_sides(inside, outside)
    weighted = weights * evaluations.utilities[2:]
    # A bootstrap sample may leave one side of a player empty: its mean counts as the overall mean then.
    overall = weighted.sum() / weights.sum()
    with_player = np.where(inside > 0, (weighted @ members) / np.maximum(inside, 1), overall)
    without_player = np.where(outside > 0, (weighted @ (1.0 - members)) / np.maximum(outside, 1), overall)
    return with_player - without_player


def _check_both_sides(inside: FloatArray, outside: FloatArray) -> None:
    missing = np.flatnonzero((inside == 0) | (outside == 0))
    if len(missing):
        n = len(inside)
        raise ValueError(
            "Expected every player in some and missing from other coalitions besides the empty and the grand one for "
            f"estimator 'banzhaf', not so for players {listed(missing)}. Smallest sufficient plan: one pair, "
            f"plan_coalitions({n}, 4, seed=..., law='half')."
        )


def fit_single_changes(evaluations: Evaluations, *, leave_out: bool) -> tuple[FloatArray, FloatArray, float]:
    """Leave-one-out v(N) − v(N∖i), or add-one-in v({i}) − v(∅), with covariance and noise variance.

    Args:
        evaluations: collapsed rows.
        leave_out: which of the two.

    Returns:
        Values (n,), covariance (n, n), noise variance of one row. Without replicates the spread of the n single rows
        stands for the noise: it contains the differences between players, so errors are overstated.

    Raises:
        ValueError: single rows are missing; the players are named.
    """
    n = evaluations.n_players
    rows = _single_rows(evaluations, n - 1 if leave_out else 1, leave_out=leave_out)
    base = 1 if leave_out else 0
    change = evaluations.utilities[rows] - evaluations.utilities[base]
    replicated = noise_from_replicates(evaluations)
    noise = float(np.var(change, ddof=1)) if replicated is None and n > 1 else replicated or 0.0
    covariance = np.diag(noise / evaluations.replicates[rows]) + noise / evaluations.replicates[base]
    return (-change if leave_out else change), covariance, noise


def _single_rows(evaluations: Evaluations, size: int, *, leave_out: bool) -> npt.NDArray[np.int64]:
    """(n,) int64: the row that differs from N (or ∅) in player i only."""
    n = evaluations.n_players
    candidates = np.flatnonzero(evaluations.sizes == size)
    masks = evaluations.masks[candidates]
    rows = np.full(n, -1)
    rows[np.argmax(~masks if leave_out else masks, axis=1)] = candidates
    missing = np.flatnonzero(rows < 0)
    if len(missing):
        name, design = ("loo", "leave_one_out_coalitions") if leave_out else ("add_one_in", "add_one_in_coalitions")
        raise ValueError(
            f"Expected the coalition of {'all players but i' if leave_out else 'player i alone'} for every player i "
            f"for estimator {name!r}, missing for players {listed(missing)}. Smallest sufficient plan: {design}({n})."
        )
    return rows
