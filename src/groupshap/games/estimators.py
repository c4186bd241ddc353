"""From measured coalitions to Shapley values: one entry point, a closed list of estimators.

When to choose which: ``gp`` (default) for few, noisy evaluations; ``size_adjusted`` is its companion and fall-back;
``kernel`` reproduces the paper; ``exact`` for complete tables; ``banzhaf``, ``datamodel``, ``loo`` and ``add_one_in``
are baselines that estimate other quantities, so efficiency does not apply to them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from groupshap.games.baselines import fit_banzhaf, fit_permutation, fit_single_changes
from groupshap.games.calibration import hyperparameter_uncertainty, influence_inflation
from groupshap.games.committee import fit_committee
from groupshap.games.evaluations import Evaluations, collapse
from groupshap.games.exact import MAX_EXACT_PLAYERS, banzhaf_coefficients, exact_from_evaluations
from groupshap.games.regression import (
    fit_datamodel,
    fit_kernel,
    fit_kernel_exact,
    fit_size_adjusted,
    infer_law,
    row_weights,
)
from groupshap.games.requirements import require_full_rank, require_interior
from groupshap.games.sampling import LAWS
from groupshap.games.subset_gp import MAX_PROCESS_ROWS, fit_subset_gp
from groupshap.games.types import CoalitionMatrix, FloatArray, ShapleyValues, Utilities, check_player_names
from groupshap.games.uncertainty import bootstrap_covariance, noise_from_replicates

__all__ = ["ESTIMATORS", "estimate", "estimate_collapsed", "relative_difference"]

MAX_COMPANION_ROWS = 600
ROWS_PER_BLOCK = 1500
MIN_ROWS_OF_RIDGE = 16
"""With fewer rows the ridge has as many columns as rows, and its leave-one-out residuals are below the noise."""
ENUMERATION = "enumerated"


@dataclass(frozen=True)
class Settings:
    """What an estimator needs beside the rows: sampling law, seed and size of the bootstrap."""

    law: str
    seed: int
    n_bootstrap: int


@dataclass(frozen=True)
class Fit:
    """What an estimator returns: values (n,), covariance (n, n), noise variance of one row, and remarks."""

    values: FloatArray
    covariance: FloatArray
    noise_variance: float
    estimator: str
    diagnostics: dict[str, float | str] = field(default_factory=dict)
    degrees_of_freedom: float = math.inf


def estimate(
    coalitions: CoalitionMatrix,
    utilities: Utilities,
    *,
    estimator: str = "gp",
    law: str | None = None,
    efficient: bool = True,
    player_names: Sequence[str] | None = None,
    seed: int = 0,
    n_bootstrap: int = 100,
) -> ShapleyValues:
    """Values of all players from any finished part of a plan.

    Args:
        coalitions: (n_coalitions, n_players) bool, the empty and the grand coalition among the rows, in any order;
            repeated coalitions are replicates.
        utilities: (n_coalitions,) finite float64, higher or lower is better, any unit.
        estimator: a key of :data:`ESTIMATORS`.
        law: law of the sizes, a key of :data:`~groupshap.games.sampling.LAWS`; None takes the most likely law given
            the sizes (reported in the result). Only regressions depend on it.
        efficient: shift Shapley estimates equally so that they sum to v(N) − v(∅); the gap is reported.
        player_names: distinct names for the printed table.
        seed: root of the bootstrap draws.
        n_bootstrap: refits of estimators without a closed-form covariance.

    Returns:
        The values with covariance and diagnostics. If ``size_adjusted`` predicts 16 or more rows left out better than
        ``gp`` (errors in units of what each expects of a row: ``loo_rmse_in_its_units``, ``loo_rmse_size_adjusted``),
        its values are returned and ``diagnostics["fall_back"]`` says so.

    Raises:
        ValueError: bad rows, an unknown name, or too few coalitions for the estimator; the message names what is
            missing and the smallest sufficient plan.
    """
    evaluations = collapse(coalitions, utilities)
    return estimate_collapsed(
        evaluations,
        estimator=estimator,
        law=law,
        efficient=efficient,
        player_names=player_names,
        seed=seed,
        n_bootstrap=n_bootstrap,
    )


def estimate_collapsed(
    evaluations: Evaluations,
    *,
    estimator: str = "gp",
    law: str | None = None,
    efficient: bool = True,
    player_names: Sequence[str] | None = None,
    seed: int = 0,
    n_bootstrap: int = 100,
) -> ShapleyValues:
    """:func:`estimate` for rows that are already collapsed."""
    if estimator not in ESTIMATORS:
        raise ValueError(f"Expected `estimator` to be one of {', '.join(ESTIMATORS)}, got {estimator!r}.")
    if n_bootstrap < 2:
        raise ValueError(f"Expected `n_bootstrap` ≥ 2 refits for a covariance, for example 100, got {n_bootstrap}.")
    if player_names is not None:
        player_names = check_player_names(player_names, evaluations.n_players)
    settings = Settings(resolved_law(evaluations, law), seed, n_bootstrap)
    fit = ESTIMATORS[estimator](evaluations, settings)
    result = ShapleyValues(
        values=fit.values,
        covariance=fit.covariance,
        n_evaluations=evaluations.n_rows,
        estimator=fit.estimator,
        law=ENUMERATION if evaluations.is_complete else settings.law,
        v_empty=evaluations.v_empty,
        v_grand=evaluations.v_grand,
        diagnostics=_common_diagnostics(evaluations, fit, estimator, law),
        degrees_of_freedom=fit.degrees_of_freedom,
        player_names=player_names,
    )
    if not efficient or estimator in NOT_SHAPLEY:
        return result
    return result.with_efficiency(fit.noise_variance * float((1.0 / evaluations.replicates[:2]).sum()))


def resolved_law(evaluations: Evaluations, law: str | None) -> str:
    """The given law, or the most likely one given the sizes.

    Raises:
        ValueError: unknown law.
    """
    if law is not None and law not in LAWS:
        raise ValueError(f"Expected `law` to be one of {', '.join(LAWS)}, got {law!r}.")
    if law is not None or evaluations.is_complete:
        return law or "bernoulli"
    return infer_law(evaluations)


def _common_diagnostics(evaluations: Evaluations, fit: Fit, estimator: str, law: str | None) -> dict[str, float | str]:
    source = "all coalitions present" if evaluations.is_complete else "given" if law else "inferred from the sizes"
    return {
        "requested_estimator": estimator,
        "law_source": source,
        "n_distinct_coalitions": float(len(evaluations.masks)),
        "seed_variance": evaluations.seed_variance,
        "seed_freedom": float(evaluations.seed_freedom),
        "noise_variance": fit.noise_variance,
        **fit.diagnostics,
    }


def _gp(evaluations: Evaluations, settings: Settings) -> Fit:
    """Gaussian process over coalitions; the exact formula where the table is complete."""
    if evaluations.is_complete:
        fit = _exact(evaluations, settings)
        remark = "exact instead of gp: all coalitions are present"
        return replace(fit, diagnostics={**fit.diagnostics, "fall_back": remark})
    require_interior(evaluations, "gp")
    if evaluations.is_constant:
        return _constant(evaluations, "gp")
    fit, residuals, variances = _process(evaluations)
    companion = fit_size_adjusted(evaluations, settings.law)
    error = _error_in_units(residuals, variances)
    companion_error = _error_in_units(companion.residuals, 1.0 / evaluations.replicates[2:])
    remarks: dict[str, float | str] = {
        "loo_rmse": math.sqrt(np.mean(residuals**2)),
        "loo_rmse_in_its_units": math.sqrt(error),
        "loo_rmse_size_adjusted": math.sqrt(companion_error),
        "size_adjusted_relative_difference": relative_difference(companion.coefficients, fit.values),
        "fall_back": "none",
    }
    if error > companion_error and len(companion.residuals) >= MIN_ROWS_OF_RIDGE:
        remarks["fall_back"] = "size_adjusted instead of gp: it predicts rows left out better"
        fit = _fallen_back(evaluations, settings, fit)
    return replace(fit, diagnostics={**fit.diagnostics, **remarks})


def _error_in_units(residuals: FloatArray, variances: FloatArray) -> float:
    """Mean squared residual, each in units of the variance expected there; the units' geometric mean is 1.

    A game may vary much more between small coalitions than between large ones, and a process knows it. With these units
    the errors of two models compare as their predictive densities do, each at its best scale.
    """
    return float(np.mean(residuals**2 / variances) * np.exp(np.log(variances).mean()))


def _fallen_back(evaluations: Evaluations, settings: Settings, process: Fit) -> Fit:
    """``size_adjusted`` in place of the process, with errors no smaller than the process admits.

    Under a posterior N(φ, Σ) another estimate φ̂ has the mean squared error Σ + ddᵀ, d = φ̂ − φ. The bootstrap alone
    does not see the bias of the ridge: in such fits its intervals covered 45 to 85 %.
    """
    fit = _size_adjusted(evaluations, settings)
    gap = fit.values - fit.values.mean() - process.values + process.values.mean()
    covariance = process.covariance + np.outer(gap, gap)
    if np.trace(covariance) < np.trace(fit.covariance):
        return fit
    return replace(fit, covariance=covariance, degrees_of_freedom=process.degrees_of_freedom)


def _process(evaluations: Evaluations) -> tuple[Fit, FloatArray, FloatArray]:
    """The Gaussian process, above 3000 rows a committee; leave-one-out residuals and variances of the interior rows."""
    replicated = noise_from_replicates(evaluations)
    if len(evaluations.masks) > MAX_PROCESS_ROWS:
        committee = fit_committee(evaluations, ROWS_PER_BLOCK)
        values, kappa, freedom = committee.values, committee.inflation, committee.degrees_of_freedom
        covariance = kappa * committee.covariance
        residuals, variances = committee.loo_residuals, committee.loo_variances
        noise = committee.noise_variance
        remarks: dict[str, float | str] = {"committee_blocks": float(committee.n_blocks)}
    else:
        model = fit_subset_gp(evaluations)
        values, posterior = model.shapley()
        kappa, freedom = influence_inflation(model, model.interior)
        factor, of_the_mean = hyperparameter_uncertainty(model, evaluations)
        covariance = kappa * factor * posterior + of_the_mean
        noise, remarks = model.noise_bound, {"hyperparameter_factor": factor}
        residuals, variances = np.array(model.leave_one_out())[:, 2:]
    remarks |= {"inflation": kappa, "gp_noise_variance": noise}
    fit = Fit(values, covariance, noise if replicated is None else replicated, "gp", remarks, freedom)
    return fit, residuals, variances


def _exact(evaluations: Evaluations, settings: Settings) -> Fit:
    """Shapley's formula on a complete table; the noise comes from replicates, otherwise from the GP beside it."""
    noise, diagnostics = _noise_of_table(evaluations)
    values, covariance = exact_from_evaluations(evaluations, noise)
    return Fit(values, covariance, noise, "exact", diagnostics)


