from __future__ import annotations

import io
import logging
import re

import numpy as np
import pandas as pd
import pytest
from toy_tables import DIRECTIONS, contributor_table, true_values, utilities_table

from groupshap.attribution.config import EstimationConfig
from groupshap.attribution.fits import attribute, log_left_out
from groupshap.attribution.summary import summary_lines
from groupshap.attribution.tables import (
    COMPARISON_COLUMNS,
    SHAPLEY_COLUMNS,
    coalition_utilities,
    comparison_table,
    diagnostics_table,
    interaction_table,
    player_names,
    shapley_table,
)
from groupshap.games import exact_interactions, exact_shapley
from groupshap.reporting.words import going_on

pytestmark = pytest.mark.filterwarnings("ignore:The 'float_precision'")  # pandas 2 needs it, pandas 3.1 deprecates it
AS_TEXT = {"coalition_id": str, "members": str, "fingerprint": str}


def fitted(utilities, contributors, **parameters):
    """Fits of every property, as the node makes them."""
    coalitions, measured = coalition_utilities(utilities, contributors)
    config, names = EstimationConfig(**{"n_bootstrap": 20} | parameters), player_names(contributors)
    return {name: attribute(coalitions, values, config, names=names) for name, values in measured.items()}


def values_of(table, property_name, names):
    return table[table["property"] == property_name].set_index("contributor")["shapley_value"][list(names)].to_numpy()


def round_trip(table, **arguments):
    text = table.to_csv(index=False)
    return pd.read_csv(io.StringIO(text), keep_default_na=False, float_precision="round_trip", **arguments)


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["accuracy", "frechet_x"])
def test_values_of_a_complete_table_are_the_known_ones(name):
    names = ["NA", "a|b", "x \\ y", "d"]
    contributors = contributor_table(names)
    utilities = utilities_table(names, budget=16)
    table = shapley_table(fitted(utilities, contributors), contributors)
    assert tuple(table.columns) == SHAPLEY_COLUMNS
    np.testing.assert_allclose(values_of(table, name, names), true_values(name, 4), atol=1e-12)
    assert table["n_images"].tolist() == [10 + names.index(one) for one in table["contributor"]]


@pytest.mark.parametrize("estimator", ["gp", "size_adjusted", "kernel"])
def test_values_from_part_of_the_coalitions_are_near_and_efficient(estimator, utilities, contributors):
    table = shapley_table(fitted(utilities, contributors, estimator=estimator), contributors)
    for name in DIRECTIONS:
        values = values_of(table, name, contributors["contributor"])
        truth, own = true_values(name, 10), table[table["property"] == name]
        # The paper's estimator takes the size curve for noise, so it is only roughly right on frechet_x.
        tolerance = 0.02 if estimator != "kernel" else 0.5
        assert np.linalg.norm(values - truth) < tolerance * np.linalg.norm(truth)
        assert values.sum() == pytest.approx(truth.sum(), rel=1e-12)
        assert own["share"].sum() == pytest.approx(1.0, rel=1e-12)
        assert (np.diff(own["shapley_value"]) <= 0).all()
        assert own["shapley_value"].between(own["ci_low"], own["ci_high"]).all()


def test_table_survives_csv_bit_for_bit(utilities, contributors, tmp_path):
    noisy = utilities_table(noise=0.3)
    direct = shapley_table(fitted(noisy, contributors), contributors)
    again = shapley_table(
        fitted(round_trip(noisy, dtype=AS_TEXT), round_trip(contributors, dtype={"contributor": str})), contributors
    )
    assert direct.to_csv(index=False) == again.to_csv(index=False)
    pd.testing.assert_frame_equal(round_trip(direct, dtype={"contributor": str}), direct, check_exact=True)


def test_row_order_does_not_matter(contributors):
    noisy = utilities_table(noise=0.3)
    shuffled = noisy.sample(frac=1.0, random_state=1)
    tables = [shapley_table(fitted(table, contributors), contributors) for table in (noisy, shuffled)]
    pd.testing.assert_frame_equal(*tables, check_exact=True)


