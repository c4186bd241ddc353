"""Two fidelities: closed forms against enumeration and refits, and what the estimate promises."""

from __future__ import annotations

import time

import numpy as np
import pytest

from groupshap.games import (
    all_coalitions,
    estimate,
    estimate_two_fidelity,
    exact_shapley,
    plan_coalitions,
)
from groupshap.games.evaluations import collapse
from groupshap.games.exact import shapley_coefficients
from groupshap.games.subset_gp import PRIOR_MEAN, PRIOR_SD
from groupshap.games.two_fidelity_calibration import (
    DELTA_STEP,
    _last_level_twice,
    _posterior_directions,
    parameter_sensitivities,
)
from groupshap.games.two_fidelity_fit import fit_levels, level_data, level_objective
from groupshap.games.two_fidelity_model import Rows, condition_levels


def _pair_of_games(n, seed):
    """Tables of a saturating game and of a cheap one that remembers absent players, is bent in |S| and changed."""
    rng = np.random.default_rng(seed)
    weights, masks = rng.gamma(2.0, 1.0, n), all_coalitions(n)
    sizes = masks.sum(axis=1)

    def curve(worth):
        return 1.0 - np.exp(-3.0 * worth / weights.sum())

    wanted = curve(masks @ weights)
    change = (masks - 0.5) @ rng.normal(0.0, 0.01, n)
    cheap = 0.3 + 2.0 * curve(masks @ weights + 0.3 * (~masks @ weights)) + change + 0.1 * np.sin(4.0 * sizes / n)
    return wanted, cheap


def _measure(table, coalitions, noise, rng):
    codes = coalitions @ (1 << np.arange(coalitions.shape[1]))
    return table[codes] + noise * rng.standard_normal(len(codes))


def _data(n, n_wanted, n_cheap, seed, noise=0.01):
    wanted, cheap = _pair_of_games(n, seed)
    rng = np.random.default_rng(seed)
    first, second = plan_coalitions(n, n_wanted, seed=seed), plan_coalitions(n, n_cheap, seed=100 + seed)
    return (first, _measure(wanted, first, noise, rng), second, _measure(cheap, second, noise, rng)), wanted


def _random_model(n, n_levels, seed):
    """Random hyper-parameters, designs, replicates and utilities on two or three levels."""
    rng = np.random.default_rng(seed)
    everyone = all_coalitions(n)
    masks = np.vstack([everyone[rng.permutation(2**n)[:count]] for count in (9, 7, 5)[:n_levels]])
    levels = np.repeat(np.arange(n_levels), (9, 7, 5)[:n_levels])
    thetas = PRIOR_MEAN + 0.4 * PRIOR_SD * rng.standard_normal((n_levels, len(PRIOR_MEAN)))
    rows = Rows(masks, levels, rng.integers(1, 4, len(masks)).astype(float), rng.standard_normal(len(masks)))
    return condition_levels(rows, thetas, rng.normal(0.8, 0.3, n_levels - 1), np.tile([0.5, 2.0], (n_levels, 1)))