def _noise_of_table(evaluations: Evaluations) -> tuple[float, dict[str, float | str]]:
    """Noise variance of one row, from replicates where there are enough, and the comparison with the GP."""
    replicated = noise_from_replicates(evaluations)
    if evaluations.is_constant or not 2 <= evaluations.n_players <= MAX_EXACT_PLAYERS:
        return replicated or 0.0, {"noise_source": "unknown, taken as 0" if replicated is None else "replicates"}
    model = fit_subset_gp(evaluations.spread(MAX_COMPANION_ROWS))
    noise = model.noise_bound if replicated is None else replicated
    exact, _ = exact_from_evaluations(evaluations, noise)
    return noise, {
        "noise_source": "gp (misfit included)" if replicated is None else "replicates",
        "gp_relative_difference": relative_difference(model.shapley()[0], exact),
    }


def _size_adjusted(evaluations: Evaluations, settings: Settings) -> Fit:
    """Ridge with size columns; covariance by bootstrap over pairs at the same penalty, plus the bias it cannot see."""
    if evaluations.n_players == 1:
        return _exact(evaluations, settings)
    if evaluations.is_complete:
        return _complete(
            evaluations, fit_size_adjusted(evaluations, settings.law, penalty=0.0).coefficients, "size_adjusted"
        )
    require_interior(evaluations, "size_adjusted")
    if evaluations.is_constant:
        return _constant(evaluations, "size_adjusted")
    fit = fit_size_adjusted(evaluations, settings.law)

    def refit(counts: FloatArray) -> FloatArray:
        return fit_size_adjusted(evaluations, settings.law, counts=counts, penalty=fit.penalty).coefficients

    covariance = _bootstrap(evaluations, refit, settings) + fit.shrinkage
    error = float(np.mean(fit.residuals**2))
    noise = noise_from_replicates(evaluations)
    diagnostics = {"penalty": fit.penalty, "loo_rmse": math.sqrt(error)}
    return Fit(fit.coefficients, covariance, error if noise is None else noise, "size_adjusted", diagnostics)


