from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groupshap.games import (
    ESTIMATORS,
    ShapleyValues,
    add_one_in_coalitions,
    all_coalitions,
    estimate,
    exact_banzhaf,
    exact_shapley,
    leave_one_out_coalitions,
    plan_coalitions,
)
from groupshap.games.evaluations import collapse
from groupshap.games.regression import fit_size_adjusted, row_weights, size_columns
from toy_games import ToyGame, additive, airport, random_unanimity, shoes, toy_games

SHAPLEY = ("gp", "size_adjusted", "kernel", "kernel_exact", "permutation", "exact")
SAMPLED = ("gp", "size_adjusted", "kernel")
GAMES = [pytest.param(game, id=game.name) for game in toy_games()]


def _noisy(game: ToyGame, plan, noise, seed=0):
    return game(plan) + noise * np.random.default_rng(seed).standard_normal(len(plan))


@pytest.mark.parametrize("game", GAMES)
def test_enumeration_gives_the_closed_form_values(game):
    np.testing.assert_allclose(exact_shapley(game(all_coalitions(game.n_players))), game.shapley, atol=1e-12)


@pytest.mark.parametrize("game", GAMES)
@pytest.mark.parametrize("estimator", SHAPLEY)
def test_every_shapley_estimator_is_exact_on_a_complete_table(game, estimator):
    """Also with unequal replicates: the plan repeats some coalitions."""
    plan = plan_coalitions(game.n_players, 2**game.n_players + 20, seed=0)
    result = estimate(plan, game(plan), estimator=estimator)
    np.testing.assert_allclose(result.values, game.shapley, atol=1e-10)
    assert result.law == "enumerated"
    assert abs(result.efficiency_gap) < 1e-10


def test_exact_table_covariance_is_that_of_the_formula():
    """Monte Carlo over noise with replicated rows: reported variances are the true ones."""
    game = airport([1, 2, 3])
    plan = plan_coalitions(3, 40, seed=0)
    results = [estimate(plan, _noisy(game, plan, 0.3, seed), estimator="exact") for seed in range(400)]
    spread = np.cov(np.array([result.values for result in results]), rowvar=False)
    reported = np.mean([result.covariance for result in results], axis=0)
    np.testing.assert_allclose(reported, spread, atol=0.25 * spread.max())


@pytest.mark.parametrize("estimator", SAMPLED)
@pytest.mark.parametrize("n", [10, 14])
def test_error_is_small_compared_with_the_values(estimator, n):
    game = additive(np.linspace(1.0, 2.0, n))
    plan = plan_coalitions(n, 128, seed=1)
    result = estimate(plan, _noisy(game, plan, 0.1), estimator=estimator)
    assert np.linalg.norm(result.values - game.shapley) < 0.1 * np.linalg.norm(game.shapley)
    assert result.n_evaluations == 128
    assert result.covariance.shape == (n, n)
    assert (result.standard_errors > 0).all()


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6), estimator=st.sampled_from(SAMPLED))
def test_efficiency_null_change_and_equivariance(seed, estimator):
    """Σφ = v(N) − v(∅) to rounding; an affine change of the utility changes the values likewise."""
    game = random_unanimity(9, 20, seed)
    plan = plan_coalitions(9, 64, seed=seed)
    y = _noisy(game, plan, 0.1, seed)
    first, second = estimate(plan, y, estimator=estimator), estimate(plan, 5.0 - 3.0 * y, estimator=estimator)
    assert abs(first.values.sum() - (first.v_grand - first.v_empty)) < 1e-9
    if first.estimator == second.estimator:
        scale = np.abs(first.values).max()
        np.testing.assert_allclose(second.values, -3.0 * first.values, atol=2e-4 * scale)


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10**6), estimator=st.sampled_from((*SAMPLED, "kernel_exact")), budget=st.sampled_from((60, 250))
)
def test_renaming_players_and_shuffling_rows_change_nothing_else(seed, estimator, budget):
    rng = np.random.default_rng(seed)
    game = random_unanimity(11, 20, seed)
    plan = plan_coalitions(11, budget, seed=seed)
    y = _noisy(game, plan, 0.2, seed)
    reference = estimate(plan, y, estimator=estimator)
    rows, players = rng.permutation(budget), rng.permutation(11)
    shuffled = estimate(plan[rows], y[rows], estimator=estimator)
    np.testing.assert_array_equal(shuffled.values, reference.values)
    renamed = estimate(plan[:, players], y, estimator=estimator)
    np.testing.assert_allclose(renamed.values, reference.values[players], rtol=1e-6, atol=1e-8)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), estimator=st.sampled_from(("kernel", "kernel_exact")))