@pytest.mark.parametrize("n_levels", [2, 3])
def test_values_and_covariances_equal_enumeration(n_levels):
    n = 4
    model = _random_model(n, n_levels, seed=n_levels)
    everyone = all_coalitions(n)
    B = shapley_coefficients(everyone)
    top = np.full(2**n, model.top)
    mean, covariance, with_values = model.posterior(everyone, top)
    values, of_values = model.shapley()
    np.testing.assert_allclose(values, model.unit * B @ mean, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(of_values, model.unit**2 * B @ covariance @ B.T, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(with_values, covariance @ B.T, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(model.predict(everyone), 0.5 + 2.0 * mean, rtol=1e-10)


def test_leave_one_out_equals_refits_without_the_row():
    model = _random_model(4, 2, seed=5)
    residuals, variances = model.leave_one_out()
    rows = model.rows
    for number, row in enumerate(np.flatnonzero(model.interior_top)):
        kept = np.arange(len(rows.levels)) != row
        left = Rows(rows.masks[kept], rows.levels[kept], rows.replicates[kept], rows.standardised[kept])
        refit = condition_levels(left, model.thetas, model.rhos, model.scales)
        mean, covariance, _ = refit.posterior(rows.masks[[row]], rows.levels[[row]])
        noise = np.exp(model.thetas[1, 6]) / rows.replicates[row] + 1e-8
        assert residuals[number] == pytest.approx(model.unit * (rows.standardised[row] - mean[0]), rel=1e-6)
        assert variances[number] == pytest.approx(model.unit**2 * (covariance[0, 0] + noise), rel=1e-6)


def test_the_gradient_of_the_level_likelihood_equals_differences():
    (coalitions, utilities, cheap, cheap_utilities), _ = _data(6, 20, 40, seed=1)
    wanted = collapse(np.vstack([coalitions, coalitions[:3]]), np.append(utilities, utilities[:3] + 0.02))
    stages = fit_levels([collapse(cheap, cheap_utilities), wanted])
    model = stages[-1]
    own = model.rows.standardised[model.rows.levels == 1]
    data = level_data(stages[0], wanted, own, model.unit, np.arange(len(own)))
    parameters = np.append(0.6, model.thetas[1] + 0.3)
    _, gradient = level_objective(parameters, data)
    numeric = [
        (level_objective(parameters + move, data)[0] - level_objective(parameters - move, data)[0]) / 2e-5
        for move in 1e-5 * np.eye(len(parameters))
    ]
    np.testing.assert_allclose(gradient, numeric, rtol=1e-5, atol=1e-5)


def test_sensitivities_to_the_parameters_equal_refits_of_the_joint_process():
    (coalitions, utilities, cheap, cheap_utilities), _ = _data(5, 12, 24, seed=2)
    wanted = collapse(coalitions, utilities)
    lower = [collapse(cheap, cheap_utilities), collapse(cheap[:14], 0.4 * cheap_utilities[:14])]
    stages = fit_levels([*lower, wanted])
    below, model = stages[-2:]
    masks = np.vstack([all_coalitions(5)[3:9]] * 3)
    levels = np.repeat([0, 1, 2], 6)
    of_utilities, of_values = parameter_sensitivities(below, model, wanted, masks, levels)
    data, _, parameters = _last_level_twice(below, model, wanted)
    axes = _posterior_directions(parameters, data)
    mean, values = model.posterior(masks, levels)[0], model.shapley()[0]
    for axis, change, of_value in zip(axes, of_utilities, of_values, strict=True):
        moved = parameters + DELTA_STEP * axis
        thetas, rhos = np.vstack([model.thetas[:-1], moved[1:]]), np.append(model.rhos[:-1], moved[0] * data.ratio)
        refit = condition_levels(model.rows, thetas, rhos, model.scales)
        np.testing.assert_allclose(DELTA_STEP * change, refit.posterior(masks, levels)[0] - mean, atol=1e-7)
        np.testing.assert_allclose(DELTA_STEP * model.unit * of_value, refit.shapley()[0] - values, atol=1e-7)


def test_a_few_wanted_rows_with_cheap_ones_beat_either_alone():
    errors = []
    for seed in range(4):
        data, wanted = _data(7, 12, 60, seed)
        truth = exact_shapley(wanted)
        rivals = estimate_two_fidelity(*data), estimate(*data[:2]), estimate(*data[2:])
        errors.append([np.linalg.norm(rival.values - truth) / np.linalg.norm(truth) for rival in rivals])
    joint, alone, cheap = np.median(errors, axis=0)
    assert joint < 0.7 * alone
    assert joint < 0.5 * cheap


def test_unrelated_cheap_rows_do_no_harm_and_intervals_stay_honest():
    ratios, inside = [], []
    for seed in range(5):
        (coalitions, utilities, cheap, cheap_utilities), wanted = _data(6, 16, 40, seed)
        shuffled = np.random.default_rng(seed).permutation(cheap_utilities)
        truth, alone = exact_shapley(wanted), estimate(coalitions, utilities)
        result = estimate_two_fidelity(coalitions, utilities, cheap, shuffled)
        ratios.append(np.linalg.norm(result.values - truth) / np.linalg.norm(alone.values - truth))
        honest = estimate_two_fidelity(coalitions, utilities, cheap, cheap_utilities)
        low, high = honest.interval()
        inside.append(np.mean((low <= truth) & (truth <= high)))
    assert np.exp(np.mean(np.log(ratios))) < 1.1
    assert 0.85 <= np.mean(inside) <= 1.0


def test_the_result_depends_neither_on_the_order_of_rows_nor_on_the_units():
    data, _ = _data(6, 14, 50, seed=3)
    coalitions, utilities, cheap, cheap_utilities = data
    first = estimate_two_fidelity(*data)
    order, cheap_order = np.random.default_rng(0).permutation(14), np.random.default_rng(1).permutation(50)
    again = estimate_two_fidelity(coalitions[order], utilities[order], cheap[cheap_order], cheap_utilities[cheap_order])
    assert np.array_equal(first.values, again.values)
    assert np.array_equal(first.covariance, again.covariance)
    scaled = estimate_two_fidelity(coalitions, -3.0 * utilities + 5.0, cheap, -0.01 * cheap_utilities - 7.0)
    np.testing.assert_allclose(scaled.values, -3.0 * first.values, rtol=1e-2, atol=1e-3)
    assert first.efficiency_gap == pytest.approx(0.0, abs=1e-12)


def test_several_cheap_designs_and_nested_ones_are_accepted():
    data, wanted = _data(6, 14, 64, seed=4)
    coalitions, utilities, cheap, cheap_utilities = data
    rough = cheap_utilities + 0.1 * np.random.default_rng(0).standard_normal(64)
    two = estimate_two_fidelity(coalitions, utilities, [cheap, cheap[:40]], [rough, cheap_utilities[:40]])
    assert two.diagnostics["n_cheap_designs"] == 2
    truth = exact_shapley(wanted)
    assert np.linalg.norm(two.values - truth) < 0.3 * np.linalg.norm(truth)


def test_a_noisy_untrained_model_does_not_drown_the_players():
    (coalitions, utilities, cheap, cheap_utilities), _ = _data(6, 16, 50, seed=3)
    calm = estimate_two_fidelity(coalitions, utilities, cheap, cheap_utilities)
    # Two seeds of ∅ far apart, as of Fréchet distances of untrained networks; their mean is the old value.
    again = np.vstack([coalitions, coalitions[:1]])
    apart = np.append(np.where(np.arange(16) == 0, utilities[0] - 1.0, utilities), utilities[0] + 1.0)
    noisy = estimate_two_fidelity(again, apart, cheap, cheap_utilities)
    difference = noisy.values - calm.values
    assert np.linalg.norm(difference - difference.mean()) < 0.3 * np.linalg.norm(calm.standard_errors)
    assert noisy.standard_errors.mean() > 1.4 * calm.standard_errors.mean(), (
        "the common level is uncertain, and says so"
    )


def test_fall_backs_say_so():
    data, _ = _data(5, 14, 32, seed=2)
    coalitions, utilities, cheap, cheap_utilities = data
    constant = estimate_two_fidelity(coalitions, utilities, cheap, np.ones(32))
    assert constant.estimator == "gp"
    assert "every cheap game is constant" in constant.diagnostics["fall_back"]
    assert np.array_equal(constant.values, estimate(coalitions, utilities).values)
    full = plan_coalitions(5, 32, seed=0)
    complete = estimate_two_fidelity(full, full.sum(axis=1) ** 0.5, cheap, cheap_utilities)
    assert complete.estimator == "exact"
    assert "all coalitions of the wanted game" in complete.diagnostics["fall_back"]
    # An additive wanted game without noise needs no help, least of all from noise.
    weights = np.arange(1.0, 9.0)
    plan, other = plan_coalitions(8, 40, seed=0), plan_coalitions(8, 64, seed=1)
    noise = np.random.default_rng(0).standard_normal(64)
    result = estimate_two_fidelity(plan, plan @ weights, other, noise)
    np.testing.assert_allclose(result.values, weights, atol=0.05)


def test_refusals_name_the_design_and_what_is_missing():
    data, _ = _data(5, 12, 30, seed=0)
    coalitions, utilities, cheap, cheap_utilities = data
    with pytest.raises(ValueError, match=r"wanted design.*missing: empty coalition"):
        estimate_two_fidelity(coalitions[1:], utilities[1:], cheap, cheap_utilities)
    broken = np.where(np.arange(30) == 3, np.nan, cheap_utilities)
    with pytest.raises(ValueError, match=r"cheap design 1.*finite"):
        estimate_two_fidelity(coalitions, utilities, [cheap, cheap], [cheap_utilities, broken])
    with pytest.raises(ValueError, match="same players in every design"):
        estimate_two_fidelity(plan_coalitions(6, 12, seed=0), utilities, cheap, cheap_utilities)
    with pytest.raises(ValueError, match=r"at least 4 distinct.*got 3.*plan_coalitions\(5, 6"):
        estimate_two_fidelity(coalitions[:5], utilities[:5], cheap, cheap_utilities)
    with pytest.raises(ValueError, match="as many `cheap_utilities`"):
        estimate_two_fidelity(coalitions, utilities, [cheap], [cheap_utilities, cheap_utilities])
    with pytest.raises(ValueError, match="at least one cheap design"):
        estimate_two_fidelity(coalitions, utilities, [], [])


def test_six_wanted_rows_are_enough_and_six_hundred_cheap_ones_fit_in_time():
    rng = np.random.default_rng(0)
    weights, cheap = rng.random(30), plan_coalitions(30, 600, seed=0)
    coalitions = plan_coalitions(30, 12, seed=1)
    start = time.perf_counter()
    result = estimate_two_fidelity(
        coalitions[:6], np.sqrt(coalitions[:6] @ weights), cheap, 0.5 * np.sqrt(0.3 + cheap @ weights)
    )
    assert time.perf_counter() - start < 15.0
    assert "not compared" in result.diagnostics["comparison"]
    assert np.corrcoef(result.values, weights)[0, 1] > 0.9