def _kernel(evaluations: Evaluations, settings: Settings) -> Fit:
    """The paper's constrained least squares; covariance by bootstrap over pairs."""
    if evaluations.n_players == 1:
        return _exact(evaluations, settings)
    require_full_rank(evaluations)
    weights = row_weights(evaluations, settings.law)
    values = fit_kernel(evaluations, weights)
    if evaluations.is_complete:
        return _complete(evaluations, values, "kernel")
    covariance = _bootstrap(evaluations, lambda counts: fit_kernel(evaluations, weights * counts), settings)
    return Fit(values, covariance, noise_from_replicates(evaluations) or 0.0, "kernel")


def _kernel_exact(evaluations: Evaluations, settings: Settings) -> Fit:
    """Regression with the exact matrix A; covariance from the spread of the pairs."""
    if evaluations.n_players == 1:
        return _exact(evaluations, settings)
    require_interior(evaluations, "kernel_exact")
    values, covariance = fit_kernel_exact(evaluations, row_weights(evaluations, settings.law))
    if evaluations.is_complete:
        return _complete(evaluations, values, "kernel_exact")
    return Fit(values, covariance, noise_from_replicates(evaluations) or 0.0, "kernel_exact")


def _permutation(evaluations: Evaluations, settings: Settings) -> Fit:
    """Mean marginal contributions; independent errors assumed between players."""
    values, variances = fit_permutation(evaluations)
    if evaluations.is_complete:
        return _complete(evaluations, values, "permutation")
    return Fit(values, np.diag(variances), noise_from_replicates(evaluations) or 0.0, "permutation")