def test_shares_of_nothing_are_empty(contributors, caplog):
    utilities = utilities_table()
    grand = utilities["n_contributors"] == 10
    utilities.loc[grand, "accuracy"] = utilities["accuracy"].iloc[0] + 1e-15
    with caplog.at_level(logging.WARNING):
        table = shapley_table(fitted(utilities, contributors), contributors)
    assert table[table["property"] == "accuracy"]["share"].isna().all()
    assert table[table["property"] == "frechet_x"]["share"].notna().all()
    assert "Property accuracy" in caplog.text


# --- beside the values ------------------------------------------------------------------------------------------------


def test_companions_stand_beside_the_main_estimator(contributors):
    table = comparison_table(fitted(utilities_table(noise=0.3), contributors))
    assert tuple(table.columns) == COMPARISON_COLUMNS
    assert set(table["estimator"]) == {"gp", "size_adjusted", "kernel", "kernel_exact"}
    assert not table.duplicated(["property", "contributor", "estimator"]).any()


def test_a_fall_back_is_named_and_not_listed_twice(utilities, contributors):
    attributions = fitted(utilities, contributors)  # without noise an additive game is exactly a regression's
    row = diagnostics_table(attributions, utilities, EstimationConfig()).set_index("property").loc["accuracy"]
    assert row[["requested_estimator", "estimator"]].tolist() == ["gp", "size_adjusted"]
    assert row["fall_back"].startswith("size_adjusted instead of gp")
    assert not comparison_table(attributions).duplicated(["property", "contributor", "estimator"]).any()


def test_a_companion_without_enough_rows_is_left_out_by_name(contributors, caplog):
    utilities = utilities_table(budget=12, noise=0.1)  # ten interior rows of five pairs: rank below ten
    with caplog.at_level(logging.INFO):
        attributions = fitted(utilities, contributors)
        log_left_out(attributions)
    diagnostics = diagnostics_table(attributions, utilities, EstimationConfig())
    assert "kernel" not in set(comparison_table(attributions)["estimator"])
    assert diagnostics["left_out"].str.contains("kernel: Expected coalitions of rank 10").all()
    assert caplog.text.count("Left out: kernel (accuracy, frechet_x). Expected coalitions of rank 10") == 1


def test_the_main_estimator_without_enough_rows_is_an_error(contributors):
    with pytest.raises(ValueError, match="Smallest sufficient plan"):
        fitted(utilities_table(budget=12), contributors, estimator="kernel")


def test_diagnostics_say_what_going_on_costs(contributors):
    utilities = utilities_table(noise=3.0)
    config = EstimationConfig(target_relative_error=0.01)
    attributions = fitted(utilities, contributors)
    row = diagnostics_table(attributions, utilities, config).set_index("property").loc["accuracy"]
    main = attributions["accuracy"].main
    assert row["requested_estimator"] == "gp"
    assert row["estimator"] == main.estimator
    assert row["v_grand"] - row["v_empty"] == pytest.approx(main.values.sum())
    assert not row["is_converged"]
    ratio = row["relative_standard_error"] / 0.01
    assert row["evaluations_to_converge"] == np.ceil(64 * (ratio**2 - 1))
    assert row["seconds_to_converge"] == 12.0 * row["evaluations_to_converge"]
    assert -1 <= row["split_half_spearman"] <= 1


def test_a_far_target_names_no_number_of_evaluations(contributors):
    utilities = utilities_table(noise=3.0)
    attributions = fitted(utilities, contributors)
    values, told = shapley_table(attributions, contributors), {}
    for target in (0.1, 1e-4):
        table = diagnostics_table(attributions, utilities, EstimationConfig(target_relative_error=target))
        log = "\n".join(summary_lines(values, table, DIRECTIONS))
        told[target] = (going_on(table.set_index("property").loc["accuracy"]), log)
    for text in told[0.1]:
        assert re.search(r"would take about \d+ more evaluations, .* of one worker's time", text)
    for text in told[1e-4]:
        assert "would take more than 100 times as many evaluations" in text
        assert "more evaluations" not in text


