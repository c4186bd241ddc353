"""How far two attributions, or an attribution and held-out utilities, agree.

LDS does not measure Shapley accuracy: exact Shapley values score 0.37–0.89, and it cannot see a common shift of all
values. Choose estimators by split-half agreement and intervals; report LDS.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from groupshap.games.estimators import estimate_collapsed, relative_difference
from groupshap.games.evaluations import Evaluations, collapse
from groupshap.games.types import CoalitionMatrix, FloatArray, ShapleyValues, Utilities
from groupshap.seeds import generator_for

__all__ = ["SplitHalf", "lds", "predicted_spearman", "spearman", "split_half"]


@dataclass(frozen=True)
class SplitHalf:
    """Agreement of fits to the even and to the odd pairs: it describes half the budget and assumes nothing.

    Attributes:
        spearman: rank correlation of the two, in [−1, 1]; nan if one of them is constant.
        relative_l2: norm of the difference of the centred values over the norm of their mean.
    """

    spearman: float
    relative_l2: float


def spearman(first: FloatArray, second: FloatArray) -> float:
    """Rank correlation in [−1, 1] of two (n,) arrays, ties at mean rank; nan if one of them is constant.

    Raises:
        ValueError: different shapes.
    """
    if np.shape(first) != np.shape(second):
        raise ValueError(f"Expected two arrays of one shape, got {np.shape(first)} and {np.shape(second)}.")
    ranks = [_mean_ranks(np.asarray(array, dtype=np.float64)) for array in (first, second)]
    first_rank, second_rank = (rank - rank.mean() for rank in ranks)
    norm = np.linalg.norm(first_rank) * np.linalg.norm(second_rank)
    return float(first_rank @ second_rank / norm) if norm > 0.0 else float("nan")


def lds(values: ShapleyValues | FloatArray, coalitions: CoalitionMatrix, utilities: Utilities) -> float:
    """Linear datamodelling score in [−1, 1]: Spearman of Σ_{i∈S} φ_i with v(S) on held-out coalitions (TRAK, eq. 4).

    Args:
        values: (n_players,) values.
        coalitions: (n_coalitions, n_players) bool, none of them used in the fit; repeated rows are averaged first.
        utilities: (n_coalitions,) float64.
    """
    scores = values.values if isinstance(values, ShapleyValues) else np.asarray(values)
    masks, group = np.unique(np.asarray(coalitions, dtype=bool), axis=0, return_inverse=True)
    if masks.shape[1] != len(scores) or len(group.ravel()) != len(utilities):
        raise ValueError(
            f"Expected `coalitions` ({len(utilities)}, {len(scores)}) for these utilities and values, "
            f"got {np.shape(coalitions)}."
        )
    means = np.bincount(group.ravel(), weights=utilities) / np.bincount(group.ravel())
    return spearman(masks @ scores, means)


def predicted_spearman(values: ShapleyValues, *, n_draws: int = 60, seed: int = 0) -> float:
    """Expected rank correlation with the truth if the reported covariance is right (0.1 too high on coverage games).

    nan where the errors are unknown (infinite).
    """
    if not np.isfinite(values.covariance).all():
        return float("nan")
    eigenvalues, vectors = np.linalg.eigh(values.covariance)
    root = vectors * np.sqrt(np.maximum(eigenvalues, 0.0))
    draws = generator_for(seed, "predicted-spearman").standard_normal((n_draws, values.n_players)) @ root.T
    return float(np.mean([spearman(values.values, values.values + draw) for draw in draws]))


def split_half(
    coalitions: CoalitionMatrix, utilities: Utilities, *, estimator: str = "gp", law: str | None = None
) -> SplitHalf:
    """Fit the even and the odd pairs separately, the end points in both, and compare.

    Args:
        coalitions: (n_coalitions, n_players) bool.
        utilities: (n_coalitions,) float64.
        estimator: as for :func:`~groupshap.games.estimators.estimate`.
        law: as there.

    Raises:
        ValueError: a half is too small for the estimator.
    """
    evaluations = collapse(coalitions, utilities)
    halves = [
        estimate_collapsed(_half(evaluations, parity), estimator=estimator, law=law, n_bootstrap=2).values
        for parity in (0, 1)
    ]
    return SplitHalf(spearman(*halves), relative_difference(halves[0], (halves[0] + halves[1]) / 2.0) * 2.0)


def _half(evaluations: Evaluations, parity: int) -> Evaluations:
    _, pair = np.unique(evaluations.pair_ids, return_inverse=True)
    keep = pair % 2 == parity
    keep[:2] = True
    return evaluations.subset(np.flatnonzero(keep))


def _mean_ranks(array: FloatArray) -> FloatArray:
    _, group, counts = np.unique(array, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2.0)[group]
