"""Hyper-parameters of the joint process, one level after the other.

The likelihood factorises, p(y_0, y_1, …) = p(y_0) p(y_1 | y_0) …, for any designs. The first factor is that of the
single process and sets θ_0; given it, the second sets ρ_1 and θ_1, and so on: the stages of Kennedy & O'Hagan 2000
(section 4.2), here with noise at every level. Given y_0, the rows of level 1 are normal with

    mean ρ m,   covariance ρ² C + k_1 + noise        m, C = posterior of v_0 at these coalitions

so a step of the search costs O(m³) in the rows of one level only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from groupshap.games.evaluations import Evaluations
from groupshap.games.subset_gp import (
    JITTER,
    LOWER,
    PRIOR_MEAN,
    PRIOR_SD,
    UPPER,
    find_theta,
    kernel_slopes,
    noise_of_rows,
    replicate_spread,
    replicate_term,
    row_likelihood,
    search_rows,
    standardise,
    with_checked_noise,
)
from groupshap.games.subset_kernel import NOISE, Geometry, components, geometry
from groupshap.games.two_fidelity_model import CoKriging, condition_levels, stack
from groupshap.games.types import CoalitionMatrix, FloatArray

__all__ = ["LevelData", "evidence_of_levels", "fit_levels", "level_data", "level_objective"]

RHO_PRIOR = (0.7, 0.5)
"""Mean and standard deviation of ρ in units of the ratio of spreads of the two levels: a correlation, roughly."""
RHO_BOUNDS = (-3.0, 3.0)
BOUNDS = [RHO_BOUNDS, *zip(LOWER - 4.0, UPPER, strict=True)]
BOUNDS[1 + NOISE] = (LOWER[NOISE], UPPER[NOISE])
DELTA_PRIOR_MEAN = PRIOR_MEAN + np.array([-1.0, 0.0, -2.0, 0.0, 0.0, -1.0, 1.3, 0.0, -1.0, -1.0])
"""What one level adds to another is expected to be smaller than the game itself, and the noise not small beside it."""
USUAL_INTERIOR_VARIANCE = 0.3
PLAYER_PARTS = np.array([0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0])
"""Which of θ are variances that scale with the interior: τ₂², τ₃², σ², τ₄², τ₅²."""
PRIOR_WIDTH = np.append(RHO_PRIOR[1], np.where(np.arange(len(PRIOR_SD)) == NOISE, 1.5, PRIOR_SD))
"""As for the single process, but a dozen rows cannot tell noise from structure: the noise stays near its prior mean."""


@dataclass(frozen=True)
class LevelData:
    """Rows of one level and what the levels below say of them.

    Attributes:
        shape: kernel geometry of the rows with themselves.
        standardised: (m,) float64.
        replicates: (m,) float64.
        spread: sum of squared deviations of replicates and its degrees of freedom.
        below_mean: (m,) float64, m of the level below, times ``ratio``.
        below_covariance: (m, m) float64, C of the level below, times ``ratio``².
        ratio: spread of the rows over that of the means below: the unit of ρ.
        prior_mean: (11,) float64, of ρ/ratio and θ.
    """

    shape: Geometry
    standardised: FloatArray
    replicates: FloatArray
    spread: tuple[float, int]
    below_mean: FloatArray
    below_covariance: FloatArray
    ratio: float
    prior_mean: FloatArray


def fit_levels(levels: Sequence[Evaluations]) -> list[CoKriging]:
    """Find all hyper-parameters and condition on all rows; ``levels`` from the cheapest to the wanted one.

    Returns:
        One process per stage: of the cheapest level alone, of the lowest two, ..., of all.
    """
    scales, parts = [], []
    thetas: list[FloatArray] = []
    rhos: list[float] = []
    stages: list[CoKriging] = []
    for evaluations in levels:
        mean, scale, standardised = standardise(evaluations.utilities)
        if stages:
            rho, theta = find_rho_and_theta(stages[-1], evaluations, standardised, scale)
            rhos.append(rho)
        else:
            theta = find_theta(evaluations, standardised, scale)
        thetas.append(theta)
        scales.append((mean, scale))
        parts.append((evaluations.masks, evaluations.replicates, standardised))
        stages.append(condition_levels(stack(parts), np.array(thetas), np.array(rhos), np.array(scales)))
    return stages


def find_rho_and_theta(
    below: CoKriging, evaluations: Evaluations, standardised: FloatArray, scale: float
) -> tuple[float, FloatArray]:
    """Maximum a posteriori ρ (standardised units) and θ (10,) of the next level."""
    rows = search_rows(len(standardised))
    data = level_data(below, evaluations, standardised, scale, rows)
    result = scipy.optimize.minimize(
        level_objective,
        np.clip(data.prior_mean, *np.transpose(BOUNDS)),
        args=(data,),
        jac=True,
        method="L-BFGS-B",
        bounds=BOUNDS,
        options={"maxiter": 40},
    )
    scaled, theta = result.x[0], result.x[1:]
    if len(rows) < len(standardised):
        full = level_data(below, evaluations, standardised, scale, np.arange(len(standardised)), data.ratio)
        theta = with_checked_noise(theta, lambda moved: level_likelihood(scaled, moved, full))
    return scaled * data.ratio, theta


def level_data(
    below: CoKriging,
    evaluations: Evaluations,
    standardised: FloatArray,
    scale: float,
    rows: npt.NDArray[np.int64],
    ratio: float | None = None,
) -> LevelData:
    """What the search needs of the chosen rows of a level."""
    masks = evaluations.masks[rows]
    mean, covariance, _ = below.posterior(masks, np.full(len(masks), below.top))
    own, other = interior_spreads(masks, standardised[rows], mean)
    if ratio is None:
        ratio = own / other if own > 0.0 and other > 1e-9 * own else 1.0
    return LevelData(
        geometry(masks, masks),
        standardised[rows],
        evaluations.replicates[rows],
        replicate_spread(evaluations, scale),
        ratio * mean,
        ratio**2 * covariance,
        ratio,
        np.append(RHO_PRIOR[0], delta_prior_mean(own)),
    )


def interior_spreads(masks: CoalitionMatrix, *columns: FloatArray) -> list[float]:
    """Standard deviation of each column (m,) over the interior rows, a parabola in |S|/n taken off.

    The end points, often far off, would set the unit otherwise; and the size curve tells nothing of ρ, because δ has
    one of its own.
    """
    n, sizes = masks.shape[1], masks.sum(axis=1)
    interior = (sizes > 0) & (sizes < n)
    share, n_powers = sizes[interior] / n, min(3, max(1, int(interior.sum()) // 3))
    basis = np.linalg.qr(share[:, None] ** np.arange(n_powers))[0]
    freedom = np.sqrt(max(1, int(interior.sum()) - n_powers))
    return [
        float(np.linalg.norm(column[interior] - basis @ (basis.T @ column[interior]))) / freedom for column in columns
    ]


def delta_prior_mean(interior_spread: float) -> FloatArray:
    """(10,) float64: prior means of θ of a difference between games, its players' parts in units of the interior.

    An outlying v(∅) sets the standard deviation of a level; next to it everything that players do is small.
    """
    shift = np.log(np.clip(interior_spread**2, 1e-5, 1.0) / USUAL_INTERIOR_VARIANCE)
    return DELTA_PRIOR_MEAN + shift * PLAYER_PARTS


def level_objective(parameters: FloatArray, data: LevelData) -> tuple[float, FloatArray]:
    """Negative log posterior of (ρ/ratio, θ) and its gradient (11,), constants left out."""
    rho, theta = parameters[0], parameters[1:]
    parts = components(theta, data.shape)
    noise = noise_of_rows(theta, data.replicates)
    factor = _factor(rho, data, parts, noise)
    if factor is None:
        return 1e10, np.zeros(len(parameters))
    residual = data.standardised - rho * data.below_mean
    omega = scipy.linalg.cho_solve((factor, True), residual, check_finite=False)
    weights = scipy.linalg.cho_solve((factor, True), np.eye(len(factor)), check_finite=False) - np.outer(omega, omega)
    pull = (parameters - data.prior_mean) / PRIOR_WIDTH
    value = 0.5 * residual @ omega + np.log(np.diag(factor)).sum() + 0.5 * pull @ pull
    of_rho = rho * np.vdot(weights, data.below_covariance) - data.below_mean @ omega
    gradient = np.concatenate([[of_rho], 0.5 * kernel_slopes(theta, data.shape, parts, noise, weights)])
    gradient += pull / PRIOR_WIDTH
    gradient[1 + NOISE] += 0.5 * (data.spread[1] - data.spread[0] / np.exp(theta[NOISE]))
    return float(value + replicate_term(theta, data.spread)), gradient


def level_likelihood(rho: float, theta: FloatArray, data: LevelData) -> float:
    """Negative log likelihood of the rows and their replicates, without the prior."""
    factor = _factor(rho, data, components(theta, data.shape), noise_of_rows(theta, data.replicates))
    if factor is None:
        return 1e10
    residual = data.standardised - rho * data.below_mean
    whitened = scipy.linalg.solve_triangular(factor, residual, lower=True, check_finite=False)
    value = 0.5 * whitened @ whitened + np.log(np.diag(factor)).sum()
    return float(value + replicate_term(theta, data.spread))


def evidence_of_levels(stages: Sequence[CoKriging], evaluations: Evaluations) -> float:
    """How much likelier the last level's rows are with the levels below: log p(y | rows below) − log p(y).

    Args:
        stages: what :func:`fit_levels` returned.
        evaluations: rows of the last level.
    """
    _, scale, standardised = standardise(evaluations.utilities)
    data = level_data(stages[-2], evaluations, standardised, scale, np.arange(len(standardised)))
    joint = level_likelihood(stages[-1].rhos[-1] / data.ratio, stages[-1].thetas[-1], data)
    return row_likelihood(find_theta(evaluations, standardised, scale), evaluations) - joint


def _factor(rho: float, data: LevelData, parts: tuple[FloatArray, ...], noise: FloatArray) -> FloatArray | None:
    """Lower Cholesky factor of ρ²C + k + noise; None where it is numerically singular."""
    covariance = sum(parts) + rho**2 * data.below_covariance
    covariance[np.diag_indices_from(covariance)] += noise + JITTER
    try:
        return scipy.linalg.cholesky(covariance, lower=True, check_finite=False)
    except np.linalg.LinAlgError:
        return None