def test_linearity_of_the_regressions(seed, estimator):
    first, second = random_unanimity(8, 15, seed), random_unanimity(8, 15, seed + 1)
    plan = plan_coalitions(8, 100, seed=seed)

    def values(y):
        return estimate(plan, y, estimator=estimator, n_bootstrap=2).values

    np.testing.assert_allclose(
        values(2.0 * first(plan) - second(plan)), 2.0 * values(first(plan)) - values(second(plan)), atol=1e-9
    )


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 7))
def test_axioms_on_complete_tables(seed, n):
    """Null player and symmetry: player 0 adds nothing, the last two players are interchangeable."""
    rng = np.random.default_rng(seed)
    masks = all_coalitions(n)
    if n > 2:
        codes = masks[:, 1:-2] @ (1 << np.arange(n - 3))
        y = rng.normal(size=(3, 2**n))[masks[:, -2:].sum(axis=1), codes]
    else:
        y = rng.normal(size=2**n)
    result = estimate(masks, y)
    if n > 2:
        assert abs(result.values[0]) < 1e-12
        assert result.values[-1] == pytest.approx(result.values[-2], abs=1e-12)
    assert result.values.sum() == pytest.approx(y[-1] - y[0], abs=1e-12)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), estimator=st.sampled_from(SAMPLED))
def test_symmetric_players_get_the_same(seed, estimator):
    """Rows and their images under swapping the last two players, in a game that does not tell them apart."""
    rng = np.random.default_rng(seed)
    plan = plan_coalitions(10, 60, seed=seed)
    rows = np.vstack([plan, plan[:, [*range(8), 9, 8]]])
    y = np.tile(np.log1p(plan[:, :8] @ rng.random(8) + 2.0 * plan[:, 8:].sum(axis=1)), 2)
    assert len({mask.tobytes() for mask in plan[:, 8:]}) > 2
    values = estimate(rows, y, estimator=estimator).values
    assert values[8] == pytest.approx(values[9], abs=1e-6 * np.abs(values).max())


def test_exact_matrix_regression_reproduces_brute_force():
    """The expectation of b over the kernel, put into the closed form, is the Shapley value."""
    game = random_unanimity(6, 25, seed=9)
    masks = all_coalitions(6)
    result = estimate(masks, game(masks), estimator="kernel_exact")
    np.testing.assert_allclose(result.values, game.shapley, atol=1e-12)


@pytest.mark.parametrize("estimator", SAMPLED)
def test_duplicates_are_replicates(estimator):
    """Twice the same rows with opposite errors equal the rows without errors, apart from the smaller noise."""
    game = shoes(4, 6)
    plan = plan_coalitions(10, 120, seed=2)
    error = 0.2 * np.random.default_rng(0).standard_normal(len(plan))
    doubled = estimate(np.vstack([plan, plan]), np.r_[game(plan) + error, game(plan) - error], estimator=estimator)
    single = estimate(plan, game(plan), estimator=estimator)
    assert doubled.n_evaluations == 240
    assert doubled.diagnostics["seed_freedom"] > 100
    np.testing.assert_allclose(doubled.values, single.values, atol=0.02)


