"""Tracking against a real sqlite store: a parent per run, children once, results never lost."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml
from kedro.config import OmegaConfigLoader
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import DataCatalog
from kedro.pipeline import Node, Pipeline
from kedro.runner import SequentialRunner

from groupshap.store import sha256_of_file
from groupshap.tracking import TrackingError, TrackingHooks, writer
from groupshap.tracking.names import child_tags, flat_parameters

MLFLOW_YML = {
    "utilities_dataset": "utilities",
    "data_dataset": "images@file",
    "tables": ["utilities", "report"],
    "figures": ["plots"],
}
PARAMETERS = {
    "data_grouping": {"source": "avatars", "n_contributors": 10},
    "root_seed": 3,
    "sizes": [1, 2],
    "none": None,
}
CATALOG = """
images@text: {type: text.TextDataset, filepath: PROJECT/images.npz}
images@file: {type: groupshap.datasets.file_ref.FileRefDataset, filepath: PROJECT/images.npz}
utilities: {type: pandas.CSVDataset, filepath: PROJECT/utilities.csv}
report: {type: json.JSONDataset, filepath: PROJECT/report.json}
plots: {type: matplotlib.MatplotlibDataset, filepath: PROJECT/plots}
"""


def utilities(n_rows: int = 6, fingerprint: str = "ab12") -> pd.DataFrame:
    members = [" | ".join(f"designer {j}" for j in range(i)) for i in range(n_rows)]
    return pd.DataFrame(
        {
            "split": "estimation",
            "coalition_id": [f"c{i:04d}" for i in range(n_rows)],
            "replicate": 0,
            "n_contributors": range(n_rows),
            "members": members,
            "frechet": [100.0 / (i + 1) for i in range(n_rows)],
            "diversity": [i / 10 for i in range(n_rows)],
            "train_seconds": [float("nan"), *[1.5] * (n_rows - 1)],
            "sample_seconds": 0.5,
            "fingerprint": fingerprint,
            "checkpoint": "data/06_models/x.safetensors",
            "checkpoint_sha256": "cd" * 32,
        }
    )


def draw() -> dict:
    from matplotlib.figure import Figure

    return {"attribution_frechet.png": Figure(figsize=(1, 1))}


def pipeline_of(table: pd.DataFrame) -> Pipeline:
    return Pipeline(
        [
            Node(lambda: "pixels", None, "images@text", name="group"),
            Node(lambda _: table, "images@file", "utilities", name="measure"),
            Node(lambda _: {"a": 1}, "utilities", "report", name="report"),
            Node(lambda _: draw(), "report", "plots", name="plot"),
        ]
    )


@pytest.fixture(scope="session")
def migrated(tmp_path_factory):
    """An empty MLflow database: making one takes seconds of migrations, copying it none."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


class Project:
    """A Kedro project without its command line."""

    def __init__(self, folder, mlflow_yml=MLFLOW_YML):
        self.folder = folder
        for name, content in (("mlflow", mlflow_yml), ("parameters", PARAMETERS)):
            (folder / "conf/base").mkdir(parents=True, exist_ok=True)
            (folder / "conf/base" / f"{name}.yml").write_text(yaml.safe_dump(content))
        self.catalog = DataCatalog.from_config(yaml.safe_load(CATALOG.replace("PROJECT", str(folder))))
        self.hooks = TrackingHooks()

    def run(self, pipeline, names=None):
        """What KedroSession.run does, as far as hooks are concerned."""
        loader = OmegaConfigLoader(str(self.folder / "conf"), base_env="base", default_run_env="base")
        manager = _create_hook_manager()
        manager.register(self.hooks)
        manager.hook.after_context_created(
            context=SimpleNamespace(config_loader=loader, project_path=self.folder, env="base")
        )
        about = {"run_id": "now", "env": "base", "pipeline_names": names}
        everything = {"run_params": about, "pipeline": pipeline, "catalog": self.catalog}
        manager.hook.before_pipeline_run(**everything)
        try:
            result = SequentialRunner().run(pipeline, self.catalog, manager)
        except Exception as error:
            manager.hook.on_pipeline_error(error=error, **everything)
            raise
        manager.hook.after_pipeline_run(run_result=result, **everything)

    @property
    def client(self):
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=f"sqlite:///{self.folder}/mlflow.db")

    def runs(self, kind):
        experiment = self.client.get_experiment_by_name("groupshap").experiment_id
        return self.client.search_runs([experiment], f"tags.kind = '{kind}'", order_by=["attributes.start_time"])


