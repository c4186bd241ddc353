"""Regressions on player columns: the paper's estimator, the size-adjusted one, the datamodel.

``size_adjusted`` removes the curvature of v in |S| by columns that carry no Shapley value: all players are symmetric in
f(|S|), so they share f(n) − f(0) equally, and differences between players do not see it. The paper's estimator counts
that curvature as noise; with scores that saturate it is most of the variance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy

from groupshap.games.evaluations import Evaluations
from groupshap.games.exact import harmonic
from groupshap.games.sampling import DEFAULT_LAW, draws_without_repeats, size_probabilities
from groupshap.games.types import FloatArray

__all__ = ["fit_datamodel", "fit_kernel", "fit_kernel_exact", "fit_size_adjusted", "infer_law", "row_weights"]

UNWEIGHTED_LAWS = ("central", "half", "bernoulli")
"""Laws whose weights p^K/p would leave only a few rows; the size columns make unit weights safe."""
DEFAULT_LAW_ADVANTAGE = 2.0
MAX_LEVERAGE = 0.95


@dataclass(frozen=True)
class RidgeFit:
    """A penalised regression.

    Attributes:
        coefficients: (n_players,) float64.
        penalty: λ chosen or given.
        residuals: (m,) float64, leave-one-out residuals at that λ, in the unit of the utility.
        shrinkage: (n_players, n_players) float64, expected square of the bias by the penalty; nan for a given λ.
    """

    coefficients: FloatArray
    penalty: float
    residuals: FloatArray
    shrinkage: FloatArray


def infer_law(evaluations: Evaluations) -> str:
    """The law under which the sizes of the interior rows are most likely, with two nats in favour of the default."""
    n, sizes = evaluations.n_players, evaluations.sizes[2:]
    scores = {DEFAULT_LAW: DEFAULT_LAW_ADVANTAGE}
    with np.errstate(divide="ignore"):
        for law in (DEFAULT_LAW, "kernel", "arcsine", "central", "half", "bernoulli"):
            terms = np.log(size_probabilities(n, law))[sizes - 1] * evaluations.replicates[2:]
            scores[law] = scores.get(law, 0.0) + float(terms.sum())
    return max(scores, key=scores.__getitem__)


def row_weights(evaluations: Evaluations, law: str) -> FloatArray:
    """(m − 2,) float64: p^K/p times replicates for the interior rows: makes ``law`` the Shapley kernel.

    A complete table is weighted by the kernel itself, whatever its replicates: that alone is exact. Where plans are
    drawn without repeats, the share of each size among the rows stands for its probability (post-stratification).

    Raises:
        ValueError: sizes occur that ``law`` never draws, so no weight can be right.
    """
    n, sizes = evaluations.n_players, evaluations.sizes[2:]
    if evaluations.is_complete:
        probabilities = size_probabilities(n, "bernoulli")[sizes - 1]
    elif draws_without_repeats(n, law):
        share = np.bincount(sizes, weights=evaluations.replicates[2:])
        probabilities = share[sizes] / share.sum()
    else:
        probabilities = size_probabilities(n, law)[sizes - 1]
    if (probabilities == 0.0).any() or (law == "half" and not evaluations.is_complete):
        raise ValueError(
            f"Expected coalitions of all sizes drawn by one law, got law {law!r} with sizes "
            f"{sorted(set(sizes.tolist()))[:10]}: Shapley regression is impossible. Pass the law of the plan as `law`."
        )
    weights = size_probabilities(n, "kernel")[sizes - 1] / probabilities
    return weights if evaluations.is_complete else weights * evaluations.replicates[2:]


def fit_kernel(evaluations: Evaluations, weights: FloatArray) -> FloatArray:
    """(n_players,) float64: constrained least squares with the empirical matrix A (Covert & Lee 2021, eq. 7).

    φ̂ = A⁺(b − 1(1ᵀA⁺b − (v(N) − v(∅)))/(1ᵀA⁺1)) with A = Σwxxᵀ/Σw and b = Σwx(y − v(∅))/Σw; unit weights are the paper.
    """
    members = evaluations.masks[2:].astype(np.float64)
    weighted = members * (weights / weights.sum())[:, None]
    moment = weighted.T @ (evaluations.utilities[2:] - evaluations.v_empty)
    inverse = np.linalg.pinv(weighted.T @ members, hermitian=True)
    total = evaluations.v_grand - evaluations.v_empty
    return inverse @ (moment - (inverse.sum(axis=0) @ moment - total) / inverse.sum())


def fit_kernel_exact(evaluations: Evaluations, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Values (n,) and covariance (n, n) with the exact matrix A of the Shapley kernel: unbiased, but noisier.

    φ̂_i = 2H_{n−1}(b_i − mean b) + (v(N) − v(∅))/n, because A = (a−b)I + b11ᵀ with a − b = 1/(2H_{n−1}).
    """
    n, n_rows = evaluations.n_players, evaluations.replicates[2:].sum()
    n_rows = len(weights) if evaluations.is_complete else n_rows
    terms = evaluations.masks[2:] * (weights * (evaluations.utilities[2:] - evaluations.v_empty) / n_rows)[:, None]
    terms = 2.0 * harmonic(n - 1) * (terms - terms.mean(axis=1, keepdims=True))
    values = terms.sum(axis=0) + (evaluations.v_grand - evaluations.v_empty) / n
    pairs = _sum_by(evaluations.pair_ids[2:], terms)
    centred = pairs - pairs.mean(axis=0)
    return values, centred.T @ centred * (len(pairs) / max(len(pairs) - 1, 1))


