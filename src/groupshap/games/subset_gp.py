"""Gaussian process over coalitions: the default estimator for few, noisy, separately measured utilities.

The prior is a smooth curve in |S|, plus additive player effects that may change with |S|, plus pairwise and triple
effects, plus one free number per coalition for all higher orders; it does not change when players are renamed. The
Shapley value is a linear map of the game, so its posterior is Gaussian and has a closed form; nothing is sampled.
Saturating scores of growing training sets, whose curvature in |S| is noise to a regression on player columns, are what
it is made for.

    k = k₀ + k₁ + G·(τ₂² c e^{−(s−t)²/2ℓ₂²} + τ₃² c² + τ₅² c³ + τ₄² 1[S=T])
    G = e^{−δ(s+t−1)} ((1+a)(1+b)/(1+n/2)²)^{−γ}

Letters: a, b = sizes, s = a/n, t = b/n, j = |S∩T|, c = (j − ab/n)·4/n, K = LLᵀ covariance of the measured rows.
Beyond the published relatives (ShaplEIG, 2606.02247, fixes the noise): γ, because distances between distributions fall
as powers of |S|; k₄ and k₅, which tell misfit from noise by means of replicates, so that low noise is used and high
noise is not mistaken for structure. Rasmussen & Williams 2006, eqs. 2.25, 5.9 and section 5.4.2.

When not: a complete table (use the exact formula); many thousands of rows (cost O(m³); see ``committee.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from groupshap.games.evaluations import Evaluations
from groupshap.games.subset_kernel import (
    LEVEL_VARIANCE,
    NOISE,
    Geometry,
    binomials,
    components,
    geometry,
    higher_variance,
    player_kernel,
    prior_covariance,
    response,
    smooth_kernel,
    third_moment,
)
from groupshap.games.types import CoalitionMatrix, FloatArray

__all__ = ["SubsetGP", "fit_subset_gp"]

PARAMETERS = ("ln τ₁²", "ln ℓ₁", "ln τ₂²", "ln ℓ₂", "δ", "ln τ₃²", "ln σ²", "γ", "ln τ₄²", "ln τ₅²")
PRIOR_MEAN = np.array(
    [np.log(0.3), 0.0, np.log(0.3), np.log(0.7), 0.0, np.log(0.02), np.log(0.02), 0.0, np.log(0.005), np.log(0.005)]
)
PRIOR_SD = np.array([2.5, 1.0, 2.5, 0.7, 1.5, 2.5, 4.0, 1.0, 2.5, 2.5])
LOWER = np.where(np.arange(len(PRIOR_SD)) == NOISE, np.log(1e-5), PRIOR_MEAN - 4.0 * PRIOR_SD)
"""Noise floor 1e-5 (standardised): an interpolating fit of a few rows is never believed without reserve."""
UPPER = PRIOR_MEAN + 3.0 * PRIOR_SD
JITTER = 1e-8
MAX_ROWS_OF_SEARCH = 160
MAX_PLAYERS_OF_TRACE = 128
MAX_PROCESS_ROWS = 3000
"""Above this the exact process costs more than 10 s and 1 GB; a committee of smaller ones takes over."""
NOISE_STEPS = (1.5, 3.0, 4.5, 6.0)


@dataclass(frozen=True)
class SubsetGP:
    """A fitted Gaussian process over coalitions; all fields in standardised units except mean and scale.

    Attributes:
        masks: (m, n_players) bool, the measured coalitions.
        theta: (10,) float64 in the order of ``PARAMETERS``.
        mean: μ of the utilities.
        scale: ς, standard deviation of the utilities.
        factor: (m, m) float64, lower Cholesky factor L of K.
        omega: (m,) float64, K⁻¹y.
        inverse_diagonal: (m,) float64, diagonal of K⁻¹.
    """

    masks: CoalitionMatrix
    theta: FloatArray
    mean: float
    scale: float
    factor: FloatArray
    omega: FloatArray
    inverse_diagonal: FloatArray

    @property
    def n_players(self) -> int:
        """Number of players."""
        return self.masks.shape[1]

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """(m,) int64: |S| of the measured coalitions."""
        return self.masks.sum(axis=1)

    @property
    def interior(self) -> npt.NDArray[np.bool_]:
        """(m,) bool: rows that are neither empty nor grand."""
        return (self.sizes > 0) & (self.sizes < self.n_players)

    @property
    def noise_variance(self) -> float:
        """ς²σ² in squared units of the utility: variance of one evaluation as the model sees it."""
        return float(self.scale**2 * np.exp(self.theta[NOISE]))

    @property
    def noise_bound(self) -> float:
        """``noise_variance`` plus the mean of k₄ over the rows: without replicates the two cannot be told apart."""
        higher = higher_variance(self.theta, self.n_players)[self.sizes[self.interior]]
        return self.noise_variance + float(self.scale**2 * higher.mean())

    def predict(self, coalitions: CoalitionMatrix) -> FloatArray:
        """(m',) float64: posterior mean of v for (m', n_players) bool ``coalitions``."""
        parts = components(self.theta, geometry(coalitions, self.masks))
        return self.mean + self.scale * sum(part @ self.omega for part in parts)

    def leave_one_out(self) -> tuple[FloatArray, FloatArray]:
        """Residuals (m,) of the noisy means when their own row is left out, and their predicted variances (m,).

        Hyper-parameters, mean and scale stay as fitted (Rasmussen & Williams 2006, section 5.4.2).
        """
        return self.scale * self.omega / self.inverse_diagonal, self.scale**2 / self.inverse_diagonal

    def inflation(self) -> float:
        """κ = max(1, mean squared standardised leave-one-out residual of the interior rows)."""
        return max(1.0, float(np.mean((self.omega**2 / self.inverse_diagonal)[self.interior])))

    def shapley_operator(self) -> FloatArray:
        """(m, n_players) float64: P_ri = A_i k(·, S_r), covariance of φ_i with the r-th noise-free utility."""
        inside, outside = response(self.theta, self.n_players)
        return np.where(self.masks, inside[self.sizes][:, None], outside[self.sizes][:, None])

    def shapley(self) -> tuple[FloatArray, FloatArray]:
        """Posterior mean (n_players,) and covariance (n_players, n_players) of the Shapley values.

        φ̂ = ςPᵀω and Σ̂ = ς²(Π − PᵀK⁻¹P); no inflation. The values sum to v̂(N) − v̂(∅).
        """
        operator = self.shapley_operator()
        whitened = scipy.linalg.solve_triangular(self.factor, operator, lower=True, check_finite=False)
        covariance = prior_covariance(self.theta, self.n_players) - whitened.T @ whitened
        return self.scale * (operator.T @ self.omega), self.scale**2 * covariance

    def size_curve(self, sizes: npt.NDArray[np.int64]) -> FloatArray:
        """(len(sizes),) float64: mean of the predicted v over all coalitions of each size."""
        n, own = self.n_players, self.sizes[None, :]
        a = np.asarray(sizes)[:, None]
        s, t = a / n, own / n
        smooth = LEVEL_VARIANCE * (1.0 + (s - 0.5) * (t - 0.5)) + smooth_kernel(self.theta, a, own)
        # |S∩T| is hypergeometric with mean ab/n: c has mean 0.
        variance = a * own * (n - a) * (n - own) / (n**2 * max(n - 1, 1))
        pairs = player_kernel(self.theta, n, a, own, a * t, variance, third_moment(variance, n, a, own))
        higher = np.where(a == own, higher_variance(self.theta, n)[own] / binomials(n)[own], 0.0)
        return self.mean + self.scale * ((smooth + pairs + higher) @ self.omega)


def fit_subset_gp(evaluations: Evaluations) -> SubsetGP:
    """Find the hyper-parameters by penalised likelihood and condition on all rows."""
    mean, scale, standardised = standardise(evaluations.utilities)
    theta = find_theta(evaluations, standardised, scale)
    return condition(evaluations.masks, evaluations.replicates, theta, (mean, scale), standardised)


def find_theta(evaluations: Evaluations, standardised: FloatArray, scale: float) -> FloatArray:
    """(10,) float64: maximum a posteriori hyper-parameters for standardised utilities (m,).

    More than 160 rows: the search uses the end points and 158 interior rows spread over the canonical order, and the
    noise is then checked on all rows (fits with far too little noise were seen without it).
    """
    rows = search_rows(len(standardised))
    masks, replicates = evaluations.masks, evaluations.replicates
    spread = replicate_spread(evaluations, scale)
    theta = _search(geometry(masks[rows], masks[rows]), standardised[rows], replicates[rows], spread)
    if len(rows) == len(masks):
        return theta
    shape = geometry(masks, masks)
    return with_checked_noise(
        theta, lambda moved: _likelihood(moved, shape, standardised, replicates) + replicate_term(moved, spread)
    )


def row_likelihood(theta: FloatArray, evaluations: Evaluations) -> float:
    """Negative log likelihood of the rows and of their replicates in standardised units, without the prior of θ."""
    _, scale, standardised = standardise(evaluations.utilities)
    masks = evaluations.masks
    of_means = _likelihood(theta, geometry(masks, masks), standardised, evaluations.replicates)
    return of_means + replicate_term(theta, replicate_spread(evaluations, scale))


def condition(
    masks: CoalitionMatrix,
    replicates: FloatArray,
    theta: FloatArray,
    mean_and_scale: tuple[float, float],
    standardised: FloatArray,
) -> SubsetGP:
    """The posterior at given hyper-parameters."""
    factor = _factor(theta, geometry(masks, masks), replicates)
    omega = scipy.linalg.cho_solve((factor, True), standardised, check_finite=False)
    inverse_factor = scipy.linalg.lapack.dtrtri(factor, lower=1)[0]
    inverse_diagonal = np.einsum("ij,ij->j", inverse_factor, inverse_factor)
    return SubsetGP(masks, theta, *mean_and_scale, factor, omega, inverse_diagonal)


def shapley_moments(
    theta: FloatArray, masks: CoalitionMatrix, shape: Geometry, replicates: FloatArray, standardised: FloatArray
) -> tuple[FloatArray, float]:
    """Pᵀ K⁻¹ y (n_players,) and the trace of the covariance of the centred values, at any θ, in standardised units.

    Of more than 128 players the trace is that of 64 to 128 of them, scaled up: the players are exchangeable a priori.
    """
    factor, n = _factor(theta, shape, replicates), masks.shape[1]
    omega = scipy.linalg.cho_solve((factor, True), standardised, check_finite=False)
    inside, outside = response(theta, n)
    sizes = masks.sum(axis=1)
    mean = (omega * outside[sizes]).sum() + (omega * (inside - outside)[sizes]) @ masks
    chosen = masks[:, :: -(-n // MAX_PLAYERS_OF_TRACE)]
    operator = (chosen - (sizes / n)[:, None]) * (inside - outside)[sizes][:, None]  # centred over all players
    whitened = scipy.linalg.solve_triangular(factor, operator, lower=True, overwrite_b=True, check_finite=False)
    return mean, centred_prior_trace(theta, n) - float(np.vdot(whitened, whitened)) * n / chosen.shape[1]


def centred_prior_trace(theta: FloatArray, n: int) -> float:
    """Trace of the prior covariance of φ − mean(φ), in standardised units."""
    prior = prior_covariance(theta, n)
    return float(np.trace(prior) - prior.sum() / n)


def standardise(utilities: FloatArray) -> tuple[float, float, FloatArray]:
    """μ, ς and (ȳ − μ)/ς; a constant game keeps ς = 1."""
    mean, scale = float(utilities.mean()), float(utilities.std())
    if scale <= 1e-13 * np.abs(utilities).max():
        return mean, 1.0, np.zeros_like(utilities)
    return mean, scale, (utilities - mean) / scale


def replicate_spread(evaluations: Evaluations, scale: float) -> tuple[float, int]:
    """Sum of squared deviations of replicates from their means, in standardised units, and degrees of freedom."""
    if not evaluations.seed_freedom:
        return 0.0, 0
    return evaluations.seed_variance * evaluations.seed_freedom / scale**2, evaluations.seed_freedom


def search_rows(n_rows: int) -> npt.NDArray[np.int64]:
    """Rows used for the hyper-parameters: all, or the end points and 158 evenly spread interior rows."""
    if n_rows <= MAX_ROWS_OF_SEARCH:
        return np.arange(n_rows)
    interior = np.floor(np.linspace(0, n_rows - 3, MAX_ROWS_OF_SEARCH - 2)).astype(np.int64)
    return np.concatenate([[0, 1], 2 + interior])


def noise_of_rows(theta: FloatArray, replicates: FloatArray) -> FloatArray:
    return np.exp(theta[NOISE]) / replicates


def _factor(theta: FloatArray, shape: Geometry, replicates: FloatArray) -> FloatArray:
    """Lower Cholesky factor of K; raises ``numpy.linalg.LinAlgError`` where K is numerically singular."""
    covariance, *parts = components(theta, shape)[::-1]
    for part in parts:
        covariance += part
    covariance[np.diag_indices_from(covariance)] += noise_of_rows(theta, replicates) + JITTER
    return scipy.linalg.cholesky(covariance, lower=True, overwrite_a=True, check_finite=False)


def objective(
    theta: FloatArray,
    shape: Geometry,
    standardised: FloatArray,
    replicates: FloatArray,
    spread: tuple[float, int] = (0.0, 0),
) -> tuple[float, FloatArray]:
    """Negative log posterior of θ (constants left out) and its gradient (10,) (Rasmussen & Williams 2006, eq. 5.9)."""
    level, smooth, additive, pairwise, higher, triple = parts = components(theta, shape)
    noise = noise_of_rows(theta, replicates)
    covariance = level + smooth + (additive + pairwise + higher + triple)
    covariance[np.diag_indices_from(covariance)] += noise + JITTER
    try:
        factor = scipy.linalg.cholesky(covariance, lower=True, check_finite=False)
    except np.linalg.LinAlgError:
        return 1e10, np.zeros(len(theta))
    omega = scipy.linalg.cho_solve((factor, True), standardised, check_finite=False)
    weights = scipy.linalg.cho_solve((factor, True), np.eye(len(factor)), check_finite=False) - np.outer(omega, omega)
    pull = (theta - PRIOR_MEAN) / PRIOR_SD
    value = 0.5 * standardised @ omega + np.log(np.diag(factor)).sum() + 0.5 * pull @ pull
    slopes = kernel_slopes(theta, shape, parts, noise, weights)
    gradient = 0.5 * slopes + pull / PRIOR_SD
    gradient[NOISE] += 0.5 * (spread[1] - spread[0] / np.exp(theta[NOISE]))
    return float(value + replicate_term(theta, spread)), gradient


def kernel_slopes(
    theta: FloatArray, shape: Geometry, parts: tuple[FloatArray, ...], noise: FloatArray, weights: FloatArray
) -> FloatArray:
    """(10,) float64: tr(W ∂K/∂θ_l), the part of twice the gradient that is the kernel's.

    Args:
        theta: hyper-parameters.
        shape: of the rows with themselves.
        parts: what :func:`~groupshap.games.subset_kernel.components` made of both.
        noise: (m,) variances of the row means.
        weights: (m, m) matrix W, symmetric.
    """
    _, smooth, additive, pairwise, higher, triple = parts
    players = additive + pairwise + higher + triple
    r = (np.sqrt(3.0) / np.exp(theta[1])) * shape.log_gap
    slopes = [
        np.vdot(weights, smooth),
        np.exp(theta[0]) * np.vdot(weights, r**2 * np.exp(-r)),
        np.vdot(weights, additive),
        np.vdot(weights, additive * shape.square_gap) / np.exp(2.0 * theta[3]),
        -np.vdot(weights, shape.size_sum * players),
        np.vdot(weights, pairwise),
        np.diag(weights) @ noise,
        -np.vdot(weights, shape.log_sum * players),
        np.vdot(weights, higher),
        np.vdot(weights, triple),
    ]
    return np.array(slopes)


def replicate_term(theta: FloatArray, spread: tuple[float, int]) -> float:
    """Negative log likelihood of the deviations of replicates from their means: it tells noise from misfit.

    Args:
        theta: hyper-parameters.
        spread: sum of squared deviations in standardised units and its degrees of freedom.
    """
    squares, freedom = spread
    return 0.5 * (freedom * theta[NOISE] + squares / np.exp(theta[NOISE]))


def _search(shape: Geometry, standardised: FloatArray, replicates: FloatArray, spread: tuple[float, int]) -> FloatArray:
    """Maximum a posteriori θ from one start at the prior mean."""
    result = scipy.optimize.minimize(
        objective,
        PRIOR_MEAN,
        args=(shape, standardised, replicates, spread),
        jac=True,
        method="L-BFGS-B",
        bounds=list(zip(LOWER, UPPER, strict=True)),
        options={"maxiter": 30},
    )
    return result.x


def with_checked_noise(theta: FloatArray, value_of: Callable[[FloatArray], float]) -> FloatArray:
    """θ with ln σ² raised as long as ``value_of`` (negative log likelihood of all rows and their replicates) falls."""
    best, chosen = value_of(theta), theta
    for step in NOISE_STEPS:
        candidate = np.where(np.arange(len(theta)) == NOISE, theta + step, theta)
        value = value_of(candidate)
        if value >= best:
            break
        best, chosen = value, candidate
    return chosen


def _likelihood(theta: FloatArray, shape: Geometry, standardised: FloatArray, replicates: FloatArray) -> float:
    """Negative log likelihood of all rows, without the prior of θ."""
    factor = _factor(theta, shape, replicates)
    whitened = scipy.linalg.solve_triangular(factor, standardised, lower=True, check_finite=False)
    return float(0.5 * whitened @ whitened + np.log(np.diag(factor)).sum())
