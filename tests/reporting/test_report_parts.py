from __future__ import annotations

import base64
import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from toy_report import ESTIMATION, images_of, report_inputs, tables

from groupshap.attribution.config import EstimationConfig
from groupshap.games import all_coalitions, plan_coalitions
from groupshap.reporting.charts import chart_data
from groupshap.reporting.config import ReportingConfig
from groupshap.reporting.convergence import convergence_table, prefix_lengths
from groupshap.reporting.corrected import corrected
from groupshap.reporting.counterfactuals import chosen_contributors, counterfactuals, largest_without
from groupshap.reporting.fitted_game import fit_game
from groupshap.reporting.page import write_page
from groupshap.reporting.pictures import data_uri, spread
from groupshap.reporting.validated import validated
from groupshap.reporting.words import flat_parameters, number
from groupshap.validation.attributions import gather
from groupshap.validation.fidelity import fidelity_table
from groupshap.validation.lds import lds_table

WORTH = np.array([4.0, -1.0, 2.0, 0.5, 1.5])


def test_marginal_contributions_of_an_additive_game_are_its_values_at_every_size():
    plan = plan_coalitions(5, 24, seed=0)
    game = fit_game(plan, plan @ WORTH)
    assert game.marginals == pytest.approx(np.tile(WORTH[:, None], 5), abs=0.05)
    assert game.curve == pytest.approx(WORTH.mean() * np.arange(6), abs=0.05)
    for player, pairs in enumerate(game.pairs):
        assert all(difference == pytest.approx(WORTH[player]) for _, difference in pairs)


def test_measured_pairs_are_all_there_are():
    game = fit_game(all_coalitions(4), np.random.default_rng(0).normal(size=16))
    assert [len(pairs) for pairs in game.pairs] == [8] * 4


def test_every_player_of_many_is_seen_in_every_range_of_sizes():
    plan = plan_coalitions(50, 60, seed=0)
    game = fit_game(plan, plan @ np.linspace(-1, 1, 50))
    assert game.marginals.shape == (50, 8)
    assert np.isfinite(game.marginals).all()


def test_too_few_rows_leave_the_curve_out_and_say_why():
    plan = plan_coalitions(5, 6, seed=0)
    game = fit_game(plan, plan @ WORTH)
    assert game.curve is None
    assert game.marginals is None
    assert "at least 8 distinct coalitions" in game.left_out


def test_the_largest_coalition_without_a_contributor_is_found_and_the_others_it_lacks_are_named():
    manifest = tables()["measured_models"]
    names = report_inputs().names
    for name in names:
        task_id, members = largest_without(manifest, name)
        assert name not in members
        others = manifest[[name not in cell.split(" | ") for cell in manifest["members"]]]
        assert len(members) >= 1
        assert task_id in others["task_id"].to_list()
    found = counterfactuals(manifest, names, names[:2], images_of)
    grand = manifest.loc[manifest["n_contributors"] == len(names), "task_id"].iloc[0]
    for name, one in found.items():
        assert one.n_members + len(one.also_missing) + 1 == len(names)
        assert name not in one.also_missing
        assert (one.with_all == images_of(grand)).all()
    assert chosen_contributors(list("abcdef"), 4) == ["a", "b", "e", "f"]


def test_convergence_ends_in_the_reported_values():
    made = tables()
    table = convergence_table(made["utilities"], made["contributors"], made["shapley_values"], ESTIMATION, 3)
    assert sorted(table["n_evaluations"].unique()) == [10, 24, 40]
    last = table[table["n_evaluations"] == 40].reset_index(drop=True)
    reported = made["shapley_values"].reset_index(drop=True)
    assert last["shapley_value"].to_list() == reported["shapley_value"].to_list()
    assert prefix_lengths(8, 5) == [8]
    assert prefix_lengths(49, 4) == [10, 22, 36, 49]


def test_pictures_keep_small_images_exact_and_make_large_ones_small():
    image = np.random.default_rng(0).integers(0, 256, (3, 16, 16), np.uint8)
    kind, _, data = data_uri(image).partition(",")
    assert kind == "data:image/png;base64"
    assert (np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).transpose(2, 0, 1) == image).all()
    kind, _, data = data_uri(np.zeros((1, 600, 300), np.uint8)).partition(",")
    assert kind == "data:image/webp;base64"
    assert max(Image.open(io.BytesIO(base64.b64decode(data))).size) == 128
    assert spread(3, 8) == [0, 1, 2]
    assert spread(100, 3) == [0, 50, 99]


def test_numbers_are_rounded_for_reading():
    assert [number(v) for v in (-2.6, 0.0, 99.96, 1234.4, 0.00012345, float("nan"))] == [
        "−2.60", "0", "100", "1234", "0.000123", "none"
    ]  # fmt: skip
    assert number(2.0, sign=True) == "+2.00"
    assert flat_parameters({"a": {"b": None, "c": [1]}, "d": {}}) == [("a.b", "null"), ("a.c", "[1]"), ("d", "{}")]


