"""The closed forms of the Gaussian process against enumeration, differences and refits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groupshap.games import all_coalitions, exact_interactions, plan_coalitions
from groupshap.games.evaluations import collapse
from groupshap.games.exact import shapley_coefficients
from groupshap.games.interactions import interactions_of
from groupshap.games.subset_gp import (
    PRIOR_MEAN,
    PRIOR_SD,
    condition,
    fit_subset_gp,
    objective,
)
from groupshap.games.subset_kernel import components, geometry, prior_covariance


def _random_model(n, seed, n_rows=12):
    """Random θ, rows, replicates and utilities: nothing about them is typical."""
    rng = np.random.default_rng(seed)
    theta = PRIOR_MEAN + 0.5 * PRIOR_SD * rng.standard_normal(len(PRIOR_SD))
    inner = all_coalitions(n)[1:-1]
    rows = inner[rng.permutation(len(inner))[:n_rows]]
    masks = np.vstack([np.zeros(n, bool), np.ones(n, bool), rows])
    replicates = rng.integers(1, 4, len(masks)).astype(float)
    y = rng.standard_normal(len(masks))
    return condition(masks, replicates, theta, (0.7, 2.0), y), replicates, y


def _kernel(theta, first, second):
    return sum(components(theta, geometry(first, second)))


@pytest.mark.parametrize("n", range(2, 9))
def test_operators_equal_enumeration(n):
    model, _, _ = _random_model(n, seed=n)
    everyone = all_coalitions(n)
    B = shapley_coefficients(everyone)
    P = B @ _kernel(model.theta, everyone, model.masks)
    scale = np.abs(P).max()
    np.testing.assert_allclose(model.shapley_operator(), P.T, atol=1e-12 * scale)
    Pi = B @ _kernel(model.theta, everyone, everyone) @ B.T
    np.testing.assert_allclose(prior_covariance(model.theta, n), Pi, atol=1e-12 * np.abs(Pi).max())
    values, covariance = model.shapley()
    np.testing.assert_allclose(values, B @ model.predict(everyone), atol=1e-10 * np.abs(values).max())
    assert np.linalg.eigvalsh(covariance).min() > -1e-8 * np.abs(Pi).max()


@pytest.mark.parametrize("n", range(2, 9))
def test_size_curve_is_the_mean_prediction_per_size(n):
    model, _, _ = _random_model(n, seed=20 + n)
    everyone = all_coalitions(n)
    predicted, sizes = model.predict(everyone), everyone.sum(axis=1)
    means = [predicted[sizes == size].mean() for size in range(n + 1)]
    np.testing.assert_allclose(model.size_curve(np.arange(n + 1)), means, atol=1e-10 * np.abs(means).max())


@pytest.mark.parametrize("n", range(2, 9))
def test_interactions_equal_enumeration(n):
    model, replicates, _ = _random_model(n, seed=40 + n)
    everyone = all_coalitions(n)
    result = interactions_of(model)
    expected = exact_interactions(model.predict(everyone))
    np.testing.assert_allclose(result.values, expected, atol=1e-9 * np.abs(expected).max())
    # Posterior variance of the index of (0, 1) by brute force.
    operator = np.array([exact_interactions(column)[0, 1] for column in np.eye(2**n)])
    K = _kernel(model.theta, model.masks, model.masks) + np.diag(np.exp(model.theta[6]) / replicates + 1e-8)
    cross = operator @ _kernel(model.theta, everyone, model.masks)
    variance = operator @ _kernel(model.theta, everyone, everyone) @ operator - cross @ np.linalg.solve(K, cross)
    np.testing.assert_allclose(
        result.standard_errors[0, 1] ** 2, model.scale**2 * result.inflation * variance, rtol=1e-5, atol=1e-9
    )


@pytest.mark.parametrize("seed", range(4))
def test_gradient_equals_central_differences(seed):
    model, replicates, y = _random_model(6, seed=60 + seed, n_rows=20)
    shape, step = geometry(model.masks, model.masks), 1e-5
    _, gradient = objective(model.theta, shape, y, replicates)
    differences = [
        (
            objective(model.theta + move, shape, y, replicates)[0]
            - objective(model.theta - move, shape, y, replicates)[0]
        )
        / (2 * step)
        for move in step * np.eye(len(PRIOR_SD))
    ]
    np.testing.assert_allclose(gradient, differences, rtol=1e-5, atol=1e-6)


def test_leave_one_out_equals_refits_without_the_row():
    model, replicates, y = _random_model(6, seed=80)
    residuals, variances = model.leave_one_out()
    for row in range(len(y)):
        keep = np.arange(len(y)) != row
        part = condition(model.masks[keep], replicates[keep], model.theta, (model.mean, model.scale), y[keep])
        predicted = part.predict(model.masks[[row]])[0]
        assert residuals[row] == pytest.approx(model.mean + model.scale * y[row] - predicted, rel=1e-9, abs=1e-9)
    assert (variances > 0).all()


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_values_are_linear_in_the_utilities_at_fixed_hyper_parameters(seed):
    model, replicates, y = _random_model(7, seed=seed)
    other = np.random.default_rng(seed + 1).standard_normal(len(y))

    def values(utilities):
        return condition(model.masks, replicates, model.theta, (0.0, 1.0), utilities).shapley()[0]

    expected = 2.0 * values(y) - values(other)
    np.testing.assert_allclose(values(2.0 * y - other), expected, atol=1e-8 * np.abs(expected).max())


def test_averaged_replicates_equal_separate_rows():
    model, replicates, y = _random_model(5, seed=90)
    repeated = np.repeat(np.arange(len(y)), replicates.astype(int))
    shape = geometry(model.masks[repeated], model.masks[repeated])
    K = sum(components(model.theta, shape)) + (np.exp(model.theta[6]) + 1e-8) * np.eye(len(repeated))
    values = model.scale * model.shapley_operator()[repeated].T @ np.linalg.solve(K, y[repeated])
    np.testing.assert_allclose(model.shapley()[0], values, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n", [10, 30, 50])
def test_noise_free_additive_game_is_recovered_from_four_rows_per_player(n):
    truth = np.random.default_rng(n).normal(size=n)
    plan = plan_coalitions(n, 4 * n, seed=1)
    values, _ = fit_subset_gp(collapse(plan, plan @ truth)).shapley()
    assert np.linalg.norm(values - truth) < 2e-3 * np.linalg.norm(truth)
