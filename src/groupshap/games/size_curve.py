"""v against |S|: the picture that says how much a size-aware estimator saves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from groupshap.games.evaluations import Evaluations, collapse
from groupshap.games.regression import infer_law, row_weights, size_columns
from groupshap.games.requirements import require_interior
from groupshap.games.subset_gp import MAX_PROCESS_ROWS, fit_subset_gp
from groupshap.games.types import CoalitionMatrix, FloatArray, Utilities

__all__ = ["SizeCurve", "size_curve"]


@dataclass(frozen=True)
class SizeCurve:
    """Data of the plot: one dot per coalition, the fitted mean of v over all coalitions of each size.

    Attributes:
        sizes: (n_players + 1,) int64: 0..n.
        curve: (n_players + 1,) float64: fitted mean utility per size.
        noise_sd: standard deviation of one evaluation around the fit, for the band.
        coalition_sizes: (m,) int64 of the distinct measured coalitions; the first two are ∅ and N.
        utilities: (m,) float64, means over replicates.
        r_squared: share of the variance between interior coalitions that the curve explains.
        predicted_saving: mean squared residual of an additive fit over the same after size columns: the factor of
            evaluations saved against the paper's estimator; nan where the law of the sizes allows no weights.
    """

    sizes: npt.NDArray[np.int64]
    curve: FloatArray
    noise_sd: float
    coalition_sizes: npt.NDArray[np.int64]
    utilities: FloatArray
    r_squared: float
    predicted_saving: float


def size_curve(coalitions: CoalitionMatrix, utilities: Utilities, *, law: str | None = None) -> SizeCurve:
    """Fit the Gaussian process and average its prediction over all coalitions of each size, in closed form.

    More than 3000 distinct coalitions: the curve uses 3000 of them, spread over all sizes.

    Args:
        coalitions: (n_coalitions, n_players) bool, as for :func:`~groupshap.games.estimators.estimate`.
        utilities: (n_coalitions,) finite float64.
        law: sampling law; None infers it from the sizes.

    Raises:
        ValueError: bad rows or too few coalitions.
    """
    evaluations = collapse(coalitions, utilities)
    require_interior(evaluations, "gp")
    if evaluations.n_players == 1 or evaluations.is_constant:
        return _flat(evaluations)
    model = fit_subset_gp(evaluations.spread(MAX_PROCESS_ROWS))
    sizes = np.arange(evaluations.n_players + 1)
    curve = model.size_curve(sizes)
    interior = evaluations.utilities[2:]
    spread = float(np.var(interior))
    left = float(np.var(interior - curve[evaluations.sizes[2:]]))
    return SizeCurve(
        sizes=sizes,
        curve=curve,
        noise_sd=float(np.sqrt(model.noise_variance)),
        coalition_sizes=evaluations.sizes,
        utilities=evaluations.utilities,
        r_squared=1.0 - left / spread if spread > 0.0 else 0.0,
        predicted_saving=_predicted_saving(evaluations, model.shapley()[0], law or infer_law(evaluations)),
    )


def _flat(evaluations: Evaluations) -> SizeCurve:
    sizes = np.arange(evaluations.n_players + 1)
    curve = np.interp(sizes, [0, evaluations.n_players], evaluations.utilities[:2])
    return SizeCurve(sizes, curve, 0.0, evaluations.sizes, evaluations.utilities, 0.0, 1.0)


def _predicted_saving(evaluations: Evaluations, values: FloatArray, law: str) -> float:
    """Weighted mean squared residual of v(∅) + Σφ_i before and after regressing it on the size columns."""
    if law in ("half", "permutation"):
        return float("nan")
    scale = np.sqrt(row_weights(evaluations, law))
    residual = scale * (evaluations.utilities[2:] - evaluations.v_empty - evaluations.masks[2:] @ values)
    basis = np.linalg.qr(size_columns(evaluations) * scale[:, None])[0]
    after = residual - basis @ (basis.T @ residual)
    return float(residual @ residual / (after @ after)) if after @ after > 0.0 else float("nan")