def test_interactions_of_a_complete_table_agree_with_enumeration():
    names, contributors = list("abcd"), contributor_table(list("abcd"))
    utilities = utilities_table(names, budget=16)
    table = interaction_table(fitted(utilities, contributors)).query("property == 'frechet_x'")
    assert list(zip(table["contributor_a"], table["contributor_b"], strict=True))[:2] == [("a", "b"), ("a", "c")]
    coalitions, measured = coalition_utilities(utilities, contributors)
    in_order = np.empty(16)
    in_order[coalitions @ (1 << np.arange(4))] = measured["frechet_x"]
    assert exact_shapley(in_order) == pytest.approx(true_values("frechet_x", 4))
    truth = exact_interactions(in_order)[np.triu_indices(4, 1)]
    np.testing.assert_allclose(table["interaction"], truth, atol=0.1 * np.abs(truth).max())


def test_summary_names_the_best_by_the_direction_of_the_property(utilities, contributors):
    attributions = fitted(utilities, contributors)
    diagnostics = diagnostics_table(attributions, utilities, EstimationConfig())
    lines = summary_lines(shapley_table(attributions, contributors), diagnostics, DIRECTIONS)
    helped = [line for line in lines if "helped most" in line]
    assert helped[0].split()[2] == helped[3].split()[2] == "NA"  # worth 5 in accuracy, -5 in the distance
    assert sum("converged: largest standard error" in line for line in lines) == 2


# --- refusals ---------------------------------------------------------------------------------------------------------


def broken(utilities, column, value, row=5):
    table = utilities.astype({column: object})
    table.loc[row, column] = value
    return table


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda u: u.drop(columns=["members", "fingerprint"]), "missing: members, fingerprint"),
        (lambda u: u.drop(columns=["accuracy", "frechet_x"]), "one column per property"),
        (lambda u: u.rename(columns={"accuracy": "../evil"}), r"'\.\./evil': expected a name of a-z"),
        (lambda u: broken(u, "members", "NA | nobody"), "unknown: nobody"),
        (lambda u: broken(u, "members", "NA | NA"), "got twice: NA"),
        (lambda u: broken(u, "members", "a|b"), "join_members"),
        (lambda u: broken(u, "members", float("nan")), "keep_default_na=False"),
        (lambda u: broken(u, "members", "NA"), "`coalition_id` disagrees with `members`"),
        (lambda u: broken(u, "n_contributors", 77), "expected `n_contributors`"),
        (lambda u: pd.concat([u, u.iloc[[7]]]), "expected one row, got several"),
        (lambda u: broken(u, "accuracy", float("nan")), "property accuracy, coalition .* replicate 0: expected a fin"),
        (lambda u: broken(u, "frechet_x", "oops"), "property frechet_x, coalition .* got 'oops'"),
        (lambda u: broken(u, "train_seconds", float("inf")), "train_seconds, coalition"),
        (lambda u: u.query("n_contributors > 0"), "row for the empty coalition"),
        (lambda u: u.query("n_contributors < 10"), "row for the grand coalition"),
        (lambda u: u.assign(split="validation"), "split 'estimation', got 'validation'"),
    ],
)
def test_bad_utilities_are_refused_by_name(spoil, message, utilities, contributors):
    with pytest.raises(ValueError, match=message):
        coalition_utilities(spoil(utilities), contributors)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: c.drop(columns="n_images"), "contributors: .*missing: n_images"),
        (lambda c: c.assign(player=c["player"] + 1), r"0\.\.n-1"),
        (lambda c: c.assign(contributor="same"), "occur twice: same"),
        (lambda c: broken(c, "contributor", 3), "names that are text, got \\[3\\]"),
    ],
)
def test_bad_contributors_are_refused_by_name(spoil, message, utilities, contributors):
    with pytest.raises(ValueError, match=message):
        coalition_utilities(utilities, spoil(contributors))


def test_all_problems_come_in_one_message(utilities, contributors):
    table = broken(broken(utilities, "accuracy", "x"), "members", "nobody", row=9)
    with pytest.raises(ValueError, match="2 problems") as caught:
        coalition_utilities(pd.concat([table.query("n_contributors > 0")]), contributors)
    assert "nobody" in str(caught.value)
    assert "got 'x'" in str(caught.value)


def test_other_splits_are_left_alone(utilities, contributors):
    extra = utilities.assign(split="validation", accuracy=np.nan)
    coalitions, measured = coalition_utilities(pd.concat([utilities, extra]), contributors)
    assert len(coalitions) == len(utilities) == len(measured["accuracy"])
