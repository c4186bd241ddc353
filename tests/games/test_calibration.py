from __future__ import annotations

import numpy as np
import pytest

from groupshap.games import estimate, plan_coalitions
from groupshap.games.committee import fit_committee
from groupshap.games.evaluations import collapse
from groupshap.games.subset_gp import fit_subset_gp, shapley_moments
from groupshap.games.subset_kernel import geometry
from toy_games import ToyGame, additive, random_unanimity


def _measure(game: ToyGame, budget: int, seed: int, noise: float):
    plan = plan_coalitions(game.n_players, budget, seed=seed)
    return plan, game(plan) + noise * np.random.default_rng(seed).standard_normal(budget)


@pytest.mark.parametrize("noise", [0.2, 1.0])
def test_default_intervals_cover_about_as_often_as_they_say(noise):
    """25 games of 12 players: 300 intervals, correlated within a game."""
    inside = []
    for seed in range(25):
        game = random_unanimity(12, 40, seed)
        low, high = estimate(*_measure(game, 128, seed, noise)).interval(0.95)
        inside.append(((low <= game.shapley) & (game.shapley <= high)).mean())
    assert 0.88 <= np.mean(inside) <= 0.995


def test_replicates_tell_noise_from_misfit():
    """Every row twice: the process takes the noise from the replicates, whatever its kernel misses."""
    game = random_unanimity(12, 60, 1)
    plan = plan_coalitions(12, 150, seed=0)
    twice = np.vstack([plan, plan])
    for noise in (0.05, 0.5):
        y = game(twice) + noise * np.random.default_rng(3).standard_normal(len(twice))
        model = fit_subset_gp(collapse(twice, y))
        assert noise**2 / 1.6 < model.noise_variance < noise**2 * 1.6


def test_a_committee_agrees_with_the_whole_process():
    """Differences stay below the reported errors, which are not smaller by more than a fifth."""
    game = additive(np.linspace(-1.0, 1.0, 20))
    evaluations = collapse(*_measure(game, 600, 0, 0.5))
    values, covariance = fit_subset_gp(evaluations).shapley()
    committee = fit_committee(evaluations, rows_per_block=200)
    assert committee.n_blocks == 3
    errors = np.sqrt(np.diag(covariance - covariance.mean()))
    centred = (committee.values - committee.values.mean()) - (values - values.mean())
    assert np.abs(centred).max() < 0.7 * errors.max()
    ratio = np.diag(committee.covariance - committee.covariance.mean()) / np.diag(covariance - covariance.mean())
    assert 0.64 < ratio.mean() < 1.3


@pytest.mark.parametrize("n", [7, 200])
def test_moments_at_any_hyper_parameters_are_those_of_the_process(n):
    model = fit_subset_gp(evaluations := collapse(*_measure(additive(np.linspace(-1.0, 1.0, n)), 60, 0, 0.3)))
    y = (evaluations.utilities - model.mean) / model.scale
    shape = geometry(model.masks, model.masks)
    mean, trace = shapley_moments(model.theta, model.masks, shape, evaluations.replicates, y)
    values, covariance = model.shapley()
    np.testing.assert_allclose(model.scale * mean, values, atol=1e-9 * np.abs(values).max())
    expected = (np.trace(covariance) - covariance.sum() / n) / model.scale**2
    assert trace == pytest.approx(expected, rel=1e-6 if n <= 128 else 0.05)


def test_uncertain_hyper_parameters_widen_the_errors_of_few_rows_more():
    game = random_unanimity(12, 40, 0)
    factors = [estimate(*_measure(game, budget, 0, 0.3)).diagnostics["hyperparameter_factor"] for budget in (24, 256)]
    assert factors[0] > factors[1] >= 1.0
    assert factors[1] < 1.1
