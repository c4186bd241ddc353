"""The joint Gaussian process of a game measured at several fidelities: autoregressive co-kriging over coalitions.

Level 0 is the cheapest way to measure, the last level the game that is wanted (Kennedy & O'Hagan 2000, eq. 1):

    v_l(S) = ρ_l v_{l−1}(S) + δ_l(S)        v_0 and every δ_l independent processes with the subset kernel k_l

so cov(v_l(S), v_m(T)) = Σ_p g_lp g_mp k_p(S, T) with the gains g_lp = ρ_{p+1} … ρ_l (1 for p = l, 0 for p > l). Every
level has its own noise. The Shapley value is linear, so that of the last level has a Gaussian posterior in closed form
given the rows of all levels, whether their designs are nested or not. Cost O(M³) in the number M of all rows.

Each level is measured in its own standardised unit; ρ_l converts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from groupshap.games.subset_gp import JITTER, centred_prior_trace, noise_of_rows
from groupshap.games.subset_kernel import NOISE, components, geometry, higher_variance, prior_covariance, response
from groupshap.games.types import CoalitionMatrix, FloatArray

__all__ = ["CoKriging", "Rows", "condition_levels", "gains_of", "stack"]


@dataclass(frozen=True)
class Rows:
    """Distinct coalitions of all levels, one below the other.

    Attributes:
        masks: (M, n_players) bool.
        levels: (M,) int64, 0 for the cheapest.
        replicates: (M,) float64, evaluations behind each mean.
        standardised: (M,) float64, mean utilities in the unit of their level.
    """

    masks: CoalitionMatrix
    levels: npt.NDArray[np.int64]
    replicates: FloatArray
    standardised: FloatArray

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """(M,) int64: |S|."""
        return self.masks.sum(axis=1)


@dataclass(frozen=True)
class CoKriging:
    """The posterior of all levels given all rows, in standardised units.

    Attributes:
        rows: what was measured.
        thetas: (L, 10) float64, hyper-parameters of v_0 and of every δ_l in the order of ``subset_gp.PARAMETERS``.
        rhos: (L − 1,) float64, ρ_1 … in standardised units.
        scales: (L, 2) float64, mean μ_l and standard deviation ς_l of the utilities of each level.
        factor: (M, M) float64, lower Cholesky factor of the covariance K of all rows, noise included.
        omega: (M,) float64, K⁻¹y.
        inverse_diagonal: (M,) float64, diagonal of K⁻¹.
    """

    rows: Rows
    thetas: FloatArray
    rhos: FloatArray
    scales: FloatArray
    factor: FloatArray
    omega: FloatArray
    inverse_diagonal: FloatArray

    @property
    def n_players(self) -> int:
        """Number of players."""
        return self.rows.masks.shape[1]

    @property
    def top(self) -> int:
        """Number of the level that is wanted."""
        return len(self.thetas) - 1

    @property
    def unit(self) -> float:
        """ς of the top level."""
        return float(self.scales[self.top, 1])

    @property
    def noise_variances(self) -> FloatArray:
        """(L,) float64: variance of one evaluation at each level, in squared units of the utility."""
        return self.scales[:, 1] ** 2 * np.exp(self.thetas[:, NOISE])

    @property
    def noise_bound(self) -> float:
        """Noise variance of the top level plus the mean of its own k₄ (see ``SubsetGP.noise_bound``)."""
        sizes = self.rows.sizes[self.interior_top]
        return float(
            self.noise_variances[-1] + self.unit**2 * higher_variance(self.thetas[-1], self.n_players)[sizes].mean()
        )

    @property
    def interior(self) -> npt.NDArray[np.bool_]:
        """(M,) bool: rows that are neither empty nor grand."""
        return (self.rows.sizes > 0) & (self.rows.sizes < self.n_players)

    @property
    def interior_top(self) -> npt.NDArray[np.bool_]:
        """(M,) bool: interior rows of the top level."""
        return self.interior & (self.rows.levels == self.top)

    def covariance_with_rows(self, masks: CoalitionMatrix, levels: npt.NDArray[np.int64]) -> FloatArray:
        """(m, M) float64: prior covariance of v_level(S) with the noise-free rows."""
        return _prior(self.thetas, self.rhos, masks, levels, self.rows.masks, self.rows.levels)

    def posterior(
        self, masks: CoalitionMatrix, levels: npt.NDArray[np.int64]
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """What the rows say of other coalitions, in standardised units.

        Returns:
            Mean (m,) and covariance (m, m) of v_level(S), and covariance (m, n_players) of v_level(S) with the
            Shapley values of the top level.
        """
        cross = self.covariance_with_rows(masks, levels)
        whitened = scipy.linalg.solve_triangular(self.factor, cross.T, lower=True, check_finite=False)
        operator = scipy.linalg.solve_triangular(self.factor, self.shapley_operator(), lower=True, check_finite=False)
        covariance = _prior(self.thetas, self.rhos, masks, levels, masks, levels) - whitened.T @ whitened
        with_values = _operator(self.thetas, self.rhos, masks, levels) - whitened.T @ operator
        return cross @ self.omega, covariance, with_values

    def cross_posterior(
        self,
        masks: CoalitionMatrix,
        levels: npt.NDArray[np.int64],
        others: CoalitionMatrix,
        other_levels: npt.NDArray[np.int64],
    ) -> tuple[FloatArray, FloatArray]:
        """Mean (m,) of v_level(S) and its covariance (m, m') with v_level'(T) of others, in standardised units."""
        cross, other_cross = self.covariance_with_rows(masks, levels), self.covariance_with_rows(others, other_levels)
        weights = scipy.linalg.cho_solve((self.factor, True), other_cross.T, check_finite=False)
        covariance = _prior(self.thetas, self.rhos, masks, levels, others, other_levels) - cross @ weights
        return cross @ self.omega, covariance

    def predict(self, coalitions: CoalitionMatrix, level: int | None = None) -> FloatArray:
        """(m,) float64: posterior mean of v at ``level`` (None: the top) for (m, n_players) bool ``coalitions``."""
        level = self.top if level is None else level
        cross = self.covariance_with_rows(coalitions, np.full(len(coalitions), level))
        return self.scales[level, 0] + self.scales[level, 1] * (cross @ self.omega)

    def leave_one_out(self) -> tuple[FloatArray, FloatArray]:
        """Residuals of the interior rows of the top level, own row left out, and their predicted variances.

        Everything else stays: the cheap rows, also of the same coalition, and all hyper-parameters (Rasmussen &
        Williams 2006, section 5.4.2).
        """
        rows = self.interior_top
        return self.unit * (self.omega / self.inverse_diagonal)[rows], self.unit**2 / self.inverse_diagonal[rows]

    def shapley_operator(self) -> FloatArray:
        """(M, n_players) float64: covariance of the Shapley values of the top level with the noise-free rows."""
        return _operator(self.thetas, self.rhos, self.rows.masks, self.rows.levels)

    def shapley(self) -> tuple[FloatArray, FloatArray]:
        """Posterior mean (n_players,) and covariance (n_players, n_players) of the values of the top level."""
        operator = self.shapley_operator()
        whitened = scipy.linalg.solve_triangular(self.factor, operator, lower=True, check_finite=False)
        covariance = self.prior_of_values() - whitened.T @ whitened
        return self.unit * (operator.T @ self.omega), self.unit**2 * covariance

    def prior_of_values(self) -> FloatArray:
        """(n_players, n_players) float64: prior covariance of the values of the top level, in standardised units."""
        gains = gains_of(self.rhos)[-1]
        return sum(g**2 * prior_covariance(theta, self.n_players) for g, theta in zip(gains, self.thetas, strict=True))

    def prior_trace(self) -> float:
        """Trace of the prior covariance of the centred values, in standardised units."""
        gains = gains_of(self.rhos)[-1]
        pairs = zip(gains, self.thetas, strict=True)
        return float(sum(g**2 * centred_prior_trace(theta, self.n_players) for g, theta in pairs))


def gains_of(rhos: Sequence[float] | FloatArray) -> FloatArray:
    """(L, L) float64 lower triangular: g_lp, by which level p enters level l."""
    gains = np.eye(len(rhos) + 1)
    for level, rho in enumerate(rhos, start=1):
        gains[level, :level] = rho * gains[level - 1, :level]
    return gains


def stack(parts: Sequence[tuple[CoalitionMatrix, FloatArray, FloatArray]]) -> Rows:
    """Rows of all levels from (masks, replicates, standardised utilities) per level, cheapest first."""
    masks, replicates, standardised = (np.concatenate(part) for part in zip(*parts, strict=True))
    levels = np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts])
    return Rows(masks, levels, replicates, standardised)


def condition_levels(rows: Rows, thetas: FloatArray, rhos: FloatArray, scales: FloatArray) -> CoKriging:
    """The posterior at given hyper-parameters."""
    covariance = _prior(thetas, rhos, rows.masks, rows.levels, rows.masks, rows.levels)
    covariance[np.diag_indices_from(covariance)] += noise_of_levels(thetas, rows) + JITTER
    factor = scipy.linalg.cholesky(covariance, lower=True, overwrite_a=True, check_finite=False)
    omega = scipy.linalg.cho_solve((factor, True), rows.standardised, check_finite=False)
    inverse_factor = scipy.linalg.lapack.dtrtri(factor, lower=1)[0]
    inverse_diagonal = np.einsum("ij,ij->j", inverse_factor, inverse_factor)
    return CoKriging(rows, thetas, rhos, scales, factor, omega, inverse_diagonal)


def noise_of_levels(thetas: FloatArray, rows: Rows) -> FloatArray:
    """(M,) float64: noise variances of the row means, each of its own level."""
    noise = np.empty(len(rows.levels))
    for level, theta in enumerate(thetas):
        own = rows.levels == level
        noise[own] = noise_of_rows(theta, rows.replicates[own])
    return noise


def _prior(
    thetas: FloatArray,
    rhos: FloatArray,
    masks: CoalitionMatrix,
    levels: npt.NDArray[np.int64],
    others: CoalitionMatrix,
    other_levels: npt.NDArray[np.int64],
) -> FloatArray:
    """(m, m') float64: covariance of v_level(S) and v_level'(T); component p acts between rows of level ≥ p."""
    gains = gains_of(rhos)
    total = np.zeros((len(masks), len(others)))
    for part, theta in enumerate(thetas):
        first, second = np.flatnonzero(levels >= part), np.flatnonzero(other_levels >= part)
        if len(first) and len(second):
            kernel = sum(components(theta, geometry(masks[first], others[second])))
            kernel *= gains[levels[first], part][:, None]
            kernel *= gains[other_levels[second], part]
            total[np.ix_(first, second)] += kernel
    return total


def _operator(
    thetas: FloatArray, rhos: FloatArray, masks: CoalitionMatrix, levels: npt.NDArray[np.int64]
) -> FloatArray:
    """(m, n_players) float64: covariance of φ_i of the last level with v_level(S)."""
    n, gains = masks.shape[1], gains_of(rhos)
    sizes = masks.sum(axis=1)
    total = np.zeros(masks.shape)
    for part, theta in enumerate(thetas):
        inside, outside = response(theta, n)
        table = np.where(masks, inside[sizes][:, None], outside[sizes][:, None])
        total += (gains[levels, part] * gains[-1, part])[:, None] * table
    return total