def fit_size_adjusted(
    evaluations: Evaluations, law: str, *, counts: FloatArray | None = None, penalty: float | None = None
) -> RidgeFit:
    """Ridge on centred player columns after the size columns are projected out; coefficients sum to v(N) − v(∅).

    Args:
        evaluations: collapsed rows.
        law: sampling law, for the weights.
        counts: (m − 2,) multiplicities of a bootstrap sample; None for all rows once.
        penalty: λ; None chooses it by generalised cross-validation.
    """
    weighted = law not in UNWEIGHTED_LAWS or evaluations.is_complete
    weights = row_weights(evaluations, law) if weighted else evaluations.replicates[2:]
    sizes = evaluations.sizes[2:]
    players = evaluations.masks[2:] - (sizes / evaluations.n_players)[:, None]
    columns = size_columns(evaluations)
    scale = np.sqrt(weights if counts is None else weights * counts)
    fit = _ridge(players, columns, evaluations.utilities[2:], scale, penalty)
    share = (evaluations.v_grand - evaluations.v_empty) / evaluations.n_players
    return replace(fit, coefficients=fit.coefficients - fit.coefficients.mean() + share)


def fit_datamodel(
    evaluations: Evaluations, *, counts: FloatArray | None = None, penalty: float | None = None
) -> RidgeFit:
    """Ridge on centred masks and utilities without size columns (datamodels; its target is not the Shapley value)."""
    masks = evaluations.masks[2:].astype(np.float64)
    scale = np.sqrt(evaluations.replicates[2:] if counts is None else evaluations.replicates[2:] * counts)
    return _ridge(masks, np.ones((len(masks), 1)), evaluations.utilities[2:], scale, penalty)


def size_columns(evaluations: Evaluations) -> FloatArray:
    """(m − 2, ≤ 6) float64: functions of |S|, as many as there are distinct sizes."""
    n, a = evaluations.n_players, evaluations.sizes[2:]
    s = a / n

    def logarithmic(size: FloatArray) -> FloatArray:
        return np.log1p(size) / np.log1p(n)

    columns = [
        np.ones_like(s),
        s,
        s * (1.0 - s),
        logarithmic(a) - s,
        logarithmic(n - a) - (1.0 - s),
        s * (1.0 - s) * (1.0 - 2.0 * s),
    ]
    return np.column_stack(columns[: len(np.unique(a))])


def _ridge(
    players: FloatArray, columns: FloatArray, target: FloatArray, scale: FloatArray, penalty: float | None
) -> RidgeFit:
    """Minimise Σ scale²(target − players·β − columns·γ)² + λ‖β‖², λ by generalised cross-validation where None."""
    target = target - target.mean()  # the columns hold a constant; a large offset would cost digits
    if penalty is not None and penalty > 0.0:
        unknown = np.full((players.shape[1], players.shape[1]), np.nan)
        coefficients = _solve_ridge(players, columns, target, scale, penalty)
        return RidgeFit(coefficients, penalty, np.full(len(target), np.nan), unknown)
    basis = np.linalg.qr(columns * scale[:, None])[0]
    design, y = players * scale[:, None], target * scale
    design, y = design - basis @ (basis.T @ design), y - basis @ (basis.T @ y)
    left, singular, right = np.linalg.svd(design, full_matrices=False)
    z = left.T @ y
    if penalty is None:
        penalty = _cross_validated_penalty(singular, z, float(y @ y), len(y), basis.shape[1])
    kept = singular > 1e-10 * singular[0]
    shrink = np.where(kept, singular**2 / np.where(kept, singular**2 + penalty, 1.0), 0.0)
    coefficients = right.T @ np.where(kept, shrink * z / np.where(kept, singular, 1.0), 0.0)
    leverage = (basis**2).sum(axis=1) + left**2 @ shrink
    residuals = (y - left @ (shrink * z)) / ((1.0 - np.minimum(leverage, MAX_LEVERAGE)) * scale)
    freedom = max(1.0, len(y) - basis.shape[1] - float(shrink.sum()))
    noise = float((y - left @ (shrink * z)) @ (y - left @ (shrink * z))) / freedom
    return RidgeFit(coefficients, penalty, residuals, _shrinkage(singular, right, penalty, noise))


