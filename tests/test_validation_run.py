"""Baselines, validation, counterfactuals and ablation as a user runs them, after a finished run."""

from __future__ import annotations

import shutil

import pandas as pd
import pytest
from mlflow import MlflowClient

from groupshap.pipelines.counterfactuals.nodes import choose_removals
from groupshap.tasks.config import CounterfactualConfig
from groupshap.validation.rivals import with_rivals
from test_run import INLINE, PROPERTIES, Copy


@pytest.fixture(scope="module")
def validated(tmp_path_factory):
    copy = Copy(tmp_path_factory.mktemp("validated") / "project")
    copy.run("--params", INLINE)
    copy.log = copy.run("--pipelines", "baselines,validation", "--params", INLINE)
    return copy


def report(copy, name):
    return pd.read_csv(copy.folder / f"data/08_reporting/{name}.csv", keep_default_na=False, na_values=[""])


def test_validation_scores_ours_baselines_and_companions_beside_the_ceiling(validated):
    lds = report(validated, "lds")
    assert {"groupshap", "shapley/kernel", "size", "random", "trak/sum", "pixel_similarity/max"} <= set(
        lds["attribution"]
    )
    assert {"loo", "add_one_in", "banzhaf"} <= {name.partition("/")[0] for name in lds["attribution"]}
    assert set(lds["property"]) == set(PROPERTIES)
    held_out = pd.read_csv(validated.folder / "data/07_model_output/validation_utilities.csv", keep_default_na=False)
    assert held_out["replicate"].value_counts().nunique() == 1, "as many replicates of every coalition"
    planned = set(validated.table("05_model_input/coalitions.csv")["coalition_id"])
    of_size = held_out.loc[held_out["n_contributors"] == 3, "coalition_id"].unique()
    row = lds[lds["n_contributors"] == 3].iloc[0]
    assert row["n_removed"] == len(planned & set(of_size))
    assert row["n_coalitions"] == len(set(of_size) - planned)
    fidelity = report(validated, "fidelity")
    assert {"pearson_v", "pearson_shapley", "cost_ratio"} <= set(fidelity["measure"])
    stages = report(validated, "residual_influence")["stage"]
    assert stages.tolist() == ["before", "after", "retrained"]
    recorded = pd.read_parquet(validated.folder / "data/08_reporting/recorded_game.parquet")
    assert recorded["recipe"].value_counts().to_dict()["retrain"] == len(held_out)


def test_scores_are_metrics_of_the_run_in_mlflow(validated):
    client = MlflowClient(f"sqlite:///{validated.folder / 'mlflow.db'}")
    (run,) = client.search_runs(["1"], "tags.pipelines = 'baselines, validation'")
    lds = report(validated, "lds").set_index(["attribution", "property", "n_contributors"])["lds"]
    logged = run.data.metrics[f"lds_groupshap_{PROPERTIES[0]}_3"]
    assert logged == lds["groupshap", PROPERTIES[0], 3]
    assert f"fidelity_pearson_v_{PROPERTIES[0]}" in run.data.metrics
    tables = {file.path for file in client.list_artifacts(run.info.run_id, "tables")}
    assert {"tables/lds.csv", "tables/fidelity.csv"} <= tables


def test_a_second_run_computes_nothing_and_scores_another_run_beside_ours(validated, tmp_path):
    rival = tmp_path / "rival.csv"
    shutil.copy(validated.folder / "data/08_reporting/shapley_values.csv", rival)
    key = ["attribution", "property", "n_contributors"]
    before = report(validated, "lds").set_index(key)["lds"]
    log = validated.run("--pipelines", "validation", "--params", f"{INLINE},validation.rivals.twin={rival}")
    assert " 0 to fine-tune" in log
    assert "0 re-used" not in log
    after = report(validated, "lds").set_index(key)["lds"]
    pd.testing.assert_series_equal(after.loc[before.index], before)
    pd.testing.assert_series_equal(after["twin"], after["groupshap"])


def test_rivals_that_cannot_be_used_are_all_named(validated, tmp_path):
    own = report(validated, "attributions")
    contributors = pd.read_csv(validated.folder / "data/03_primary/contributors.csv", keep_default_na=False)
    short = tmp_path / "short.csv"
    values = report(validated, "shapley_values")
    values[values["contributor"] != values["contributor"][0]].to_csv(short, index=False)
    with pytest.raises(ValueError, match=r"(?s)cannot be used.*gone \(/nowhere.csv\).*short .*got 5"):
        with_rivals(own, {"gone": "/nowhere.csv", "short": str(short)}, contributors)


def test_counterfactuals_and_ablation_end_in_tables_and_pictures(validated):
    validated.run("--pipelines", "counterfactuals,ablation", "--params", INLINE)
    changes = report(validated, "counterfactuals")
    assert set(changes["end"]) == {"top", "bottom"}
    assert set(changes["attribution"]) == {"groupshap", "size"}
    ablation = report(validated, "ablation")
    assert len(ablation) == 4
    assert ablation["is_recommended"].sum() == 1
    assert set(ablation["fraction_removed"]) == {0.0, 0.5}
    pictures = {path.name for path in (validated.folder / "data/08_reporting").glob("*.png")}
    assert {"ablation.png", f"counterfactuals_{PROPERTIES[0]}_40.png", f"fidelity_{PROPERTIES[0]}.png"} <= pictures


def test_an_attribution_that_was_not_computed_is_refused(validated):
    config = CounterfactualConfig(attributions=("nobody",))
    with pytest.raises(ValueError, match=r"expected names among groupshap, .* got nobody"):
        choose_removals(report(validated, "attributions"), None, {}, None, config, None)
    with pytest.raises(ValueError, match="run `kedro run --pipelines validation` first"):
        choose_removals(None, None, {}, None, config, None)


def test_a_few_retrainings_correct_the_values(validated):
    stages = "correction,shapley_estimation"
    options = f"{INLINE},correction.adaptive=true,correction.n_retrained=10,correction.property=diversity_entropy"
    validated.run("--pipelines", stages, "--params", options)
    rounds = report(validated, "correction_rounds")
    assert rounds["n_retrained"].iloc[-1] >= 10
    assert rounds["seconds"].is_monotonic_increasing
    moves, values = report(validated, "correction_moves"), report(validated, "shapley_values")
    assert set(moves["property"]) == set(PROPERTIES)
    key = ["property", "contributor"]
    pd.testing.assert_series_equal(
        moves.set_index(key)["corrected_value"].sort_index(),
        values.set_index(key)["shapley_value"].sort_index(),
        check_names=False,
    )
