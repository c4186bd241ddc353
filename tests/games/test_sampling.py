from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groupshap.games import LAWS, all_coalitions, coalition_id, plan_coalitions, size_probabilities, task_ids

LAW_NAMES = sorted(LAWS)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(9, 40), budgets=st.tuples(st.integers(2, 250), st.integers(2, 250)), law=st.sampled_from(LAW_NAMES)
)
def test_a_larger_budget_extends_a_smaller_one(n, budgets, law):
    small, large = sorted(budgets)
    assert (plan_coalitions(n, small, seed=1, law=law) == plan_coalitions(n, large, seed=1, law=law)[:small]).all()


@pytest.mark.parametrize("n", range(1, 9))
def test_up_to_eight_players_the_plan_grows_into_the_enumeration(n):
    """One sequence for all budgets: no coalition twice before all 2**n were seen, a law-like sample before."""
    longest = plan_coalitions(n, 2**n + 30, seed=5)
    assert len({row.tobytes() for row in longest[: 2**n]}) == 2**n
    for budget in (2, 3, 2**n // 2 + 1, 2**n - 1, 2**n, 2**n + 1):
        if budget >= 2:
            np.testing.assert_array_equal(plan_coalitions(n, budget, seed=5), longest[:budget])
    if n == 8:
        assert set(longest[:24].sum(axis=1)) == set(range(9))


def test_enumerations_of_more_players_follow_the_law_from_the_start():
    plan = plan_coalitions(10, 1024, seed=0)
    assert len({row.tobytes() for row in plan}) == 1024
    assert set(plan[:24].sum(axis=1)) == set(range(11))


@pytest.mark.parametrize("law", [law for law in LAW_NAMES if law != "permutation"])
def test_rows_are_end_points_and_complementary_pairs(law):
    plan = plan_coalitions(20, 602, seed=4, law=law)
    assert plan.shape == (602, 20)
    assert plan.dtype == bool
    assert (plan[::2] == ~plan[1::2]).all()
    empty = np.flatnonzero(plan.sum(axis=1) == 0)
    assert empty.tolist() == [0, 198, 398, 598]


@pytest.mark.parametrize("n", [10, 11, 258])
@pytest.mark.parametrize("law", [law for law in LAW_NAMES if law != "permutation"])
def test_sizes_follow_the_law_within_three_rows(n, law):
    """Stratified sizes: independent draws would miss by 10 and more."""
    plan = plan_coalitions(n, 1000, seed=0, law=law)
    sizes = plan.sum(axis=1)
    inner = sizes[(sizes > 0) & (sizes < n)]
    observed = np.bincount(np.minimum(inner, n - inner), minlength=n // 2 + 1)[1 : n // 2 + 1] / 2
    p = size_probabilities(n, law)
    expected = np.bincount(np.minimum(np.arange(1, n), np.arange(n - 1, 0, -1)), weights=p)[1:] * len(inner) / 2
    assert np.abs(observed - expected).max() <= 3.5


def test_members_given_the_size_are_uniform():
    plan = plan_coalitions(12, 3000, seed=2, law="half")[:2998]
    rate = plan.mean(axis=0)
    assert np.abs(rate - 0.5).max() < 1e-12  # pairs balance every player exactly
    first = plan[2::2].mean(axis=0)
    assert np.abs(first - 0.5).max() < 5 * 0.5 / np.sqrt(1499)


def test_plans_depend_on_the_seed_only():
    first = plan_coalitions(30, 100, seed=7)
    assert (first == plan_coalitions(30, 100, seed=7)).all()
    assert (first != plan_coalitions(30, 100, seed=8)).any()


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_enumeration_when_all_coalitions_fit(n):
    plan = plan_coalitions(n, 2**n + 5, seed=0)
    assert {row.tobytes() for row in plan[: 2**n]} == {row.tobytes() for row in all_coalitions(n)}
    assert plan[0].sum() == 0
    assert plan[1].all()


def test_replicates_of_an_enumeration_go_to_the_heaviest_coalitions_and_stay_balanced():
    plan = plan_coalitions(4, 16 + 12, seed=0)
    sizes = plan[16:].sum(axis=1)
    # g(0) = g(4) = 1/4 and g(1) = g(3) = 1/12: a second replicate of ∅ and N, then a tie with all single players.
    assert sizes.tolist() == [0, 4, 0, 1, 1, 1, 1, 3, 3, 3, 3, 4]
    assert len(set(task_ids(plan))) == len(plan)


def test_permutation_plans_are_chains():
    plan = plan_coalitions(9, 2 + 16, seed=3, law="permutation")
    forward, backward = plan[2:10], plan[10:18]
    assert forward.sum(axis=1).tolist() == list(range(1, 9))
    assert (forward[:-1] <= forward[1:]).all()
    assert (backward == ~forward[::-1]).all()


def test_ten_thousand_players():
    plan = plan_coalitions(10_000, 20, seed=0)
    assert plan.shape == (20, 10_000)
    assert plan[0].sum() == 0


def test_ids_name_the_coalition_and_not_the_row():
    assert coalition_id(np.array([True, False])) == coalition_id(np.array([True, False]))
    assert coalition_id(np.zeros(8, bool)) != coalition_id(np.zeros(7, bool))
    assert len(coalition_id(np.zeros(8, bool))) == 16


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"n_players": 0, "budget": 10}, "n_players"),
        ({"n_players": 10_001, "budget": 10}, "10000"),
        ({"n_players": 5, "budget": 1}, "budget"),
        ({"n_players": 5, "budget": 6.5}, "whole number"),
        ({"n_players": 5, "budget": 10, "law": "uniform"}, "uniform_size"),
    ],
)
def test_bad_plans_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        plan_coalitions(**{"seed": 0, **arguments})
