"""Baselines, validation, counterfactuals and ablation as a user runs them, after a finished run."""

from __future__ import annotations

import shutil

import pandas as pd
import pytest
from mlflow import MlflowClient

from test_run import PROPERTIES, Copy


@pytest.fixture(scope="module")
def validated(tmp_path_factory):
    copy = Copy(tmp_path_factory.mktemp("validated") / "project")
    copy.run()
    copy.log = copy.run("--pipelines", "baselines,validation")
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


def test_the_same_command_again_computes_nothing_and_changes_nothing(validated):
    scores = report(validated, "lds")
    log = validated.run("--pipelines", "validation")
    assert " 0 to fine-tune" in log
    assert "0 re-used" not in log
    pd.testing.assert_frame_equal(report(validated, "lds"), scores)


def test_values_of_another_run_are_scored_beside_ours_or_refused(validated, tmp_path):
    rival = tmp_path / "rival.csv"
    shutil.copy(validated.folder / "data/08_reporting/shapley_values.csv", rival)
    validated.run("--pipelines", "validation", "--params", f"validation.rivals.twin={rival}")
    lds = report(validated, "lds").set_index(["attribution", "property", "n_contributors"])["lds"]
    pd.testing.assert_series_equal(lds["twin"], lds["groupshap"])
    log = validated.run("--pipelines", "validation", "--params", "validation.rivals.gone=/nowhere.csv", code=1)
    assert "`validation.rivals` cannot be used" in log
    assert "gone (/nowhere.csv)" in log


def test_counterfactuals_and_ablation_end_in_tables_and_pictures(validated):
    validated.run("--pipelines", "counterfactuals,ablation")
    changes = report(validated, "counterfactuals")
    assert set(changes["end"]) == {"top", "bottom"}
    assert set(changes["attribution"]) == {"groupshap", "size"}
    ablation = report(validated, "ablation")
    assert len(ablation) == 4
    assert ablation["is_recommended"].sum() == 1
    assert set(ablation["fraction_removed"]) == {0.0, 0.5}
    pictures = {path.name for path in (validated.folder / "data/08_reporting").glob("*.png")}
    assert {"ablation.png", f"counterfactuals_{PROPERTIES[0]}_40.png", f"fidelity_{PROPERTIES[0]}.png"} <= pictures
    log = validated.run("--pipelines", "counterfactuals", "--params", "counterfactuals.attributions=[nobody]", code=1)
    assert "expected names among" in log


def test_a_few_retrainings_correct_the_values_and_a_second_run_repeats_them(validated):
    stages = "correction,shapley_estimation"
    options = "correction.adaptive=true,correction.n_retrained=10,correction.property=diversity_entropy"
    validated.run("--pipelines", stages, "--params", options)
    rounds = report(validated, "correction_rounds")
    assert rounds["n_retrained"].iloc[-1] >= 10
    assert rounds["seconds"].is_monotonic_increasing
    moves, values = report(validated, "correction_moves"), validated.values()
    assert set(moves["property"]) == set(PROPERTIES)
    committed = validated.committed()
    validated.run("--pipelines", stages, "--params", options)
    assert validated.values() == values
    assert validated.committed() == committed