@pytest.fixture
def project(tmp_path, migrated, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(migrated, tmp_path / "mlflow.db")
    return Project(tmp_path)


def test_a_run_is_a_parent_with_everything_to_find_it_again(project):
    project.run(pipeline_of(utilities()))
    (parent,) = project.runs("kedro_run")
    assert parent.info.run_name == "avatars · seed 3 · all pipelines"
    assert parent.info.status == "FINISHED"
    assert parent.data.params == {
        "data_grouping.source": "avatars",
        "data_grouping.n_contributors": "10",
        "root_seed": "3",
        "sizes": "[1, 2]",
        "none": "null",
    }
    assert parent.data.tags["data_sha256"] == sha256_of_file(project.folder / "images.npz")
    assert parent.data.tags["pipelines"] == "__default__"
    artefacts = {
        path.relative_to(project.folder / "mlruns" / parent.info.run_id / "artifacts").as_posix()
        for path in (project.folder / "mlruns").rglob("*.*")
    }
    assert artefacts == {"tables/utilities.csv", "tables/report.json", "figures/attribution_frechet.png"}


def test_every_row_is_a_child_with_metrics_and_tags(project):
    project.run(pipeline_of(utilities()))
    (parent,) = project.runs("kedro_run")
    children = {run.data.tags["coalition_id"]: run for run in project.runs("coalition")}
    assert len(children) == 6
    child = children["c0003"]
    assert child.info.status == "FINISHED"
    assert child.data.metrics == {
        "frechet": 25.0,
        "diversity": 0.3,
        "n_contributors": 3.0,
        "train_seconds": 1.5,
        "sample_seconds": 0.5,
    }
    tags = {key: value for key, value in child.data.tags.items() if not key.startswith("mlflow.")}
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert tags == {
        "kind": "coalition",
        "split": "estimation",
        "coalition_id": "c0003",
        "replicate": "0",
        "fingerprint": "ab12",
        "members": "designer 0 | designer 1 | designer 2",
        "checkpoint": "data/06_models/x.safetensors",
        "checkpoint_sha256": "cd" * 32,
        "data_sha256": parent.data.tags["data_sha256"],
    }
    assert "train_seconds" not in children["c0000"].data.metrics


def test_a_second_run_adds_only_what_is_missing(project, monkeypatch):
    """Also with more children than one page of the search holds, and with one that was left unfinished."""
    monkeypatch.setattr(writer, "_N_RUNS_PER_PAGE", 3)
    project.run(pipeline_of(utilities(8)))
    first = {run.info.run_id for run in project.runs("coalition")}
    project.client.update_run(min(first), status="RUNNING")
    project.run(pipeline_of(utilities(10)))
    second = project.runs("coalition")
    assert len(second) == 10
    assert first < {run.info.run_id for run in second}
    assert {run.info.status for run in second} == {"FINISHED"}
    assert len(project.runs("kedro_run")) == 2
    project.run(pipeline_of(utilities(4, fingerprint="ffff")))
    assert len(project.runs("coalition")) == 14


def test_only_results_of_this_run_are_logged_and_old_data_still_has_its_checksum(project):
    project.run(pipeline_of(utilities()))
    project.run(pipeline_of(utilities()).only_nodes("report"), names=["shapley_estimation"])
    first, second = project.runs("kedro_run")
    assert second.info.run_name == "avatars · seed 3 · shapley_estimation"
    assert second.data.tags["data_sha256"] == first.data.tags["data_sha256"]
    tables = [item.path for item in project.client.list_artifacts(second.info.run_id, "tables")]
    assert tables == ["tables/report.json", "tables/utilities.csv"], "what it read is there too, to reopen the run"
    assert project.client.list_artifacts(second.info.run_id, "figures") == []


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
        project.run(pipeline_of(utilities()))
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert "did not take the runs of 6 measured models: server on fire" in line
    assert len(pd.read_csv(project.folder / "utilities.csv")) == 6
    monkeypatch.undo()
    project.run(pipeline_of(utilities()))
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
        project.run(pipeline_of(utilities()))
    assert "secret" not in str(caught.value)
    assert "enabled: false" in str(caught.value)
    assert not (project.folder / "images.npz").exists()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"experimnt": "x"}, "experimnt"), ({"tables": ["utilities", "no_such_table"]}, "no_such_table")],
)
def test_wrong_configuration_is_named_before_any_compute(tmp_path, wrong, said):
    with pytest.raises(TrackingError, match=said):
        Project(tmp_path, {**MLFLOW_YML, **wrong}).run(pipeline_of(utilities()))
    assert not (tmp_path / "images.npz").exists()


def test_switched_off_it_writes_nothing(tmp_path):
    Project(tmp_path, {"enabled": False}).run(pipeline_of(utilities()))
    assert (tmp_path / "utilities.csv").exists()
    assert not (tmp_path / "mlflow.db").exists()


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
        "    return {'__default__': Pipeline([Node(lambda: {'a': 1}, None, 'report', name='report')])}\n"
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