def _banzhaf(evaluations: Evaluations, settings: Settings) -> Fit:
    """With-minus-without means; covariance by bootstrap over pairs."""
    values, noise = fit_banzhaf(evaluations), noise_from_replicates(evaluations)
    if evaluations.is_complete:
        noise = _noise_of_table(evaluations)[0]
        coefficients = banzhaf_coefficients(evaluations.masks)
        covariance = (coefficients * (noise / evaluations.replicates)) @ coefficients.T
    else:
        covariance = _bootstrap(evaluations, lambda counts: fit_banzhaf(evaluations, counts), settings)
    return Fit(values, covariance, noise or 0.0, "banzhaf")


def _datamodel(evaluations: Evaluations, settings: Settings) -> Fit:
    """Ridge without size columns; covariance by bootstrap over pairs at the same penalty."""
    if evaluations.n_players == 1:
        return _exact(evaluations, settings)
    require_interior(evaluations, "datamodel")
    fit = fit_datamodel(evaluations)

    def refit(counts: FloatArray) -> FloatArray:
        return fit_datamodel(evaluations, counts=counts, penalty=fit.penalty).coefficients

    covariance = _bootstrap(evaluations, refit, settings)
    return Fit(fit.coefficients, covariance, float(np.mean(fit.residuals**2)), "datamodel", {"penalty": fit.penalty})


def _loo(evaluations: Evaluations, settings: Settings) -> Fit:
    """v(N) − v(N∖i)."""
    return Fit(*fit_single_changes(evaluations, leave_out=True), "loo")


def _add_one_in(evaluations: Evaluations, settings: Settings) -> Fit:
    """v({i}) − v(∅)."""
    return Fit(*fit_single_changes(evaluations, leave_out=False), "add_one_in")


def _complete(evaluations: Evaluations, values: FloatArray, estimator: str) -> Fit:
    """A regression on a complete table equals the exact formula, so it has the same covariance."""
    noise, diagnostics = _noise_of_table(evaluations)
    return Fit(values, exact_from_evaluations(evaluations, noise)[1], noise, estimator, diagnostics)


def _constant(evaluations: Evaluations, estimator: str) -> Fit:
    """All measured utilities are equal: every player gets the same, and nothing varies that could be an error."""
    n = evaluations.n_players
    share = (evaluations.v_grand - evaluations.v_empty) / n
    remark: dict[str, float | str] = {"constant_game": "all utilities are equal"}
    return Fit(np.full(n, share), np.zeros((n, n)), 0.0, estimator, remark)


def _bootstrap(evaluations: Evaluations, refit: Callable[[FloatArray], FloatArray], settings: Settings) -> FloatArray:
    return bootstrap_covariance(evaluations, refit, n_bootstrap=settings.n_bootstrap, seed=settings.seed)


def relative_difference(estimate: FloatArray, reference: FloatArray) -> float:
    """‖estimate − reference‖ / ‖reference‖ of centred values; 0 if both vanish."""
    gap = np.linalg.norm(estimate - estimate.mean() - reference + reference.mean())
    size = np.linalg.norm(reference - reference.mean())
    return float(gap / size) if size > 0.0 else (0.0 if gap == 0.0 else math.inf)


NOT_SHAPLEY = ("banzhaf", "datamodel", "loo", "add_one_in")

ESTIMATORS: dict[str, Callable[[Evaluations, Settings], Fit]] = {
    "gp": _gp,
    "size_adjusted": _size_adjusted,
    "kernel": _kernel,
    "kernel_exact": _kernel_exact,
    "permutation": _permutation,
    "banzhaf": _banzhaf,
    "datamodel": _datamodel,
    "loo": _loo,
    "add_one_in": _add_one_in,
    "exact": _exact,
}
"""Name → (collapsed rows, settings) → fit."""
