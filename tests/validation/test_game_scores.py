"""The cheap game against the retrained one, residual influence, counterfactuals, ablation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from toy_validation import DIRECTIONS, additive, contributor_table, shapley_of, utilities_table, value_table

from groupshap.games import all_coalitions, coalition_id, plan_coalitions
from groupshap.members import split_members
from groupshap.validation.ablation import ablation_table, fidelity_columns, pareto_front
from groupshap.validation.config import ValidationScoringConfig
from groupshap.validation.counterfactuals import counterfactual_table, removal_coalitions, removals
from groupshap.validation.fidelity import bias_by_size, fidelity_table, shapley_pairs
from groupshap.validation.residual import residual_table

WORTH = np.array([5.0, -2.0, 1.0, 0.5, 3.0, -1.0])
MASKS = all_coalitions(6)
QUICK = ValidationScoringConfig(n_bootstrap=200)
SHAPLEY = ["pearson_shapley", "spearman_shapley", "relative_l2_shapley"]


def curved(masks):
    return additive(WORTH, level=3.0)(masks) + 0.3 * masks.sum(axis=1) ** 2 + 2.0 * masks[:, 0] * masks[:, 1]


def fidelity_of(cheap, retrained, n_replicates=2, noise=0.0, masks=MASKS, **settings):
    first = utilities_table(masks, {"accuracy": cheap}, split="paired", seconds=(1.0, 1.0), **settings)
    second = utilities_table(masks, {"accuracy": retrained}, n_replicates=n_replicates, noise=noise, seed=1)
    table = fidelity_table(first, second, contributor_table(masks.shape[1]), QUICK)
    return table.set_index("measure"), first, second


def test_equal_games_agree_perfectly_and_the_ratio_of_seconds_is_that_of_the_tables():
    table, first, second = fidelity_of(curved, curved)
    ones = ["pearson_v", "spearman_v", "slope_v", "pearson_shapley", "spearman_shapley"]
    np.testing.assert_allclose(table.loc[ones, "value"].astype(float), 1.0)
    zeros = ["mae_v", "bias_v", "relative_l2_shapley"]
    np.testing.assert_allclose(table.loc[zeros, "value"].astype(float), 0.0, atol=1e-9)
    with_ceiling = ["pearson_v", "spearman_v", "pearson_shapley", "spearman_shapley"]
    np.testing.assert_allclose(table.loc[with_ceiling, ["ceiling", "ratio"]].astype(float), 1.0)
    assert table.loc["cost_ratio", "value"] == pytest.approx(6.0)
    pairs = shapley_pairs(first, second, contributor_table(6)).pivot(
        index="contributor", columns="game", values="shapley_value"
    )
    np.testing.assert_allclose(pairs["retrained"], shapley_of(curved, MASKS))
    np.testing.assert_allclose(pairs["cheap"], pairs["retrained"])


def test_a_shift_that_grows_with_size_shows_as_bias_by_size_and_leaves_centred_values_alone():
    def leaned(masks):
        return curved(masks) + 0.5 * masks.sum(axis=1)

    table, first, second = fidelity_of(leaned, curved)
    bias = bias_by_size(first, second, contributor_table(6)).set_index("n_contributors")["bias"]
    np.testing.assert_allclose(bias, 0.5 * np.arange(7), atol=1e-12)
    assert table.loc["bias_v", "value"] == pytest.approx(1.5)
    assert table.loc["relative_l2_shapley", "value"] == pytest.approx(0.0, abs=1e-9)
    half = fidelity_of(lambda masks: 0.5 * curved(masks), curved)[0]
    assert half.loc["slope_v", "value"] == pytest.approx(2.0)
    assert half.loc["relative_l2_shapley", "value"] == pytest.approx(0.5)
    assert half.loc["pearson_shapley", "value"] == pytest.approx(1.0)


def test_known_noise_of_retraining_gives_the_ceilings_and_floors_of_theory():
    masks = all_coalitions(10)
    game = additive(np.random.default_rng(0).normal(size=10))
    sd = float(game(masks).std())
    table, *_ = fidelity_of(game, game, n_replicates=2, noise=sd, masks=masks)
    assert table.loc["pearson_v", "replicates"] == pytest.approx(0.5, abs=0.06)
    assert table.loc["pearson_v", "ceiling"] == pytest.approx(np.sqrt(2.0 / 3.0), abs=0.05)
    assert table.loc["pearson_v", "ratio"] == pytest.approx(1.0, abs=0.05)
    floor = np.sqrt(2.0 / np.pi) * sd / np.sqrt(2.0)
    assert table.loc["mae_v", ["value", "ceiling"]].astype(float).tolist() == pytest.approx([floor, floor], rel=0.06)
    shapley = table.loc["pearson_shapley"]
    assert shapley["low"] <= shapley["value"] <= shapley["high"]
    assert shapley["replicates"] < shapley["ceiling"] < 1.0
    assert table.loc["reliability_shapley", "value"] > 0.99
    assert table.loc["relative_l2_shapley", "ceiling"] == pytest.approx(
        table.loc["relative_l2_shapley", "value"], rel=0.5
    )


def test_incomplete_games_are_fitted_on_their_common_rows_and_say_what_is_missing():
    masks = plan_coalitions(8, 60, seed=0)
    worth = np.arange(8.0)
    first = utilities_table(masks, {"accuracy": additive(worth)}, split="estimation")
    second = utilities_table(masks[:40], {"accuracy": additive(worth)}, n_replicates=2, seed=2)
    table = fidelity_table(first, second, contributor_table(8), QUICK).set_index("measure")
    assert table.loc["pearson_shapley", "value"] > 0.999
    assert (table["n_coalitions"] == 40).all()
    inner = second[second["n_contributors"].between(1, 7)]
    table = fidelity_table(first, inner, contributor_table(8), QUICK).set_index("measure")
    assert table.loc[SHAPLEY, "note"].str.contains("empty and the grand coalition").all()
    assert table.loc["pearson_v", "value"] == pytest.approx(1.0)
    assert shapley_pairs(first, inner, contributor_table(8)).empty
    with pytest.raises(ValueError, match="got 0 common coalitions"):
        fidelity_table(first, other_coalitions(masks), contributor_table(8))


def other_coalitions(masks):
    """Retrained rows of coalitions that are not in the plan."""
    taken = {coalition_id(mask) for mask in masks}
    rest = np.array([mask for mask in all_coalitions(8) if coalition_id(mask) not in taken])
    return utilities_table(rest, {"accuracy": additive(np.arange(8.0))})


def losses_table(gap, n_contributors=6, model=None, seed=0):
    """loss = difficulty of the contributor + quality of the model + gap if excluded."""
    rng = np.random.default_rng(seed)
    difficulty = rng.uniform(1.0, 9.0, n_contributors)
    rows = []
    for mask in all_coalitions(n_contributors)[1:-1]:
        quality = rng.normal()
        for player, member in enumerate(mask):
            loss = difficulty[player] + quality + gap * (not member)
            rows.append((model or coalition_id(mask), coalition_id(mask), f"c{player}", bool(member), loss))
    return pd.DataFrame(rows, columns=["model", "coalition_id", "contributor", "is_member", "loss"])


def test_residual_gap_is_free_of_difficulty_and_quality_and_relative_to_retraining():
    losses = pd.concat([losses_table(0.0, model="start"), losses_table(0.3)])
    table = residual_table(losses, losses_table(0.5, seed=1), QUICK).set_index("stage")
    np.testing.assert_allclose(table["gap"], [0.0, 0.3, 0.5], atol=1e-12)
    np.testing.assert_allclose(table["share_of_retrained"], [0.0, 0.6, 1.0], atol=1e-12)
    assert table.loc["after", ["low", "high"]].tolist() == pytest.approx([0.3, 0.3])
    assert residual_table(losses.iloc[:0], losses.iloc[:0]).empty
    with pytest.raises(ValueError, match=r"every coalition and contributor \(after\), not so for 1 of"):
        residual_table(losses_table(0.3).iloc[1:], config=QUICK)


def test_removals_take_those_who_helped_whatever_the_direction_and_leave_the_rest():
    contributors = contributor_table(6)
    values = pd.concat([value_table({"true": WORTH}), value_table({"true": -WORTH}, "frechet")])
    table = removals(values, contributors, DIRECTIONS, shares=(0.4,), n_random=3)
    ordered = table[table["end"] != "random"]
    names = contributors["contributor"].to_numpy()
    without = {
        key: set(names) - set(split_members(cell))
        for key, cell in zip(zip(ordered["property"], ordered["end"], strict=True), ordered["members"], strict=True)
    }
    assert without["accuracy", "top"] == without["frechet", "top"] == {names[0], names[4]}
    assert without["accuracy", "bottom"] == {names[1], names[5]}
    assert (table["n_removed"] == 2).all()
    masks = removal_coalitions(table, contributors)
    assert masks[0].all()
    assert {coalition_id(mask) for mask in masks[1:]} == set(table["coalition_id"])
    with pytest.raises(ValueError, match="leave somebody"):
        removals(values, contributors, DIRECTIONS, shares=(1.0,))


def test_counterfactual_changes_are_relative_with_welch_intervals_against_random_removal():
    contributors, game = contributor_table(6), {"accuracy": additive(WORTH, level=10.0)}
    table = removals(value_table({"true": WORTH}), contributors, DIRECTIONS, shares=(0.4,), n_random=4)
    masks = removal_coalitions(table, contributors)
    exact = counterfactual_table(utilities_table(masks, game, n_replicates=2), table, contributors)
    exact = exact.set_index("end")
    grand = 10.0 + WORTH.sum()
    assert exact.loc["top", ["relative_change", "low", "high"]].tolist() == pytest.approx([-8.0 / grand] * 3)
    assert exact.loc["bottom", "relative_change"] == pytest.approx(3.0 / grand)
    assert exact.loc["top", "against_random"] == pytest.approx(
        exact.loc["top", "relative_change"] - exact.loc["top", "random_change"]
    )
    covered = 0
    for trial in range(50):
        noisy = utilities_table(masks, game, n_replicates=3, noise=2.0, seed=trial)
        row = counterfactual_table(noisy, table, contributors).set_index("end").loc["top"]
        covered += row["low"] <= -8.0 / grand <= row["high"]
    assert covered >= 45
    single = counterfactual_table(utilities_table(masks, game), table, contributors)
    assert single["low"].isna().all()
    assert single["note"].str.contains("two replicates").all()
    with pytest.raises(ValueError, match="missing"):
        counterfactual_table(utilities_table(masks[1:], game), table, contributors)


def cells_table(fidelity, seconds, **columns):
    n = len(fidelity)
    axes = {"fraction_removed": 0.3, "n_steps": np.arange(n), "n_images": 64, "sampler_n_steps": 20}
    cost = {"train_seconds": seconds, "sample_seconds": 1.0}
    return pd.DataFrame({**axes, **cost, "fidelity_accuracy": fidelity, **columns})


def test_ablation_recommends_the_cheapest_cell_that_is_good_enough():
    cells = cells_table([0.5, 0.9, 0.93, 0.94, 0.8], [1.0, 2.0, 3.0, 4.0, 5.0])
    table = ablation_table(cells, margin=0.02)
    assert table.loc[table["is_recommended"], "n_steps"].tolist() == [2]
    assert table["is_pareto"].tolist() == [True, True, True, True, False]
    near_ceiling = ablation_table(cells.assign(ceiling_accuracy=0.94), margin=0.02)
    assert near_ceiling.loc[near_ceiling["is_recommended"], "n_steps"].tolist() == [1]
    split = cells.assign(fidelity_frechet=[0.9, 0.5, 0.5, 0.5, 0.5])
    table = ablation_table(split, margin=0.02)
    assert "no cell" in table.loc[table["is_recommended"], "why"].iloc[0]
    assert table["is_recommended"].sum() == 1
    with pytest.raises(ValueError, match="finite numbers in every cell"):
        ablation_table(cells.assign(fidelity_accuracy=np.nan))
    with pytest.raises(ValueError, match="every cell once"):
        ablation_table(cells.assign(n_steps=1))


def test_equal_cells_are_both_on_the_front_and_fidelity_fills_a_cell():
    assert pareto_front(np.array([1.0, 1.0, 2.0]), np.array([0.5, 0.5, 0.5])).tolist() == [True, True, False]
    table, *_ = fidelity_of(curved, curved)
    columns = fidelity_columns(table.reset_index())
    assert columns == {"fidelity_accuracy": pytest.approx(1.0), "ceiling_accuracy": pytest.approx(1.0)}