def test_constant_game_gives_zero_everywhere():
    for estimator in ("gp", "size_adjusted", "kernel"):
        plan = plan_coalitions(10, 60, seed=0)
        result = estimate(plan, np.full(60, 0.1), estimator=estimator)
        np.testing.assert_allclose(result.values, 0.0, atol=1e-12)
        np.testing.assert_allclose(result.standard_errors, 0.0, atol=1e-12)


def test_one_and_two_players():
    one = estimate(plan_coalitions(1, 4, seed=0), np.array([1.0, 3.0, 1.2, 3.2]))
    np.testing.assert_allclose(one.values, [2.0])
    two = estimate(plan_coalitions(2, 4, seed=0), np.array([0.0, 10.0, 2.0, 4.0]))
    np.testing.assert_allclose(two.values, [4.0, 6.0])


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_one_player_gets_everything(estimator):
    assert estimate(plan_coalitions(1, 2, seed=0), np.array([1.0, 3.0]), estimator=estimator).values == 2.0


def test_one_order_of_players_says_nothing_about_the_error():
    game = additive(np.arange(1.0, 13.0))
    plan = plan_coalitions(12, 13, seed=0, law="permutation")
    result = estimate(plan, game(plan), estimator="permutation")
    np.testing.assert_allclose(result.values, game.shapley)
    assert np.isinf(result.standard_errors).all()


def test_a_large_offset_costs_no_accuracy():
    game = additive(np.arange(12.0))
    plan = plan_coalitions(12, 60, seed=0)
    y = _noisy(game, plan, 0.1)
    for estimator in SAMPLED:
        plain, moved = (estimate(plan, y + offset, estimator=estimator) for offset in (0.0, 1e6))
        np.testing.assert_allclose(moved.values, plain.values, atol=1e-3)
        np.testing.assert_allclose(moved.standard_errors, plain.standard_errors, atol=1e-3)


def test_banzhaf_on_a_complete_table_and_from_samples():
    game = random_unanimity(8, 20, seed=1)
    masks = all_coalitions(8)
    truth = exact_banzhaf(game(masks))
    np.testing.assert_allclose(estimate(masks, game(masks), estimator="banzhaf").values, truth, atol=1e-12)
    plan = plan_coalitions(8, 250, seed=1, law="bernoulli")
    sampled = estimate(plan, game(plan), estimator="banzhaf", law="bernoulli")
    assert np.abs(sampled.values - truth).max() < 5 * sampled.standard_errors.max()


def test_loo_and_add_one_in_are_single_differences():
    game = airport([1, 2, 3, 4, 6])
    rows = leave_one_out_coalitions(5)
    np.testing.assert_allclose(estimate(rows, game(rows), estimator="loo").values, [0, 0, 0, 0, 2])
    rows = add_one_in_coalitions(5)
    np.testing.assert_allclose(estimate(rows, game(rows), estimator="add_one_in").values, [1, 2, 3, 4, 6])


def test_permutation_estimator_is_the_mean_marginal_contribution():
    game = airport(np.arange(1.0, 10.0))
    plan = plan_coalitions(9, 2 + 16, seed=5, law="permutation")
    y = game(plan)
    result = estimate(plan, y, estimator="permutation", efficient=False)
    order = [
        int(np.flatnonzero(row)[0]) for row in np.diff(np.vstack([plan[0], plan[2:10], plan[1]]).astype(int), axis=0)
    ]
    forward = np.diff(np.r_[y[0], y[2:10], y[1]])
    backward = np.diff(np.r_[y[0], y[10:18], y[1]])[::-1]
    expected = np.empty(9)
    expected[order] = (forward + backward) / 2
    np.testing.assert_allclose(result.values, expected, atol=0.35)  # sizes that met twice are averaged first
    assert result.values.sum() == pytest.approx(9.0, abs=0.5)


