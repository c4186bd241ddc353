"""Honest errors of the joint process against the wanted game: the two corrections of ``calibration.py``, for levels.

* the variance is multiplied by ``influence_inflation`` of the interior rows of the wanted level, because the question
  is how far the retrained game may be from the fit, however well the cheap one is known;
* the law of total variance over the (Laplace) posterior of ρ and the hyper-parameters of the last level: with a dozen
  retrainings ρ is known to 20 %, and so is everything that the cheap rows say.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy

from groupshap.games.evaluations import Evaluations
from groupshap.games.subset_gp import JITTER, PRIOR_SD, centred_prior_trace, noise_of_rows, search_rows
from groupshap.games.subset_kernel import components, geometry, response
from groupshap.games.two_fidelity_fit import LevelData, level_data, level_objective
from groupshap.games.two_fidelity_model import CoKriging
from groupshap.games.types import CoalitionMatrix, FloatArray

__all__ = ["parameter_sensitivities", "parameter_uncertainty"]

HESSIAN_STEP = 1e-3
DELTA_STEP = 0.3
"""In posterior standard deviations, as for the single process."""


def parameter_uncertainty(
    below: CoKriging, model: CoKriging, evaluations: Evaluations
) -> tuple[float, FloatArray, float]:
    """What uncertain ρ and θ of the last level add.

    Args:
        below: the stage before the last.
        model: the last stage.
        evaluations: rows of the last level.

    Returns:
        A factor ≥ 1 for the posterior covariance, the covariance (n, n) of its mean, and the standard deviation of ρ
        relative to ρ.
    """
    data, curved, parameters = _last_level_twice(below, model, evaluations)
    directions = _posterior_directions(parameters, curved)
    values = _values_below(below, evaluations.masks, data.ratio)
    centre, trace = _moments(parameters, data, evaluations.masks, values)
    moved = [_moments(parameters + DELTA_STEP * move, data, evaluations.masks, values) for move in directions]
    jacobian = model.unit * np.array([mean - centre for mean, _ in moved]) / DELTA_STEP
    tiny = np.finfo(float).tiny
    slopes = np.log(np.maximum([value for _, value in moved], tiny) / max(trace, tiny)) / DELTA_STEP
    widest = max(1.0, model.prior_trace() / max(trace, tiny))
    factor = float(np.exp(min(0.5 * slopes @ slopes, np.log(widest))))
    deviation = float(np.sqrt((directions[:, 0] ** 2).sum()) / max(abs(parameters[0]), tiny))
    return factor, jacobian.T @ jacobian, deviation


def _values_below(below: CoKriging, masks: CoalitionMatrix, ratio: float) -> tuple[FloatArray, float, FloatArray]:
    """φ of the level below (n,), the trace of its centred covariance, and its covariance (m, n) with v at ``masks``.

    In the unit in which ρ/ratio is the factor.
    """
    _, _, with_values = below.posterior(masks, np.full(len(masks), below.top))
    mean, covariance = below.shapley()
    trace = float(np.trace(covariance) - covariance.sum() / len(mean)) / below.unit**2
    return ratio * mean / below.unit, ratio**2 * trace, ratio**2 * with_values


def _moments(
    parameters: FloatArray, data: LevelData, masks: CoalitionMatrix, below: tuple[FloatArray, float, FloatArray]
) -> tuple[FloatArray, float]:
    """Posterior mean (n,) of φ of the last level and trace of its centred covariance, at any ρ and θ."""
    rho, theta = parameters[0], parameters[1:]
    mean_below, trace_below, operator_below = below
    factor = _factor(parameters, data)
    n, sizes = masks.shape[1], masks.sum(axis=1)
    inside, outside = response(theta, n)
    operator = rho**2 * operator_below + np.where(masks, inside[sizes][:, None], outside[sizes][:, None])
    omega = scipy.linalg.cho_solve((factor, True), data.standardised - rho * data.below_mean, check_finite=False)
    mean = rho * mean_below + operator.T @ omega
    centred = operator - operator.mean(axis=1, keepdims=True)
    whitened = scipy.linalg.solve_triangular(factor, centred, lower=True, check_finite=False)
    trace = rho**2 * trace_below + centred_prior_trace(theta, n) - float(np.vdot(whitened, whitened))
    return mean, trace


def parameter_sensitivities(
    below: CoKriging,
    model: CoKriging,
    evaluations: Evaluations,
    masks: CoalitionMatrix,
    levels: npt.NDArray[np.int64],
) -> tuple[FloatArray, FloatArray]:
    """How posterior means move with ρ and θ of the last level, per standard deviation along each Laplace axis.

    Args:
        below: the stage before the last.
        model: the last stage.
        evaluations: rows of the last level.
        masks: (C, n_players) bool, other coalitions.
        levels: (C,) int64, the level at which each is looked at.

    Returns:
        (11, C) float64 for v_level(S) and (11, n_players) float64 for the values, both standardised.
    """
    data, curved, parameters = _last_level_twice(below, model, evaluations)
    top, rows_below = levels == model.top, np.full(len(evaluations.masks), below.top)
    mean, cross = below.cross_posterior(masks, np.minimum(levels, below.top), evaluations.masks, rows_below)
    shape = geometry(masks[top], evaluations.masks)
    values = _values_below(below, evaluations.masks, data.ratio)

    def means(at: FloatArray) -> tuple[FloatArray, FloatArray]:
        rho = at[0] * data.ratio
        omega = scipy.linalg.cho_solve((_factor(at, data), True), data.standardised - at[0] * data.below_mean)
        moved = mean + rho * (cross @ omega)
        moved[top] = rho * moved[top] + sum(part @ omega for part in components(at[1:], shape))
        return moved, _moments(at, data, evaluations.masks, values)[0]

    centre = means(parameters)
    moved = [means(parameters + DELTA_STEP * axis) for axis in _posterior_directions(parameters, curved)]
    changes = [np.array([pair[part] - centre[part] for pair in moved]) / DELTA_STEP for part in (0, 1)]
    return changes[0], changes[1]


def _last_level_twice(
    below: CoKriging, model: CoKriging, evaluations: Evaluations
) -> tuple[LevelData, LevelData, FloatArray]:
    """Data of all rows of the last level, of the rows of the search, and the fitted parameters (11,)."""
    n_rows = len(evaluations.masks)
    data, parameters = _last_level(below, model, evaluations, np.arange(n_rows))
    searched = search_rows(n_rows)
    curved = data if len(searched) == n_rows else _last_level(below, model, evaluations, searched, data.ratio)[0]
    return data, curved, parameters


def _last_level(
    below: CoKriging,
    model: CoKriging,
    evaluations: Evaluations,
    rows: npt.NDArray[np.int64],
    ratio: float | None = None,
) -> tuple[LevelData, FloatArray]:
    """Data of the chosen rows of the last level, and its fitted parameters (11,)."""
    standardised = model.rows.standardised[model.rows.levels == model.top]
    data = level_data(below, evaluations, standardised, model.unit, rows, ratio)
    return data, np.concatenate([[model.rhos[-1] / data.ratio], model.thetas[-1]])


def _factor(parameters: FloatArray, data: LevelData) -> FloatArray:
    """Lower Cholesky factor of the covariance of the rows given the levels below."""
    covariance = sum(components(parameters[1:], data.shape)) + parameters[0] ** 2 * data.below_covariance
    covariance[np.diag_indices_from(covariance)] += noise_of_rows(parameters[1:], data.replicates) + JITTER
    return scipy.linalg.cholesky(covariance, lower=True, check_finite=False)


def _posterior_directions(parameters: FloatArray, data: LevelData) -> FloatArray:
    """(11, 11) float64: rows are eigenvectors of the Laplace covariance times their standard deviations."""
    hessian = np.array(
        [
            level_objective(parameters + move, data)[1] - level_objective(parameters - move, data)[1]
            for move in HESSIAN_STEP * np.eye(len(parameters))
        ]
    ) / (2.0 * HESSIAN_STEP)
    curvature, vectors = np.linalg.eigh((hessian + hessian.T) / 2.0)
    # The prior alone curves at least this much; less is a search that stopped early.
    return (vectors / np.sqrt(np.maximum(curvature, PRIOR_SD.max() ** -2.0))).T
