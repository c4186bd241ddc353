"""Tracking against a real sqlite store: a parent per run, children once, results never lost."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys

import pandas as pd
import pytest
from kedro.pipeline import Node, Pipeline
from tiny_project import CATALOG, MLFLOW_YML, Project, measured, pipeline_of, utilities_of

from groupshap.members import join_members, split_members
from groupshap.store import sha256_of_file
from groupshap.tracking import TrackingError, writer
from groupshap.tracking.description import Findings, describe_run
from groupshap.tracking.names import child_name, child_tags, flat_parameters, table_metrics


def test_a_run_is_a_parent_with_everything_to_find_it_again(project, tmp_path):
    weights = tmp_path / "committed.safetensors"
    weights.write_bytes(b"weights")
    project.run(pipeline_of(measured(), weights))
    (parent,) = project.runs("kedro_run")
    assert parent.info.run_name == "avatars · 5 contributors · seed 3 · all pipelines"
    assert parent.info.status == "FINISHED"
    assert parent.data.params == {
        "data_grouping.source": "avatars",
        "root_seed": "3",
        "sizes": "[1, 2]",
        "none": "null",
    }
    tags = {key: value for key, value in parent.data.tags.items() if not key.startswith("mlflow.")}
    assert tags.pop("kedro_run_id")
    assert tags == {
        "kind": "kedro_run",
        "pipelines": "__default__",
        "env": "base",
        "family": "default of the code",
        "data_source": "avatars",
        "data_sha256": sha256_of_file(project.folder / "images.npz"),
        "splits": "estimation",
        "properties": "frechet, diversity",
        "fingerprint": "ab12",
        "estimates_values": "yes",
        "model.tiny-model": "version 1",
        "model.tiny-model.sha256": sha256_of_file(weights),
    }
    seconds = parent.data.metrics.pop("seconds")
    assert 0 < seconds < 60
    assert parent.data.metrics == {
        "n_evaluations": 6.0,
        "train_seconds": 7.5,
        "sample_seconds": 3.0,
        "v_empty_frechet": 100.0,
        "v_grand_frechet": 20.0,
        "relative_standard_error_frechet": 0.25,
        "v_empty_diversity": 0.0,
        "v_grand_diversity": 0.5,
    }, "what is not finite is left out"
    assert project.artefacts(parent.info.run_id) == {
        "tables/utilities.csv",
        "tables/shapley_values.csv",
        "tables/directions.json",
        "figures/attribution_frechet.png",
        "report.html",
        "models/tiny-model/committed.safetensors",
        "models/tiny-model/model.json",
    }


def test_the_description_names_the_best_coalition_first_and_whose_it_is(project):
    project.run(pipeline_of(measured()))
    (parent,) = project.runs("kedro_run")
    note = parent.data.tags["mlflow.note.content"]
    first, frechet, diversity = [line for line in note.splitlines() if line][:3]
    assert first == "**Best of 6 measured coalitions**"
    assert "**frechet** 16.67, estimation · 5 of 5: " in frechet, "lower is better"
    assert "**diversity** 0.9, estimation · 3 of 5: " in diversity
    assert r"Ashley \<b\>Seo\</b\>, Lisa \| Co, DiceBear (" in diversity, "names are text, not Markdown"
    assert "orderByKey=metrics.%60diversity%60&orderByAsc=false" in diversity
    assert "| frechet | lower | 100 | 20 | Ashley" in note
    assert "| 007 +1.67 [+1.47, +1.87] | 25 %, not converged |" in note
    child = next(run for run in project.runs("coalition") if run.data.metrics["n_contributors"] == 3)
    assert r"**3 contributors**: Ashley \<b\>Seo\</b\>, Lisa \| Co, DiceBear." in child.data.tags["mlflow.note.content"]


def test_nobody_is_no_answer_to_whose_coalition_is_the_best():
    table = utilities_of(measured())
    table.loc[0, "diversity"] = 7.0
    findings = Findings(utilities=table, directions={"frechet": False, "diversity": True})
    _, frechet, diversity = [line for line in describe_run(findings, "1", "ab12").splitlines() if line][:3]
    assert "nobody" not in frechet
    assert "**diversity** 0.9, estimation · 3 of 5: " in diversity
    assert diversity.endswith("; noise, from the untrained model of nobody, has 7")


def test_every_row_is_a_child_with_metrics_and_tags(project):
    project.run(pipeline_of(measured()))
    (parent,) = project.runs("kedro_run")
    children = {run.data.tags["coalition_id"]: run for run in project.runs("coalition")}
    assert len(children) == 6
    child = children["0003e1"]
    assert child.info.status == "FINISHED"
    assert child.info.run_name == "estimation · 3 of 5: Ashley <b>Seo</b> | Lisa | Co | DiceBear"
    assert child.data.metrics == {
        "frechet": 25.0,
        "diversity": 3 / 10 * 3,
        "n_contributors": 3.0,
        "train_seconds": 1.5,
        "sample_seconds": 0.5,
    }
    tags = {key: value for key, value in child.data.tags.items() if not key.startswith("mlflow.")}
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert split_members(tags.pop("members")) == ["Ashley <b>Seo</b>", "Lisa | Co", "DiceBear"]
    assert tags == {
        "kind": "coalition",
        "split": "estimation",
        "coalition_id": "0003e1",
        "replicate": "0",
        "fingerprint": "ab12",
        "checkpoint": "data/06_models/x.safetensors",
        "checkpoint_sha256": "cd" * 32,
        "family": "default of the code",
        "data_source": "avatars",
        "data_sha256": parent.data.tags["data_sha256"],
    }
    assert "train_seconds" not in children["0000e1"].data.metrics
    names = {children[key].info.run_name for key in ("0000e1", "0005e1")}
    assert names == {"estimation · 0 of 5: nobody", "estimation · 5 of 5: everybody"}


def test_names_of_children_hold_as_many_whole_members_as_fit():
    row = {"split": "validation", "replicate": 1, "members": join_members(f"designer {i:02d}" for i in range(30))}
    name = child_name(row, 40)
    assert name.startswith("validation · 30 of 40: designer 00 | designer 01 | ")
    assert name.endswith(" | … 26 more (replicate 1)")
    long = child_name({**row, "members": "x" * 300, "replicate": 0}, 40)
    assert len(long) < 80
    assert "…" in long


@pytest.mark.parametrize("register", [True, False])
def test_a_model_is_registered_once_with_its_bytes_and_checksum(project, tmp_path, register):
    project = Project(project.folder, {**MLFLOW_YML, "register_models": register})
    weights = tmp_path / "weights.safetensors"
    for content in (b"one", b"one", b"two", b"one"):
        weights.write_bytes(content)
        project.run(pipeline_of(measured(), weights))
    versions = project.client.search_model_versions("name = 'tiny-model'")
    parents = project.runs("kedro_run")
    if not register:
        assert versions == []
        assert not any("models/" in path for run in parents for path in project.artefacts(run.info.run_id))
        return
    assert sorted(int(version.version) for version in versions) == [1, 2]
    assert [run.data.tags["model.tiny-model"] for run in parents] == [
        "version 1",
        "version 1",
        "version 2",
        "version 1",
    ]
    for version, content in zip(sorted(versions, key=lambda v: int(v.version)), (b"one", b"two"), strict=True):
        folder = tmp_path / f"downloaded {version.version}"
        folder.mkdir()
        found = project.client.download_artifacts(version.run_id, "models/tiny-model", str(folder))
        assert (folder / found / "weights.safetensors").read_bytes() == content
        assert version.tags["sha256"] == sha256_of_file(folder / found / "weights.safetensors")
        assert version.tags["path"] == str(weights)
        assert version.tags["data_source"] == "avatars"


def test_a_second_run_adds_only_what_is_missing(project, monkeypatch):
    """Also with more children than one page of the search holds, and with one that was left unfinished."""
    monkeypatch.setattr(writer, "_N_RUNS_PER_PAGE", 3)
    project.run(pipeline_of(measured(8)))
    first = {run.info.run_id for run in project.runs("coalition")}
    project.client.update_run(min(first), status="RUNNING")
    project.run(pipeline_of(measured(10)))
    second = project.runs("coalition")
    assert len(second) == 10
    assert first < {run.info.run_id for run in second}
    assert {run.info.status for run in second} == {"FINISHED"}
    assert len(project.runs("kedro_run")) == 2
    project.run(pipeline_of(measured(4, fingerprint="ffff")))
    assert len(project.runs("coalition")) == 14


def test_a_later_run_of_a_part_can_be_reopened_too_but_shows_no_old_pictures(project):
    project.run(pipeline_of(measured()))
    project.run(pipeline_of(measured()).only_nodes("estimate"), names=["shapley_estimation"])
    first, second = project.runs("kedro_run")
    assert second.info.run_name == "avatars · 5 contributors · seed 3 · shapley_estimation"
    assert second.data.tags["data_sha256"] == first.data.tags["data_sha256"]
    tables = {"tables/directions.json", "tables/shapley_values.csv", "tables/utilities.csv"}
    assert project.artefacts(second.info.run_id) == tables, "what it read is there, what others drew is not"


def test_a_page_made_later_is_also_with_the_run_whose_values_it_shows(project):
    whole = pipeline_of(measured())
    other = pipeline_of(measured(fingerprint="cd34"))
    project.run(whole.filter(to_nodes=["estimate"]))
    project.run(other.filter(to_nodes=["estimate"]))
    project.run(Pipeline([*whole.only_nodes("plot").nodes, Node(len, "utilities", "n", name="read")]))
    first, second, third = (project.artefacts(run.info.run_id) for run in project.runs("kedro_run"))
    assert ["report.html" in files for files in (first, second, third)] == [False, True, True]


def test_held_out_coalitions_are_runs_too_and_nobody_is_everybody_by_mistake(project):
    who = pipeline_of(measured()).only_nodes("group").nodes
    held_out = measured(4).assign(split="validation", fingerprint="5678")
    project.run(Pipeline([*who, Node(lambda _: held_out, "images@file", "held_out", name="retrain")]))
    names = [run.info.run_name for run in project.runs("coalition")]
    assert len(names) == 4
    assert not [name for name in names if "everybody" in name]
    assert [name for name in names if name.startswith("validation · 3 of 5: ")]


def test_a_failed_node_makes_the_parent_failed(project):
    def fail():
        raise RuntimeError("2 of 24 tasks failed" + "!" * 9000)

    with pytest.raises(RuntimeError, match="2 of 24"):
        project.run(Pipeline([Node(fail, None, "report", name="fail")]))
    (parent,) = project.runs("kedro_run")
    assert parent.info.status == "FAILED"
    assert parent.data.tags["error"].startswith("RuntimeError: 2 of 24 tasks failed!")


def test_an_interrupted_run_is_killed_not_running_for_ever(project):
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        project.run(Pipeline([Node(interrupt, None, "report", name="interrupt")]))
    project.hooks._abandon()  # what the interpreter does at its end
    assert [run.info.status for run in project.runs("kedro_run")] == ["KILLED"]


def test_a_server_that_fails_after_the_start_costs_no_result(project, monkeypatch, caplog):
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    def refuse(*args, **kwargs):
        raise MlflowException("server on fire")

    monkeypatch.setattr(MlflowClient, "search_runs", refuse)
    with caplog.at_level(logging.ERROR):
        project.run(pipeline_of(measured()))
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert "did not take the runs of 6 measured models: server on fire" in line
    assert len(pd.read_csv(project.folder / "utilities.csv")) == 6
    monkeypatch.undo()
    project.run(pipeline_of(measured()))
    assert len(project.runs("coalition")) == 6


@pytest.mark.parametrize(
    "uri",
    [
        "http://user:secret@127.0.0.1:9",
        "sqlite:///conf/base/mlflow.yml/a_file_is_no_folder.db",
        "nonsense://x",
        "./mlruns",
    ],
)
def test_a_wrong_address_is_found_before_any_compute(project, monkeypatch, uri):
    monkeypatch.chdir(project.folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TrackingError, match="MLFLOW_TRACKING_URI") as caught:
        project.run(pipeline_of(measured()))
    assert "secret" not in str(caught.value)
    assert "enabled: false" in str(caught.value)
    assert not (project.folder / "images.npz").exists()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"experimnt": "x"}, "experimnt"), ({"tables": ["utilities", "no_such_table"]}, "no_such_table")],
)
def test_wrong_configuration_is_named_before_any_compute(tmp_path, wrong, said):
    with pytest.raises(TrackingError, match=said):
        Project(tmp_path, {**MLFLOW_YML, **wrong}).run(pipeline_of(measured()))
    assert not (tmp_path / "images.npz").exists()


def test_switched_off_it_writes_nothing(tmp_path):
    Project(tmp_path, {"enabled": False}).run(pipeline_of(measured()))
    assert (tmp_path / "utilities.csv").exists()
    assert not (tmp_path / "mlflow.db").exists()


def test_rows_of_a_score_table_are_named_by_their_words():
    rows = pd.DataFrame({"attribution": ["trak/sum", "size"], "size": [3, 3], "lds": [0.5, -0.25]})
    assert table_metrics("lds", rows, ["attribution", "size"], "lds") == {"lds_trak/sum_3": 0.5, "lds_size_3": -0.25}


def test_long_values_are_cut_with_a_note():
    names = [f"designer {i} with a long name" for i in range(400)]
    tag = child_tags({"members": " | ".join(names)})["members"]
    assert len(tag) <= 5000
    *shown, rest = tag.split(" | ")
    assert shown == names[: len(shown)]
    assert rest == f"… {400 - len(shown)} more, see the utilities table"
    assert len(flat_parameters({"a": {"b": "x" * 7000}})["a.b"]) == 6000


def test_in_a_real_session_the_hooks_find_their_file_and_import_mlflow_late(tmp_path, migrated):
    """`KedroSession` on a generated project: parameters from --params are logged."""
    shutil.copy(migrated, tmp_path / "mlflow.db")
    Project(tmp_path)
    (tmp_path / "conf/base/catalog.yml").write_text(CATALOG.replace("PROJECT/", ""))
    (tmp_path / "conf/local").mkdir()
    source = tmp_path / "src" / "tiny_project"
    source.mkdir(parents=True)
    (source / "__init__.py").touch()
    (source / "settings.py").write_text("from groupshap.tracking import TrackingHooks\nHOOKS = (TrackingHooks(),)\n")
    (source / "pipeline_registry.py").write_text(
        "from kedro.pipeline import Node, Pipeline\n"
        "def register_pipelines():\n"
        "    return {'__default__': Pipeline([Node(lambda: '<p>', None, 'report', name='report')])}\n"
    )
    (tmp_path / "pyproject.toml").write_text(
        "[tool.kedro]\npackage_name='tiny_project'\nproject_name='tiny'\nkedro_init_version='1.7.0'\nsource_dir='src'\n"
    )
    code = (
        "import sys\nfrom kedro.framework.session import KedroSession\n"
        "from kedro.framework.startup import bootstrap_project\n"
        f"bootstrap_project({str(tmp_path)!r})\n"
        f"with KedroSession.create({str(tmp_path)!r}, runtime_params={{'root_seed': 8}}) as session:\n"
        "    session.load_context()\n    assert 'mlflow' not in sys.modules\n    session.run()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=_quiet_environment(), cwd=tmp_path)
    project = Project(tmp_path)
    (parent,) = project.runs("kedro_run")
    assert parent.info.status == "FINISHED"
    assert parent.data.params["root_seed"] == "8"


def _quiet_environment() -> dict[str, str]:
    import os

    kept = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    return {**kept, "KEDRO_DISABLE_TELEMETRY": "1"}