def test_datamodel_ranks_an_additive_game():
    game = additive(np.arange(12.0))
    plan = plan_coalitions(12, 100, seed=0, law="half")
    result = estimate(plan, game(plan), estimator="datamodel")
    assert (np.diff(result.values) > 0).all()


@pytest.mark.parametrize("estimator", sorted(ESTIMATORS))
def test_every_estimator_reports_a_covariance(estimator):
    n = 6
    plan = np.vstack([all_coalitions(n), plan_coalitions(n, 30, seed=0, law="half")])
    result = estimate(plan, _noisy(random_unanimity(n, 10, 0), plan, 0.1), estimator=estimator, n_bootstrap=20)
    assert np.isfinite(result.covariance).all()
    np.testing.assert_allclose(result.covariance, result.covariance.T, atol=1e-12)
    low, high = result.interval(0.9)
    assert (low <= result.values).all()
    assert (result.values <= high).all()


def test_a_bad_process_falls_back_and_says_so(monkeypatch):
    from groupshap.games import subset_gp

    wrong = np.array([-20.0, 0.0, -20.0, 0.0, 0.0, -20.0, 2.0, 0.0, -20.0, -20.0])
    monkeypatch.setattr(subset_gp, "_search", lambda *_: wrong)
    plan = plan_coalitions(10, 100, seed=0)
    result = estimate(plan, plan @ np.arange(10.0))
    assert result.estimator == "size_adjusted"
    assert result.diagnostics["requested_estimator"] == "gp"
    assert "size_adjusted" in result.diagnostics["fall_back"]


def test_errors_of_a_fall_back_hold_the_bias_of_the_ridge():
    """Few rows: the ridge shrinks almost everything, its bootstrap hardly moves, and the true error is large."""
    covered, bootstrapped = [], []
    for seed in range(120):
        game = additive(np.random.default_rng(seed).normal(size=12))
        plan = plan_coalitions(12, 24, seed=seed)
        y = _noisy(game, plan, 1.0, seed)
        result = estimate(plan, y)
        if result.diagnostics["fall_back"] == "none":
            continue
        low, high = result.interval()
        covered.append(((low <= game.shapley) & (game.shapley <= high)).mean())
        low, high = estimate(plan, y, estimator="size_adjusted").interval()
        bootstrapped.append(((low <= game.shapley) & (game.shapley <= high)).mean())
    assert len(covered) >= 5
    assert np.mean(covered) > 0.85
    assert np.mean(covered) >= np.mean(bootstrapped)


def test_a_process_that_knows_where_the_game_varies_is_kept():
    """Diversity of three groups: single contributors have none, two have any, many have all; most errors are there."""
    kept = []
    for seed in range(5):
        rng = np.random.default_rng([seed, 12])
        shares = 0.9 * np.eye(3)[rng.permutation(np.arange(12) % 3)] + 0.1 * rng.dirichlet(np.ones(3), 12)
        plan = plan_coalitions(12, 32, seed=seed)
        mixed = (plan[1:] @ shares) / plan[1:].sum(axis=1, keepdims=True)
        entropy = np.append(0.8, -(mixed * np.log2(mixed)).sum(axis=1))
        kept.append(estimate(plan, entropy + 0.05 * rng.standard_normal(32)).estimator)
    assert kept == ["gp"] * 5


