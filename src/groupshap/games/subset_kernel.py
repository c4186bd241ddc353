"""The covariance of the Gaussian process over coalitions, and what the Shapley operator makes of it.

Everything depends on a = |S|, b = |T| and j = |S∩T| only, so the operator averages over hypergeometric counts and its
result is two tables over |T|: one for players inside T, one for players outside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from groupshap.games.types import CoalitionMatrix, FloatArray

__all__ = [
    "Geometry",
    "binomials",
    "components",
    "geometry",
    "growth",
    "higher_variance",
    "player_kernel",
    "prior_covariance",
    "response",
    "smooth_kernel",
    "third_moment",
]

NOISE = 6
"""Index of ln σ² in θ = (ln τ₁², ln ℓ₁, ln τ₂², ln ℓ₂, δ, ln τ₃², ln σ², γ, ln τ₄², ln τ₅²)."""
LEVEL_VARIANCE = 25.0
BLOCK_ENTRIES = 2**22


@dataclass(frozen=True)
class Geometry:
    """What the kernel needs of two lists of coalitions; every field (m, m') float64.

    Attributes:
        overlap: c = (x_S − s1)·(x_T − t1)·4/n.
        square_gap: (s − t)².
        size_sum: s + t − 1.
        log_sum: ln(1+a) + ln(1+b) − 2 ln(1+n/2).
        log_gap: |ln(1+a) − ln(1+b)|.
        level: k₀.
        same: 1 where S = T is neither empty nor grand, otherwise 0.
    """

    overlap: FloatArray
    square_gap: FloatArray
    size_sum: FloatArray
    log_sum: FloatArray
    log_gap: FloatArray
    level: FloatArray
    same: FloatArray


def geometry(coalitions: CoalitionMatrix, others: CoalitionMatrix) -> Geometry:
    """Pairwise quantities of (m, n_players) and (m', n_players) bool coalitions."""
    n = coalitions.shape[1]
    a, b = coalitions.sum(axis=1)[:, None], others.sum(axis=1)[None, :]
    # float32 products of 0/1 are exact for up to 2²⁴ players, and twice as fast.
    joint = (coalitions.astype(np.float32) @ others.astype(np.float32).T).astype(np.float64)
    s, t = a / n, b / n
    log_a, log_b = np.log1p(a), np.log1p(b)
    return Geometry(
        overlap=(joint - a * t) * (4.0 / n),
        square_gap=(s - t) ** 2,
        size_sum=s + t - 1.0,
        log_sum=log_a + log_b - 2.0 * np.log1p(n / 2.0),
        log_gap=np.abs(log_a - log_b),
        level=LEVEL_VARIANCE * (1.0 + (s - 0.5) * (t - 0.5)),
        same=((joint == a) & (joint == b) & (a > 0) & (a < n)).astype(np.float64),
    )


def components(theta: FloatArray, shape: Geometry) -> tuple[FloatArray, ...]:
    """k₀ level and trend, k₁ size curve, k₂ additive, varying with size, k₃ pairwise, k₄ higher orders, k₅ triples."""
    ln_tau1, ln_l1, ln_tau2, ln_l2, delta, ln_tau3, _, gamma, ln_tau4, ln_tau5 = theta
    r = (np.sqrt(3.0) / np.exp(ln_l1)) * shape.log_gap
    smooth = np.exp(ln_tau1 - r) * (1.0 + r)  # Matérn 3/2
    amplitude = np.exp(-delta * shape.size_sum - gamma * shape.log_sum)
    higher = np.exp(ln_tau4) * amplitude * shape.same
    amplitude *= shape.overlap
    additive = np.exp(ln_tau2 - shape.square_gap * (0.5 / np.exp(2.0 * ln_l2))) * amplitude
    pairwise = np.exp(ln_tau3) * shape.overlap * amplitude
    triple = np.exp(ln_tau5) * shape.overlap**2 * amplitude
    return shape.level, smooth, additive, pairwise, higher, triple


def response(theta: FloatArray, n: int) -> tuple[FloatArray, FloatArray]:
    """f_in and f_out, each (n+1,) float64: A_i k(·, T) for |T| = 0..n with i ∈ T and i ∉ T."""
    sizes = np.arange(n + 1)
    level = _size_response(theta, n)
    players = _player_response(theta, n)
    others = np.zeros(n + 1)
    # The player components vanish at ∅ and N, so their values sum to zero over the players.
    others[:n] = -sizes[:n] * players[:n] / (n - sizes[:n])
    inside = np.arange(1, n)
    higher = higher_variance(theta, n)[1:-1] / binomials(n)[1:-1]
    players[1:-1] += higher / inside
    others[1:-1] -= higher / (n - inside)
    return level + players, level + others


def higher_variance(theta: FloatArray, n: int) -> FloatArray:
    """(n+1,) float64: prior variance k₄(T, T) of what orders above two add to v(T), by |T|; zero at ∅ and N."""
    sizes = np.arange(n + 1)
    return np.exp(theta[8]) * growth(theta, n, sizes, sizes) * ((sizes > 0) & (sizes < n))


def binomials(n: int) -> FloatArray:
    """(n+1,) float64: C(n, a), infinite where it exceeds the range of float64."""
    with np.errstate(over="ignore"):
        return np.exp(np.cumsum(np.log(np.r_[1.0, np.arange(n, 0, -1) / np.arange(1, n + 1)])))


def _size_response(theta: FloatArray, n: int) -> FloatArray:
    """e(b): 1/n of the difference of k₀ + k₁ between N and ∅, because all players share a size effect equally."""
    sizes = np.arange(n + 1)
    rise = smooth_kernel(theta, n, sizes) - smooth_kernel(theta, 0, sizes)
    return (rise + LEVEL_VARIANCE * (sizes / n - 0.5)) / n


def smooth_kernel(theta: FloatArray, a: npt.NDArray[np.int64] | int, b: npt.NDArray[np.int64]) -> FloatArray:
    """k₁ as a function of two sizes (Matérn 3/2 in ln(1+|S|)); arguments broadcast."""
    r = np.sqrt(3.0) * np.abs(np.log1p(a) - np.log1p(b)) / np.exp(theta[1])
    return np.exp(theta[0] - r) * (1.0 + r)


def _player_response(theta: FloatArray, n: int) -> FloatArray:
    """D(b): mean over a = 0..n−1 of Ψ(a+1, j̄+1, ρ) − Ψ(a, j̄, ρ), where |S∩T| has mean j̄ and variance ρ."""
    result = np.zeros(n + 1)
    a = np.arange(n)[:, None]
    step = max(1, BLOCK_ENTRIES // n)
    for start in range(1, n + 1, step):
        b = np.arange(start, min(start + step, n + 1))[None, :]
        j = a * (b - 1) / max(n - 1, 1)
        rho = j * (n - b) / max(n - 1, 1) * (n - 1 - a) / max(n - 2, 1)
        skew = third_moment(rho, n - 1, a, b - 1)
        change = player_kernel(theta, n, a + 1, b, j + 1.0, rho, skew) - player_kernel(theta, n, a, b, j, rho, skew)
        result[b[0]] = change.mean(axis=0)
    return result


def third_moment(variance: FloatArray, n: int, draws: FloatArray, successes: FloatArray) -> FloatArray:
    """Third central moment of a hypergeometric count with given variance among n; arguments broadcast."""
    return variance * (n - 2.0 * successes) * (n - 2.0 * draws) / (n * max(n - 2, 1)) if n > 0 else 0.0 * variance


def player_kernel(
    theta: FloatArray, n: int, a: FloatArray, b: FloatArray, j: FloatArray, rho: FloatArray, skew: FloatArray
) -> FloatArray:
    """Ψ: mean of k₂ + k₃ + k₅ when |S∩T| has mean ``j``, variance ``rho``, third moment ``skew``; all broadcast."""
    _, _, ln_tau2, ln_l2, _, ln_tau3, *_, ln_tau5 = theta
    c, spread = (j - a * b / n) * (4.0 / n), 16.0 * rho / n**2
    additive = np.exp(ln_tau2 - (a - b) ** 2 / (2.0 * n**2 * np.exp(2.0 * ln_l2))) * c
    pairwise = np.exp(ln_tau3) * (c**2 + spread)
    triple = np.exp(ln_tau5) * (c**3 + 3.0 * c * spread + 64.0 * skew / n**3)
    return growth(theta, n, a, b) * (additive + pairwise + triple)


def growth(theta: FloatArray, n: int, a: FloatArray, b: FloatArray) -> FloatArray:
    """G as a function of two sizes: amplitude that grows or falls exponentially (δ) and as a power (γ) of the size."""
    linear = (a + b) / n - 1.0
    logarithmic = np.log1p(a) + np.log1p(b) - 2.0 * np.log1p(n / 2.0)
    return np.exp(-theta[4] * linear - theta[7] * logarithmic)


def prior_covariance(theta: FloatArray, n: int) -> FloatArray:
    """Π (n, n) float64 of the Shapley values in standardised units: one variance, one covariance."""
    inside, outside = response(theta, n)
    own = float((inside[1:] - outside[:-1]).mean())
    shared = (inside[n] - outside[0] - own) / max(n - 1, 1)
    covariance = np.full((n, n), shared)
    np.fill_diagonal(covariance, own)
    return covariance
