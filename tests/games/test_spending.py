"""Where to spend: the greedy choice against brute force, its budget, its determinism, its taste."""

from __future__ import annotations

import numpy as np
import pytest

from groupshap.games import NextEvaluations, all_coalitions, next_evaluations, plan_coalitions
from groupshap.games.evaluations import collapse
from groupshap.games.spending import _candidates, _greedy
from groupshap.games.two_fidelity_fit import fit_levels
from groupshap.games.two_fidelity_model import Rows, condition_levels


def _designs(n=6, n_wanted=12, n_cheap=24, seed=0):
    rng = np.random.default_rng(seed)
    weights = rng.gamma(2.0, 1.0, n)

    def measure(coalitions, absent, noise):
        worth = (coalitions @ weights + absent * (~coalitions @ weights)) / weights.sum()
        return 1.0 - np.exp(-3.0 * worth) + noise * rng.standard_normal(len(coalitions))

    wanted, cheap = plan_coalitions(n, n_wanted, seed=seed), plan_coalitions(n, n_cheap, seed=50 + seed)
    return wanted, measure(wanted, 0.0, 0.02), cheap, measure(cheap, 0.3, 0.02)


def test_the_expected_error_is_what_conditioning_on_the_batch_gives():
    coalitions, utilities, cheap, cheap_utilities = _designs()
    stages = fit_levels([collapse(cheap, cheap_utilities), collapse(coalitions, utilities)])
    model = stages[-1]
    everyone = all_coalitions(6)
    masks, levels = np.vstack([everyone, everyone]), np.repeat([0, 1], len(everyone))
    candidates = _candidates(stages, collapse(coalitions, utilities), masks, levels, np.tile([[1.0], [8.0]], 7))
    # Without the part of the hyper-parameters, which has no counterpart in a model at fixed hyper-parameters.
    _, covariance, with_values = model.posterior(masks, levels)
    trace = np.trace(model.shapley()[1]) / model.unit**2
    plain = type(candidates)(masks, levels, candidates.noise, candidates.seconds, covariance, with_values, trace)
    batch = _greedy(plain, 5, np.inf, model.unit)
    rows = Rows(
        np.vstack([model.rows.masks, batch.coalitions]),
        np.append(model.rows.levels, batch.levels),
        np.append(model.rows.replicates, np.ones(5)),
        np.append(model.rows.standardised, np.zeros(5)),  # covariances do not depend on utilities
    )
    grown = condition_levels(rows, model.thetas, model.rhos, model.scales)
    expected = np.sqrt(np.trace(grown.shapley()[1]) / 6)
    assert batch.expected_errors[-1] == pytest.approx(expected, rel=1e-3)
    first = [
        (trace - model.unit**-2 * np.trace(_with_row(model, masks[row], levels[row]).shapley()[1]))
        / (1.0, 8.0)[levels[row]]
        for row in range(0, len(masks), 7)
    ]
    gain = (trace - (batch.expected_errors[1] / model.unit) ** 2 * 6) / batch.seconds[0]
    assert gain >= max(first) - 1e-9


def _with_row(model, mask, level):
    rows = model.rows
    added = Rows(
        np.vstack([rows.masks, mask]),
        np.append(rows.levels, level),
        np.append(rows.replicates, 1.0),
        np.append(rows.standardised, 0.0),
    )
    return condition_levels(added, model.thetas, model.rhos, model.scales)


def test_the_choice_is_deterministic_within_budget_and_lowers_the_error():
    data = _designs(n=10)
    options = {"seconds": [3.0, 25.0], "n_evaluations": 12, "budget_seconds": 120.0, "n_candidates": 60, "seed": 4}
    first, again = next_evaluations(*data, **options), next_evaluations(*data, **options)
    assert isinstance(first, NextEvaluations)
    assert np.array_equal(first.coalitions, again.coalitions)
    assert np.array_equal(first.levels, again.levels)
    assert 0 < len(first) <= 12
    assert first.seconds.sum() <= 120.0
    assert (np.diff(first.expected_errors) < 0.0).all()
    assert len(first.of_level(0)) + len(first.of_level(1)) == len(first)


def test_price_decides_between_the_fidelities():
    data = _designs()
    dear = next_evaluations(*data, seconds=[1.0, 1e6], n_evaluations=6)
    equal = next_evaluations(*data, seconds=[1.0, 1.0], n_evaluations=6)
    assert (dear.levels == 0).all(), "nothing else is affordable in proportion"
    assert (equal.levels == 1).all(), "at equal price a row of the wanted game tells more"
    free_start = next_evaluations(*data, seconds=[1.0, np.r_[1e-3, np.ones(6)]], n_evaluations=1)
    assert free_start.levels[0] == 1
    assert not free_start.coalitions[0].any(), "an untrained model costs next to nothing"
    nothing = next_evaluations(*data, seconds=[5.0, 5.0], budget_seconds=1.0)
    assert len(nothing) == 0
    assert len(nothing.expected_errors) == 1


def test_no_coalition_is_measured_more_often_than_allowed():
    wanted, utilities, cheap, cheap_utilities = _designs()
    # ∅ twice, with seeds so far apart that its measurements count for little: they are two all the same.
    wanted, utilities = np.vstack([wanted, wanted[:1]]), np.append(utilities, utilities[0] + 50.0)
    assert not wanted[-1].any()
    batch = next_evaluations(
        wanted, utilities, cheap, cheap_utilities, seconds=[1.0, 2.0], n_evaluations=500, max_replicates=[1, 2]
    )
    rows = {0: [*cheap, *batch.of_level(0)], 1: [*wanted, *batch.of_level(1)]}
    for level, most in ((0, 1), (1, 2)):
        counts = np.unique(np.array(rows[level]), axis=0, return_counts=True)[1]
        assert (counts == most).all(), "everything allowed was taken, and no more"
        assert len(counts) == 64


def test_bad_costs_are_refused():
    with pytest.raises(ValueError, match="one cost per design, 2 in all"):
        next_evaluations(*_designs(), seconds=[3.0])
    with pytest.raises(ValueError, match="finite, positive `seconds`"):
        next_evaluations(*_designs(), seconds=[0.0, 3.0])
    with pytest.raises(ValueError, match="`n_evaluations`"):
        next_evaluations(*_designs(), seconds=[1.0, 3.0], n_evaluations=0)
    with pytest.raises(ValueError, match="`max_replicates` to hold 2 numbers"):
        next_evaluations(*_designs(), seconds=[1.0, 3.0], max_replicates=[1])