@pytest.mark.parametrize(("n_drawn", "penalty"), [(25, 2.0), (4, 2.0), (4, 1e-3)])
def test_refits_with_fewer_rows_than_players_are_the_ridge_itself(n_drawn, penalty):
    """Against least squares on stacked rows; resamples that lack rows, the small ones also sizes."""
    plan = plan_coalitions(60, 40, seed=0)
    rows = collapse(plan, _noisy(additive(np.random.default_rng(0).normal(size=60)), plan, 0.5, 0))
    counts = np.zeros(len(rows.masks) - 2)
    counts[:n_drawn] = np.random.default_rng(1).integers(1, 4, n_drawn)
    found = fit_size_adjusted(rows, "uniform_size", counts=counts, penalty=penalty).coefficients
    weights = np.sqrt(row_weights(rows, "uniform_size") * counts)
    centred = rows.masks[2:] - rows.masks[2:].mean(axis=1, keepdims=True)
    design = np.hstack([centred, size_columns(rows)]) * weights[:, None]
    stacked = np.vstack([design, np.sqrt(penalty) * np.eye(60, design.shape[1])])
    utilities = rows.utilities[2:] - rows.utilities[2:].mean()
    expected = np.linalg.lstsq(stacked, np.append(utilities * weights, np.zeros(60)))[0][:60]
    np.testing.assert_allclose(found - found.mean(), expected - expected.mean(), atol=1e-9)


def test_law_is_inferred_and_reported():
    plan = plan_coalitions(20, 200, seed=0, law="kernel")
    assert estimate(plan, plan @ np.arange(20.0), estimator="kernel").law == "kernel"
    plan = plan_coalitions(20, 200, seed=0)
    result = estimate(plan, plan @ np.arange(20.0), estimator="kernel")
    assert result.law == "uniform_size"
    assert "inferred" in result.diagnostics["law_source"]


def test_paper_estimator_is_its_closed_form():
    """Covert & Lee 2021 by hand on independent draws of the kernel law."""
    n, rng = 8, np.random.default_rng(0)
    sizes = rng.choice(np.arange(1, n), p=(p := 1 / (np.arange(1, n) * (n - np.arange(1, n)))) / p.sum(), size=90)
    Z = np.array([np.isin(np.arange(n), rng.permutation(n)[:size]) for size in sizes])
    y = rng.normal(size=90) + Z @ np.arange(n)
    v0, v1 = -1.0, 30.0
    result = estimate(np.vstack([np.zeros(n), np.ones(n), Z]), np.r_[v0, v1, y], estimator="kernel", law="kernel")
    A, b, one = Z.T @ Z.astype(float) / 90, Z.T @ (y - v0) / 90, np.ones(n)
    inverse = np.linalg.inv(A)
    expected = inverse @ (b - one * (one @ inverse @ b - (v1 - v0)) / (one @ inverse @ one))
    np.testing.assert_allclose(result.values, expected, atol=1e-9)


def _rows(n=6, budget=40):
    plan = plan_coalitions(n, budget, seed=0)
    return plan, plan @ np.arange(float(n))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c, y: (c, np.where(np.arange(len(y)) == 7, np.nan, y)), r"rows 7 .*nan"),
        (lambda c, y: (c, np.where(np.isin(np.arange(len(y)), [3, 9]), np.inf, y)), r"2 that are not, in rows 3, 9"),
        (lambda c, y: (c[c.any(axis=1)], y[c.any(axis=1)]), "missing: empty coalition"),
        (lambda c, y: (c[~c.all(axis=1)], y[~c.all(axis=1)]), "missing: grand coalition"),
        (lambda c, y: (c, y[:-1]), r"shape \(40,\), got `utilities` of shape \(39,\)"),
        (lambda c, y: (c, y[:, None]), "one property at a time"),
        (lambda c, y: (c[0], y), r"\(n_coalitions, n_players\), got \(6,\)"),
        (lambda c, y: (c * 0.5, y), "bool"),
        (lambda c, y: (c, y.astype(str)), "real numbers"),
        (lambda c, y: (c, np.where(np.arange(len(y)) == 5, 1e300, y)), r"below 1e\+100 .*row 5"),
        (lambda c, y: (c[:6], y[:6]), r"at least 8 distinct coalitions .* got 4.*plan_coalitions\(6, 10"),
    ],
)
def test_bad_input_is_named(change, words):
    with pytest.raises(ValueError, match=words):
        estimate(*change(*_rows()))


