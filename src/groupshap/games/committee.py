"""Thousands of rows: a committee of Gaussian processes over blocks of pairs, at a cost that grows linearly.

Each block conditions the same prior on its own rows; the posteriors of the Shapley values are then multiplied and the
surplus priors divided out (Bayesian committee machine, Tresp 2000). That is exact where blocks are independent given
the Shapley values, and too sure of itself by what they share beyond them, mainly the size curve and interactions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from groupshap.games.calibration import influence_inflation
from groupshap.games.evaluations import Evaluations
from groupshap.games.subset_gp import condition, find_theta, standardise
from groupshap.games.subset_kernel import prior_covariance
from groupshap.games.types import FloatArray

__all__ = ["CommitteeFit", "fit_committee"]


@dataclass(frozen=True)
class CommitteeFit:
    """Combined posterior of the Shapley values.

    Attributes:
        values: (n_players,) float64.
        covariance: (n_players, n_players) float64, not inflated.
        inflation: mean of the members' leave-one-out inflation, ≥ 1.
        degrees_of_freedom: effective number of residuals behind it.
        loo_residuals: leave-one-out residuals of the interior rows.
        loo_variances: their predicted variances.
        noise_variance: in squared units of the utility.
        n_blocks: members of the committee.
    """

    values: FloatArray
    covariance: FloatArray
    inflation: float
    degrees_of_freedom: float
    loo_residuals: FloatArray
    loo_variances: FloatArray
    noise_variance: float
    n_blocks: int


def fit_committee(evaluations: Evaluations, rows_per_block: int) -> CommitteeFit:
    """Condition on blocks of about ``rows_per_block`` rows (whole pairs) and combine them."""
    mean, scale, standardised = standardise(evaluations.utilities)
    blocks = _blocks(evaluations, rows_per_block)
    theta = find_theta(evaluations.subset(blocks[0]), standardised[blocks[0]], scale)
    prior_precision = _inverse(scale**2 * prior_covariance(theta, evaluations.n_players))
    precision = -(len(blocks) - 1.0) * prior_precision
    pull = np.zeros(evaluations.n_players)
    inflations, left_out = [], []
    for block in blocks:
        part = evaluations.subset(block)
        member = condition(part.masks, part.replicates, theta, (mean, scale), standardised[block])
        member_values, member_covariance = member.shapley()
        member_precision = _inverse(member_covariance)
        precision += member_precision
        pull += member_precision @ member_values
        left_out.append(np.array(member.leave_one_out())[:, member.interior])
        inflations.append(influence_inflation(member, member.interior))
    covariance = _inverse(precision)
    residuals, variances = np.concatenate(left_out, axis=1)
    return CommitteeFit(
        values=covariance @ pull,
        covariance=covariance,
        inflation=float(np.mean([kappa for kappa, _ in inflations])),
        degrees_of_freedom=float(np.sum([freedom for _, freedom in inflations])),
        loo_residuals=residuals,
        loo_variances=variances,
        noise_variance=float(scale**2 * np.exp(theta[6])),
        n_blocks=len(blocks),
    )


def _blocks(evaluations: Evaluations, rows_per_block: int) -> list[npt.NDArray[np.int64]]:
    """Rows of each block: pairs dealt out in canonical order, so that every block has all sizes; ∅, N in the first."""
    n_blocks = -(-len(evaluations.masks) // rows_per_block)
    _, pair = np.unique(evaluations.pair_ids, return_inverse=True)
    return [np.flatnonzero(pair % n_blocks == block) for block in range(n_blocks)]


def _inverse(matrix: FloatArray) -> FloatArray:
    """Inverse of a symmetric positive definite matrix, symmetric to the last bit."""
    inverse = np.linalg.inv((matrix + matrix.T) / 2.0)
    return (inverse + inverse.T) / 2.0