def _shrinkage(singular: FloatArray, right: FloatArray, penalty: float, noise: float) -> FloatArray:
    """(n, n) float64: E[bias biasᵀ] = λσ²(AᵀA + λ)⁻² when β ~ N(0, σ²/λ), the prior whose posterior mean is the ridge.

    Intervals with it cover 0.89–0.96 from 64 rows on (16 players), but 0.75–0.83 with 24: prefer those of ``gp``.
    """
    n = right.shape[1]
    if penalty <= 0.0:
        return np.zeros((n, n))
    unseen = noise / penalty
    return unseen * np.eye(n) + (right.T * (noise * penalty / (singular**2 + penalty) ** 2 - unseen)) @ right


def _cross_validated_penalty(singular: FloatArray, z: FloatArray, total: float, n_rows: int, n_columns: int) -> float:
    """λ that minimises RSS/ν² over 40 values from 1e-8 to 10 times the largest squared singular value."""
    grid = singular[0] ** 2 * np.logspace(-8, 1, 40)
    shrink = singular**2 / (singular**2 + grid[:, None] + np.finfo(float).tiny)
    rss = total - z @ z + ((1.0 - shrink) ** 2) @ z**2
    freedom = n_rows - n_columns - shrink.sum(axis=1)
    allowed = freedom > 0.02 * n_rows
    if not allowed.any():
        return float(1e-3 * singular[0] ** 2)
    return float(grid[allowed][np.argmin(rss[allowed] / freedom[allowed] ** 2)])


def _solve_ridge(
    players: FloatArray, columns: FloatArray, target: FloatArray, scale: FloatArray, penalty: float
) -> FloatArray:
    """The same minimum by normal equations: fast for the many refits of a bootstrap."""
    if players.shape[1] > len(target):
        drawn = scale > 0.0  # by the bootstrap
        return _solve_wide_ridge(players[drawn], columns[drawn], target[drawn], penalty / scale[drawn] ** 2)
    design = np.hstack([players, columns]) * scale[:, None]
    gram = design.T @ design
    n_players = players.shape[1]
    diagonal = np.diag_indices_from(gram)
    # A bootstrap sample may lack sizes, then the size columns are dependent: a rounding-sized ridge settles them.
    gram[diagonal] += np.append(np.full(n_players, penalty), np.full(columns.shape[1], 1e-10 * gram[diagonal].max()))
    return np.linalg.solve(gram, design.T @ (target * scale))[:n_players]


def _solve_wide_ridge(players: FloatArray, columns: FloatArray, target: FloatArray, noise: FloatArray) -> FloatArray:
    """The same for fewer rows than players, solved in the space of the rows.

    β = Xᵀα with (XXᵀ + diag noise) α = target − columns·γ and α orthogonal to the columns.
    """
    gram = players @ players.T
    gram[np.diag_indices_from(gram)] += noise
    factor = scipy.linalg.cholesky(gram, lower=True, overwrite_a=True, check_finite=False)
    # A bootstrap sample may lack sizes, then the size columns are dependent: what they span is what counts.
    left, singular, _ = np.linalg.svd(columns, full_matrices=False)
    span = left[:, singular > 1e-10 * singular[0]]
    whitened = scipy.linalg.solve_triangular(factor, np.column_stack([span, target]), lower=True, check_finite=False)
    gamma = np.linalg.lstsq(whitened[:, :-1], whitened[:, -1])[0]
    residual = whitened[:, -1] - whitened[:, :-1] @ gamma
    return players.T @ scipy.linalg.solve_triangular(factor, residual, lower=True, trans="T", check_finite=False)


def _sum_by(groups: np.ndarray, terms: FloatArray) -> FloatArray:
    """(n_groups, n) float64: sums of the rows of ``terms`` (m, n) with equal group number."""
    _, numbers = np.unique(groups, return_inverse=True)
    sums = np.zeros((numbers.max() + 1, terms.shape[1]))
    np.add.at(sums, numbers, terms)
    return sums
