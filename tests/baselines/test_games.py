"""What is read from the table of utilities, and the game without training."""

from __future__ import annotations

import numpy as np
import pytest

from groupshap.baselines.from_utilities import values_from_utilities
from groupshap.baselines.proxy_game import ProxyGame, apportion, proxy_shapley
from groupshap.games import all_coalitions, exact_shapley, leave_one_out_coalitions

WORTH = np.array([3.0, -1.0, 0.5, 0.0, 2.0])
NAMES = ["ann", "bob", "cy", "di", "eve"]


@pytest.mark.parametrize("estimator", ["loo", "add_one_in", "banzhaf", "datamodel"])
def test_all_of_them_agree_on_an_additive_game(estimator):
    coalitions = all_coalitions(5)
    found = values_from_utilities(
        estimator, coalitions, {"x": 7 + coalitions @ WORTH, "y": -(coalitions @ WORTH)}, NAMES
    )
    tolerance = 0.1 if estimator == "datamodel" else 1e-9  # a ridge shrinks
    np.testing.assert_allclose(found["x"], WORTH, atol=tolerance)
    np.testing.assert_allclose(found["y"], -WORTH, atol=tolerance)


def test_missing_coalitions_are_named():
    coalitions = leave_one_out_coalitions(5)[:-1]
    utilities = {"x": coalitions @ WORTH}
    with pytest.raises(ValueError, match=r"missing in the table of utilities: all but eve\.$"):
        values_from_utilities("loo", coalitions, utilities, NAMES)
    with pytest.raises(ValueError, match=r"missing in the table of utilities: ann; bob; cy; di; eve\.$"):
        values_from_utilities("add_one_in", coalitions, utilities, NAMES)


def brightness(images):
    return float(images.mean())


def test_whole_numbers_are_as_proportional_as_can_be():
    assert apportion(np.array([1, 1, 1]), 10).tolist() == [4, 3, 3]
    assert apportion(np.array([1, 0, 3]), 8).tolist() == [2, 0, 6]
    assert apportion(np.array([0.1, 0.2, 0.7]), 10).tolist() == [1, 2, 7]


def test_the_proxy_game_mixes_what_the_model_draws_for_the_members():
    shades, sizes = np.array([10, 40, 200, 90]), np.array([1, 1, 2, 4])
    pools = [np.full((8, 3, 2, 2), shade, dtype=np.uint8) for shade in shades]
    game = ProxyGame(pools, sizes, brightness, v_empty=5.0, n_images=8)
    coalitions = all_coalitions(4)
    weights = coalitions * sizes
    exact = coalitions.any(axis=1) & (8 % np.maximum(weights.sum(axis=1), 1) == 0)
    np.testing.assert_allclose(game(coalitions)[exact], (weights @ shades / np.maximum(weights.sum(axis=1), 1))[exact])
    assert game(coalitions)[0] == 5
    values = proxy_shapley(game, 4, 16, seed=0)
    np.testing.assert_allclose(values.values, exact_shapley(game(coalitions)), atol=1e-9)
    assert values.estimator == "exact"


def test_two_conditions_that_draw_the_same_get_the_same_and_few_coalitions_do():
    rng = np.random.default_rng(0)
    pools = [rng.integers(0, 256, (12, 1, 2, 2), dtype=np.uint8) for _ in range(6)]
    pools[3] = pools[0]
    game = ProxyGame(pools, np.full(6, 10), brightness, v_empty=0.0, n_images=12)
    exact = exact_shapley(game(all_coalitions(6)))
    assert exact[0] == pytest.approx(exact[3], abs=1.0)  # rounding to whole images prefers the first
    assert np.corrcoef(proxy_shapley(game, 6, 40, seed=0).values, exact)[0, 1] > 0.9


def test_a_pool_must_be_enough_for_a_coalition_of_one():
    pools = [np.zeros((4, 1, 2, 2), dtype=np.uint8), np.zeros((3, 1, 2, 2), dtype=np.uint8)]
    with pytest.raises(ValueError, match="the smallest of 3"):
        ProxyGame(pools, np.array([1, 1]), brightness, 0.0, 4)