def test_the_same_inputs_give_the_same_page_and_the_plots_hold_the_exact_values():
    inputs = report_inputs()
    assert write_page(inputs) == write_page(report_inputs())
    games = {name: fit_game(inputs.measured[0], values) for name, values in inputs.measured[1].items()}
    for drawn in chart_data(inputs, games)["properties"]:
        table = inputs.values_of(drawn["name"])
        assert drawn["values"] == table[["shapley_value", "ci_low", "ci_high"]].to_numpy().tolist()


def test_a_property_that_nobody_improved_is_paid_to_nobody_and_said_so():
    inputs = report_inputs()
    page = write_page(replace(inputs, payments=inputs.payments.assign(share_percent=float("nan"))))
    assert "nobody is paid" in page


def test_interactions_that_were_left_out_are_not_called_none():
    inputs = report_inputs()
    assert "not computed" not in write_page(inputs)
    page = write_page(replace(inputs, interactions=inputs.interactions.head(0)))
    assert page.count("not computed") == 2 * 2 * len(inputs.names)


def test_three_hundred_contributors_still_fit_into_one_page():
    names = [f"contributor {number:03}" for number in range(300)]
    fast = EstimationConfig(estimator="kernel_exact", companions=(), n_bootstrap=2)
    page = write_page(report_inputs(names, ReportingConfig(n_convergence_points=1), fast, budget=60))
    assert len(page) < 15e6
    assert page.count("Generated without this contributor") == 40
    assert "only the 40 best and worst ones" in page


def validation_tables(inputs):
    """Scores on half of the coalitions, "retrained" with a little noise, by the code of the pipeline validation."""
    attributions = gather(inputs.shapley_values, inputs.comparison, None, inputs.contributors, inputs.directions)
    noise = np.random.default_rng(1).normal(scale=0.05, size=(2, len(inputs.utilities), 2))
    retrained = pd.concat(
        [
            inputs.utilities.assign(
                split="validation", replicate=replicate, train_seconds=100.0,
                **{name: inputs.utilities[name] + noise[replicate, :, k] for k, name in enumerate(inputs.directions)},
            )
            for replicate in (0, 1)
        ]
    )  # fmt: skip
    return {
        "attributions": attributions,
        "lds": lds_table(attributions, retrained, inputs.contributors, ()),
        "fidelity": fidelity_table(inputs.utilities, retrained, inputs.contributors),
    }


def test_a_validation_appears_once_there_is_one_and_says_what_its_tables_say():
    inputs = report_inputs(tuple("abcdef"), ReportingConfig(n_convergence_points=1))
    assert 'id="validation"' not in write_page(inputs)
    assert validated(inputs) == []
    found = replace(inputs, **validation_tables(inputs))
    page = write_page(found)
    assert 'id="validation"' in page
    assert 'href="#validation"' in page
    accuracy = next(one for one in validated(found) if one["name"] == "accuracy")
    scores = found.lds[(found.lds["property"] == "accuracy") & found.lds["lds"].notna()]
    assert len(accuracy["lds"]) == len(scores)
    assert {row["size"] for row in accuracy["lds"] if row["is_ours"]} == set(scores["n_contributors"])
    of_size_2 = scores[(scores["attribution"] == "groupshap") & (scores["n_contributors"] == 2)].iloc[0]
    *of_sizes, fidelity = accuracy["sentences"]
    (about,) = [one for one in of_sizes if "coalitions of 2 of 6 contributors" in one]
    assert f"a rank correlation of {number(of_size_2['lds'], digits=2)} (" in about
    assert "other attributions" in about
    assert "counting images" not in about, "all have as many, so it predicts nothing"
    assert "Retraining takes 8.5 times as long" in fidelity
    other_values = inputs.shapley_values.assign(shapley_value=inputs.shapley_values["shapley_value"] + 1e-9)
    assert validated(replace(found, shapley_values=other_values)) == [], "of an earlier run"
    only_fidelity = validated(replace(found, lds=None))
    assert [len(one["sentences"]) for one in only_fidelity] == [1, 1]


def test_a_correction_says_where_the_fine_tuned_models_lean():
    inputs = report_inputs(tuple("abcdef"), ReportingConfig(n_convergence_points=1))
    assert corrected(inputs) == []
    values = inputs.shapley_values
    moved = 2.0 + 0.5 * (values["contributor"] == "c")
    moves = pd.DataFrame(
        {
            "property": values["property"],
            "contributor": values["contributor"],
            "cheap_value": values["shapley_value"] - moved,
            "corrected_value": values["shapley_value"],
            "moved": moved,
            "standard_error": 0.1,
            "estimator": "two_fidelity",
        }
    )
    found = corrected(replace(inputs, correction_moves=moves))
    assert [one["name"] for one in found] == list(inputs.properties)
    assert "on average 2.08 too low" in found[0]["sentence"]
    assert "the largest move of one contributor is 0.417" in found[0]["sentence"]
    assert found[0]["rows"][0]["contributor"] == "c"
    assert 'id="correction"' in write_page(replace(inputs, correction_moves=moves))
    alone = corrected(replace(inputs, correction_moves=moves.assign(estimator="gp")))
    assert "rest on the retrained models alone" in alone[0]["sentence"]
    other = moves.assign(corrected_value=moves["corrected_value"] + 1)
    assert corrected(replace(inputs, correction_moves=other)) == [], "of an earlier run"
