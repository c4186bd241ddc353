from __future__ import annotations

import numpy as np
import pytest

from groupshap.games import (
    ShapleyValues,
    all_coalitions,
    evaluations_to_converge,
    exact_interactions,
    is_converged,
    lds,
    plan_coalitions,
    predicted_spearman,
    relative_standard_error,
    shapley_interactions,
    size_curve,
    spearman,
    split_half,
    uniform_fraction_coalitions,
)
from toy_games import additive, shoes


def _values(values, standard_error):
    n = len(values)
    return ShapleyValues(
        np.array(values), np.diag(np.full(n, standard_error**2)), 100, "gp", "uniform_size", 0.0, sum(values)
    )


def test_spearman_equals_scipy_with_ties():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 5, 40), rng.integers(0, 5, 40)
    assert spearman(first, second) == pytest.approx(spearmanr(first, second)[0])
    assert np.isnan(spearman(first, np.ones(40)))


def test_lds_is_one_for_an_additive_game_and_blind_to_a_common_shift():
    game = additive(np.arange(10.0) ** 2)
    held_out = uniform_fraction_coalitions(10, 50, seed=0)
    assert lds(game.shapley, held_out, game(held_out)) == pytest.approx(1.0)
    assert lds(game.shapley + 7.0, held_out, game(held_out)) == pytest.approx(1.0)


def test_convergence_rule_and_the_price_of_going_on():
    values = _values([0.0, 1.0, 2.0], 0.4)
    assert relative_standard_error(values) == pytest.approx(0.2)
    assert not is_converged(values, 0.1)
    assert evaluations_to_converge(values, 0.1) == 300
    assert is_converged(values, 0.21)
    assert not is_converged(_values([1.0, 1.0], 0.1))
    assert is_converged(_values([1.0, 1.0], 0.0))
    with pytest.raises(ValueError, match="target_relative_error"):
        is_converged(values, 0.0)


def test_predicted_spearman_falls_with_the_error():
    certain, vague = _values(np.arange(8.0), 0.01), _values(np.arange(8.0), 10.0)
    assert predicted_spearman(certain) > 0.99
    assert predicted_spearman(vague) < 0.7
    assert np.isnan(predicted_spearman(_values(np.arange(8.0), np.inf)))


def test_split_half_agrees_where_the_signal_is_clear():
    game = additive(np.arange(10.0))
    plan = plan_coalitions(10, 128, seed=0)
    agreement = split_half(plan, game(plan) + 0.1 * np.random.default_rng(0).standard_normal(128))
    assert agreement.spearman > 0.95
    assert agreement.relative_l2 < 0.1


def test_interactions_of_a_pairwise_game_are_its_coefficients():
    n, rng = 8, np.random.default_rng(0)
    pairs = np.triu(rng.normal(size=(n, n)), 1)

    def game(masks):
        return np.einsum("ri,ij,rj->r", masks * 1.0, pairs, masks * 1.0)

    expected = exact_interactions(game(all_coalitions(n)))
    np.testing.assert_allclose(expected, pairs + pairs.T, atol=1e-12)
    plan = plan_coalitions(n, 200, seed=0)
    result = shapley_interactions(plan, game(plan))
    np.testing.assert_allclose(result.values, expected, atol=0.1)
    assert (result.standard_errors[np.triu_indices(n, 1)] > 0).all()


def test_size_curve_explains_a_game_of_sizes():
    game = shoes(10, 10)
    plan = plan_coalitions(20, 200, seed=0)
    curve = size_curve(plan, game(plan))
    assert curve.curve.shape == (21,)
    assert curve.r_squared > 0.8
    assert curve.predicted_saving > 1.0
    additive_plan = size_curve(plan, plan @ np.linspace(-1, 1, 20))
    assert additive_plan.r_squared < curve.r_squared
