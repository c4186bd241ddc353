"""What the posterior of the Gaussian process leaves out: wrong scale of the errors, and uncertain hyper-parameters.

Plain posterior intervals cover too little where noise or misfit depends on |S| (Fréchet distances) and where rows are
few. Two corrections, both without refits of the model per row:

* the variance is multiplied by the mean squared standardised leave-one-out residual, rows weighted by their influence
  on the values: a bad fit at sizes 1 and n−1, which carry most of a Shapley value, counts for more;
* the law of total variance over the (Laplace) posterior of θ adds how values and variances move with it.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
import scipy

from groupshap.games.evaluations import Evaluations
from groupshap.games.subset_gp import (
    PRIOR_SD,
    SubsetGP,
    centred_prior_trace,
    objective,
    replicate_spread,
    search_rows,
    shapley_moments,
)
from groupshap.games.subset_kernel import geometry
from groupshap.games.types import FloatArray

__all__ = ["hyperparameter_uncertainty", "influence_inflation"]

MIN_FREEDOM = 4.0
MAX_PLAYERS_OF_DELTA = 2000
HESSIAN_STEP = 1e-3
DELTA_STEP = 0.3
"""In posterior standard deviations of θ: wide enough to average over kinks, narrow enough to be a derivative."""


class Posterior(Protocol):
    """What the leave-one-out residuals of a Gaussian process need; one level or several."""

    factor: FloatArray
    omega: FloatArray
    inverse_diagonal: FloatArray

    def shapley_operator(self) -> FloatArray:
        """(m, n) float64: covariance of every row with the values."""


def influence_inflation(model: Posterior, interior: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Factor κ ≥ 1 for the posterior covariance, and the effective number of residuals behind it.

    κ is the larger of the plain and the influence-weighted mean of squared standardised leave-one-out residuals of the
    ``interior`` rows; the weight of row r is Σ_i (∂φ̂_i/∂y_r)² times the leave-one-out variance, φ̂ centred over players.
    """
    operator = model.shapley_operator()
    slope = scipy.linalg.cho_solve((model.factor, True), operator, check_finite=False)
    slope -= slope.mean(axis=1, keepdims=True)
    squares = (model.omega**2 / model.inverse_diagonal)[interior]
    weights = (np.einsum("ri,ri->r", slope, slope) / model.inverse_diagonal)[interior]
    if weights.sum() <= 0.0:
        return max(1.0, float(squares.mean())), float(len(squares))
    weighted = float(weights @ squares / weights.sum())
    freedom = float(weights.sum() ** 2 / (weights @ weights))
    return max(1.0, float(squares.mean()), weighted), max(MIN_FREEDOM, freedom)


def hyperparameter_uncertainty(model: SubsetGP, evaluations: Evaluations) -> tuple[float, FloatArray]:
    """What an uncertain θ adds: a factor ≥ 1 for the posterior covariance, and the covariance (n, n) of its mean.

    Law of total variance over the Laplace posterior of θ: Var φ = E[Σ(θ)] + Var[φ̂(θ)]. The second term by the delta
    method. The first with ln tr Σ linear in θ, so that tr Σ is log-normal and its mean exp(½ Σ slope²) times that at
    the mode; never more than the prior variance. The factor is 1.01–1.1 where θ is well determined, and large where
    few rows must tell an exponential from a power of |S|.

    Nothing is added beyond 2000 players, where the ten extra operator tables would dominate the fit.
    """
    n = evaluations.n_players
    if n > MAX_PLAYERS_OF_DELTA:
        return 1.0, np.zeros((n, n))
    y = (evaluations.utilities - model.mean) / model.scale
    shape = geometry(model.masks, model.masks)
    directions = _posterior_directions(model.theta, evaluations, y, replicate_spread(evaluations, model.scale))
    centre, trace = shapley_moments(model.theta, model.masks, shape, evaluations.replicates, y)
    moved = [
        shapley_moments(model.theta + DELTA_STEP * direction, model.masks, shape, evaluations.replicates, y)
        for direction in directions
    ]
    jacobian = model.scale * np.array([mean - centre for mean, _ in moved]) / DELTA_STEP
    traces, tiny = np.array([trace, *(moved_trace for _, moved_trace in moved)]), np.finfo(float).tiny
    slopes = np.log(np.maximum(traces[1:], tiny) / max(trace, tiny)) / DELTA_STEP
    widest = max(1.0, centred_prior_trace(model.theta, n) / max(trace, tiny))
    return float(np.exp(min(0.5 * slopes @ slopes, np.log(widest)))), jacobian.T @ jacobian


def _posterior_directions(
    theta: FloatArray, evaluations: Evaluations, standardised: FloatArray, spread: tuple[float, int]
) -> FloatArray:
    """(10, 10) float64: rows are eigenvectors of the Laplace covariance of θ times their standard deviations."""
    rows = search_rows(len(standardised))
    masks, replicates = evaluations.masks[rows], evaluations.replicates[rows]
    shape, y = geometry(masks, masks), standardised[rows]
    hessian = np.array(
        [
            objective(theta + move, shape, y, replicates, spread)[1]
            - objective(theta - move, shape, y, replicates, spread)[1]
            for move in HESSIAN_STEP * np.eye(len(theta))
        ]
    ) / (2.0 * HESSIAN_STEP)
    curvature, vectors = np.linalg.eigh((hessian + hessian.T) / 2.0)
    # The prior alone curves at least this much; less is a search that stopped early.
    return (vectors / np.sqrt(np.maximum(curvature, PRIOR_SD.max() ** -2.0))).T