@pytest.mark.parametrize(
    ("estimator", "words"),
    [
        ("exact", r"2\*\*|all 4096 coalitions.*missing.*plan_coalitions\(12, 4096"),
        ("kernel", r"rank 12 .*plan_coalitions\(12, 26, seed=0"),
        ("loo", r"missing for players .*leave_one_out_coalitions\(12\)"),
        ("add_one_in", r"missing for players .*add_one_in_coalitions\(12\)"),
        ("permutation", r"players .*plan_coalitions\(12, 13"),
        ("shapley", "one of gp, size_adjusted"),
    ],
)
def test_too_few_coalitions_are_named_with_the_smallest_plan(estimator, words):
    plan = plan_coalitions(12, 16, seed=0, law="half")
    with pytest.raises(ValueError, match=words):
        estimate(plan, plan @ np.arange(12.0), estimator=estimator)


def test_the_smallest_plan_of_the_kernel_regression_is_sufficient():
    plan = plan_coalitions(12, 26, seed=0)
    assert np.isfinite(estimate(plan, plan @ np.arange(12.0), estimator="kernel").values).all()
    with pytest.raises(ValueError, match="rank 12"):
        estimate(plan[:24], plan[:24] @ np.arange(12.0), estimator="kernel")


def test_settings_are_checked():
    with pytest.raises(ValueError, match="n_bootstrap"):
        estimate(*_rows(), n_bootstrap=1)
    with pytest.raises(ValueError, match="law"):
        estimate(*_rows(), law="uniform")


def test_regressions_refuse_a_law_without_all_sizes():
    plan = plan_coalitions(12, 100, seed=0, law="half")
    with pytest.raises(ValueError, match="law 'half'"):
        estimate(plan, plan @ np.arange(12.0), estimator="kernel")


def test_player_names_are_checked_and_printed():
    plan, y = _rows()
    names = ["Ada", "Bo", "Cy", "Di", "Ed", "Flo"]
    text = str(estimate(plan, y, player_names=names))
    assert all(name in text for name in names)
    assert "40 evaluations" in text
    with pytest.raises(ValueError, match="duplicates: 'Ada'"):
        estimate(plan, y, player_names=["Ada", *names[:5]])
    with pytest.raises(ValueError, match="6 in all, got 2"):
        estimate(plan, y, player_names=names[:2])


def test_results_are_read_only_and_survive_pickling():
    result = estimate(*_rows())
    with pytest.raises(ValueError, match="read-only"):
        result.values[0] = 1.0
    again = pickle.loads(pickle.dumps(result))
    assert isinstance(again, ShapleyValues)
    np.testing.assert_array_equal(again.values, result.values)
    with pytest.raises(ValueError, match="level"):
        result.interval(1.0)


def test_import_needs_neither_torch_nor_pandas():
    code = "import sys, groupshap.games; print([m for m in ('torch', 'pandas', 'kedro') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_an_untrained_network_that_varies_wildly_does_not_drown_the_players():
    """Seeds of ∅ vary a hundred times more than trained models, as recorded: only the common level suffers."""
    n, worth = 10, np.linspace(-1.0, 1.0, 10)
    coalitions = plan_coalitions(n, 240, seed=3)
    rng = np.random.default_rng(5)
    noise = 0.05 * rng.standard_normal(len(coalitions))
    quiet = coalitions @ worth + noise
    empty = ~coalitions.any(axis=1)
    assert empty.sum() > 1, "a plan of this length repeats the end points"
    wild = np.where(empty, 5.0 * rng.standard_normal(len(coalitions)), quiet)
    for utilities, common in ((quiet, 0.1), (wild, 2.0)):
        result = estimate(coalitions, utilities)
        centred = result.values - result.values.mean()
        assert np.abs(centred - worth).max() < 0.05
        assert abs(result.values.mean()) < common
        low, high = result.interval()
        assert ((low < worth) & (worth < high)).mean() >= 0.8
    assert result.diagnostics["seed_variance"] == pytest.approx(0.05**2, rel=1.0), "of trained models"
