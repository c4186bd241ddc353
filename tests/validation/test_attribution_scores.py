"""Scores of attributions on games where the answer is known."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from toy_validation import DIRECTIONS, additive, contributor_table, utilities_table, value_table

from groupshap.games import (
    all_coalitions,
    coalition_id,
    leave_one_out_coalitions,
    uniform_fraction_coalitions,
)
from groupshap.validation.attributions import OURS, RANDOM, SIZE, attribution_values, gather
from groupshap.validation.calibration import calibration_table
from groupshap.validation.config import ValidationScoringConfig
from groupshap.validation.lds import lds_table

WORTH = np.array([5.0, -2.0, 1.0, 0.5, 0.1, 3.0, -1.0, 2.0, 4.0, -0.25])
QUICK = ValidationScoringConfig(n_bootstrap=200)


def held_out(n_players=10, n_coalitions=60):
    return np.unique(uniform_fraction_coalitions(n_players, n_coalitions, seed=3), axis=0)


def lds_of(attributions, utilities, n_players=10, ids=(), **settings):
    config = ValidationScoringConfig(**{"n_bootstrap": 200, **settings})
    return lds_table(attributions, utilities, contributor_table(n_players), ids, config)


def test_perfect_values_score_one_without_noise_whatever_is_added_to_them_or_multiplied():
    values = value_table({"true": WORTH, "shifted": WORTH + 7.0, "scaled": 3.0 * WORTH, "wrong sign": -WORTH})
    utilities = utilities_table(held_out(), {"accuracy": additive(WORTH)}, n_replicates=2)
    table = lds_of(values, utilities).set_index("attribution")
    good = table.drop(index="wrong sign")
    for column in ("lds", "low", "high", "ceiling", "ceiling_low", "replicate_spearman", "ratio", "lds_one_replicate"):
        np.testing.assert_allclose(good[column].astype(float), 1.0, err_msg=column)
    assert table.loc["wrong sign", "lds"] == pytest.approx(-1.0)
    assert (table["n_contributors"] == 5).all()


def test_a_shift_scale_or_sign_that_lds_cannot_see_costs_r_squared_slope_and_bias():
    masks = np.vstack([held_out(), all_coalitions(10)[::37]])
    masks = np.unique(masks, axis=0)
    utilities = utilities_table(masks, {"accuracy": additive(WORTH, level=2.0)}, n_replicates=2)
    estimation = utilities_table(all_coalitions(10)[:1], {"accuracy": additive(WORTH, level=2.0)}, split="estimation")
    values = value_table({"true": WORTH, "shifted": WORTH + 7.0, "scaled": 3.0 * WORTH, "wrong sign": -WORTH})
    table = calibration_table(values, utilities, estimation, contributor_table(10), (), QUICK).set_index("attribution")
    truth = table.loc["true", ["r_squared", "slope", "intercept", "bias", "noise_r_squared"]].astype(float)
    np.testing.assert_allclose(truth, [1.0, 1.0, 0.0, 0.0, 1.0], atol=1e-9)
    assert table.loc["scaled", "slope"] == pytest.approx(1.0 / 3.0)
    assert table.loc["wrong sign", "slope"] == pytest.approx(-1.0)
    assert table.loc["shifted", "bias"] == pytest.approx(7.0 * masks.sum(axis=1).mean())
    assert (table.drop(index="true")["r_squared"] < 0.0).all()


def test_known_noise_gives_the_ceiling_and_the_attenuation_of_theory():
    """v = signal + noise with reliability ρ: replicates correlate with ρ, the truth with the mean of R with √ρ_R."""
    worth = np.random.default_rng(0).normal(size=24)
    masks = np.unique(uniform_fraction_coalitions(24, 2500, seed=0), axis=0)
    signal = (masks @ worth).std()
    utilities = utilities_table(masks, {"accuracy": additive(worth)}, n_replicates=3, noise=signal)
    row = lds_of(value_table({"true": worth}), utilities, 24, n_bootstrap=20).iloc[0]
    # Normal with Pearson r has Spearman 6/π · asin(r/2).
    spearman = [6.0 / math.pi * math.asin(r / 2.0) for r in (0.5, math.sqrt(0.75), math.sqrt(0.5))]
    assert row["replicate_spearman"] == pytest.approx(spearman[0], abs=0.02)
    assert row["lds"] == pytest.approx(spearman[1], abs=0.015)
    assert row["lds_one_replicate"] == pytest.approx(spearman[2], abs=0.015)
    assert row["ceiling"] == pytest.approx(spearman[1], abs=0.02)
    assert row["ratio"] == pytest.approx(1.0, abs=0.02)


def test_intervals_of_lds_cover_the_score_on_many_coalitions():
    worth = np.random.default_rng(1).normal(size=14)
    masks = np.unique(uniform_fraction_coalitions(14, 6000, seed=1), axis=0)
    game, noise = {"accuracy": additive(worth)}, 0.7 * (masks @ worth).std()
    values = value_table({"other": worth + 0.6 * np.random.default_rng(2).normal(size=14)})
    truth = lds_of(values, utilities_table(masks, game, n_replicates=2, noise=noise), 14, n_bootstrap=20)["lds"][0]
    inside = 0
    for trial in range(40):
        rows = np.random.default_rng(trial).permutation(len(masks))[:50]
        row = lds_of(values, utilities_table(masks[rows], game, n_replicates=2, noise=noise, seed=trial), 14).iloc[0]
        inside += row["low"] <= truth <= row["high"]
    assert inside >= 34


def test_coalitions_of_the_estimation_plan_are_removed_and_counted():
    masks = held_out()
    utilities = utilities_table(masks, {"accuracy": additive(WORTH)}, n_replicates=2)
    spoilt = utilities["coalition_id"].isin(ids := [coalition_id(mask) for mask in masks[:10]])
    utilities.loc[spoilt, "accuracy"] = 1e6 * np.arange(spoilt.sum())
    row = lds_of(value_table({"true": WORTH}), utilities, ids=ids).iloc[0]
    assert (row["lds"], row["n_removed"], row["n_coalitions"]) == (pytest.approx(1.0), 10, len(masks) - 10)
    none_left = lds_of(value_table({"true": WORTH}), utilities, ids=[coalition_id(mask) for mask in masks]).iloc[0]
    assert np.isnan(none_left["lds"])
    assert "fewer than 4" in none_left["note"]


def test_pure_noise_has_no_ceiling_and_equal_values_no_score():
    utilities = utilities_table(held_out(), {"accuracy": additive(0 * WORTH)}, n_replicates=2, noise=1.0, seed=5)
    table = lds_of(value_table({"true": WORTH, "equal": np.full(10, 0.1)}), utilities).set_index("attribution")
    assert table["ceiling_low"].iloc[0] == 0.0
    assert np.isnan(table.loc["equal", "lds"])
    assert "same for all" in table.loc["equal", "note"]


def test_missing_replicates_count_for_the_mean_only():
    utilities = utilities_table(held_out(), {"accuracy": additive(WORTH)}, n_replicates=3)
    row = lds_of(value_table({"true": WORTH}), utilities.drop(index=utilities.index[-5:])).iloc[0]
    assert row["lds"] == pytest.approx(1.0)
    assert 2.7 < row["n_replicates"] < 3.0
    assert row["ceiling"] == pytest.approx(1.0)


def test_leave_one_out_effects_are_compared_in_order_and_sign():
    masks = leave_one_out_coalitions(10)
    utilities = utilities_table(masks, {"accuracy": additive(WORTH)}, n_replicates=2)
    estimation = utilities_table(masks[:1], {"accuracy": additive(WORTH)}, split="estimation")
    values = pd.concat(
        [value_table({"true": WORTH, "opposite": -WORTH}), value_table({"ranks": WORTH + 9.0}, has_scale=False)]
    )
    table = calibration_table(values, utilities, estimation, contributor_table(10), (), QUICK).set_index("attribution")
    assert table["loo_spearman"].tolist() == pytest.approx([1.0, -1.0, 1.0])
    assert table["loo_sign_agreement"].tolist()[:2] == [1.0, 0.0]
    assert table["loo_replicate_spearman"].iloc[0] == pytest.approx(1.0)
    assert np.isnan(table.loc["ranks", ["r_squared", "slope", "loo_sign_agreement"]].astype(float)).all()
    assert "no scale" in table.loc["ranks", "note"]
    no_end = utilities[utilities["n_contributors"] < 10]
    ids = no_end["coalition_id"]
    table = calibration_table(values, no_end, estimation, contributor_table(10), ids, QUICK)
    assert table["note"].tolist()[:2] == ["fewer than 4 held-out coalitions"] * 2
    assert (table["n_loo"] == 0).all()
    assert table["loo_note"].str.contains("not retrained").all()


def gathered(baselines=None):
    contributors = contributor_table(10)
    ours = pd.concat(
        [
            pd.DataFrame({"property": name, "contributor": contributors["contributor"], "shapley_value": sign * WORTH})
            for name, sign in (("accuracy", 1.0), ("frechet", -1.0))
        ]
    )
    kernel = ours.assign(estimator="kernel", shapley_value=ours["shapley_value"] + 0.01)
    comparison = pd.concat([ours.assign(estimator="gp"), kernel])
    return gather(ours, comparison, baselines, contributors, DIRECTIONS, root_seed=4)


def test_gathered_attributions_predict_the_raw_property_and_name_the_main_estimator_once():
    table = gathered()
    assert sorted(set(table["attribution"])) == [OURS, RANDOM, "shapley/kernel", SIZE]
    names = tuple(contributor_table(10)["contributor"])
    up, down = (attribution_values(table, name, names) for name in ("accuracy", "frechet"))
    np.testing.assert_array_equal(up[OURS][0], WORTH)
    np.testing.assert_array_equal(up[SIZE], -down[SIZE])
    assert up[RANDOM].shape == (100, 10)
    assert not (up[RANDOM] == down[RANDOM]).any()
    utilities = utilities_table(held_out(), {"accuracy": additive(WORTH), "frechet": additive(-WORTH)}, n_replicates=2)
    scores = lds_of(table, utilities).pivot(index="attribution", columns="property", values="lds")
    assert (scores.loc[OURS] == 1.0).all()
    assert scores.loc[RANDOM].abs().max() < 1e-9
    pd.testing.assert_frame_equal(table, gathered())


def test_baselines_must_name_every_contributor_with_a_number():
    good = value_table({"trak/sum": WORTH, "banzhaf": WORTH})[["attribution", "property", "contributor", "value"]]
    table = gathered(good).drop_duplicates("attribution").set_index("attribution")
    assert table["has_scale"][["trak/sum", "banzhaf", SIZE, OURS]].tolist() == [False, True, False, True]
    bad = good.assign(value=[np.nan, *good["value"][1:]]).iloc[:-1]
    with pytest.raises(ValueError, match=r"2 problems.*\ntrak/sum.*finite.*\nbanzhaf.*every contributor"):
        gathered(bad)


def test_tables_of_several_splits_and_games_without_an_empty_coalition_are_refused_by_name():
    utilities = utilities_table(held_out(), {"accuracy": additive(WORTH)})
    values = value_table({"true": WORTH})
    mixed = pd.concat([utilities, utilities.assign(split="paired")])
    with pytest.raises(ValueError, match=r"one split.*paired.*validation"):
        lds_of(values, mixed)
    with pytest.raises(ValueError, match="'accuracy' of the empty coalition"):
        calibration_table(values, utilities, utilities, contributor_table(10))
