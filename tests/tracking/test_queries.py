"""Tables from the store alone: sqlite, and a real server on loopback that also takes the runs and their files."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pandas as pd
import pytest
from tiny_project import NAMES, Project, measured, pipeline_of

from groupshap.tracking import TrackingError, compare, shapley_values, utilities

ALL = "avatars · 5 contributors · seed 3 · all pipelines"


@pytest.fixture(scope="module")
def server(tmp_path_factory, migrated):
    """The address of `mlflow server`; it keeps the files of the runs itself."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(migrated, folder / "mlflow.db")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    command += ["--artifacts-destination", str(folder / "artefacts"), "--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--workers", "1"], stdout=log, stderr=log, cwd=folder, env=environment, start_new_session=True
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


def _wait_for(url: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            assert process.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.2)
        else:
            return


def awkward() -> pd.DataFrame:
    """Floats that need all their digits, ids that look like numbers."""
    table = measured()
    return table.assign(frechet=np.random.default_rng(0).normal(size=len(table)) * 10.0 ** np.arange(-9, 9, 3))


@pytest.fixture
def tracked(project):
    project.run(pipeline_of(awkward()))
    project.run(pipeline_of(measured(fingerprint="ffff"), sign=-1.0))
    return project


def test_an_old_run_gives_its_table_again_from_the_store_alone(tracked):
    first, second = tracked.runs("kedro_run")
    bits = awkward()["frechet"].to_numpy().tobytes()
    newest = (tracked.folder / "utilities.csv").read_text()
    for file in tracked.folder.glob("*.csv"):
        file.unlink()
    old = utilities(first.info.run_id, tracked.uri)
    assert old["frechet"].to_numpy().tobytes() == bits
    assert old["coalition_id"].tolist()[:2] == ["0000e1", "0001e1"], "not 0 and 10"
    assert old["members"].tolist()[0] == ""
    for run in ("latest", ALL, second.info.run_id):
        assert utilities(run, tracked.uri).to_csv(index=False) == newest
    values = shapley_values("latest", tracked.uri)
    assert values["contributor"].tolist()[:5] == NAMES
    assert values["share"].isna().all()
    assert values["shapley_value"].iloc[0] == -1 / 3


def test_it_looks_into_the_store_of_the_project_around_it(tracked, monkeypatch):
    (tracked.folder / "pyproject.toml").write_text("[tool.kedro]\npackage_name='p'\nproject_name='p'\n")
    (tracked.folder / "conf/local").mkdir()
    monkeypatch.chdir(tracked.folder / "conf")
    assert len(utilities("latest")) == 6
    monkeypatch.chdir("/")
    with pytest.raises(TrackingError, match="MLFLOW_TRACKING_URI"):
        utilities("latest")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracked.uri)
    assert len(utilities("latest")) == 6


def test_two_runs_side_by_side(tracked):
    first, second = (run.info.run_id for run in tracked.runs("kedro_run"))
    same = compare(first, first, tracked.uri)
    assert (same["difference"] == 0).all()
    assert same["intervals_overlap"].all()
    assert same["spearman"].tolist() == pytest.approx([1.0] * 10)
    opposite = compare(first, second, tracked.uri)
    assert list(opposite) == [
        *("property", "contributor", "value_a", "ci_low_a", "ci_high_a", "value_b", "ci_low_b", "ci_high_b"),
        *("difference", "intervals_overlap", "spearman"),
    ]
    assert opposite["property"].tolist() == ["frechet"] * 5 + ["diversity"] * 5
    assert opposite["difference"].tolist()[:2] == pytest.approx([-2 / 3, -4 / 3])
    assert not opposite["intervals_overlap"].any()
    assert opposite["spearman"].tolist() == pytest.approx([-1.0] * 10)


def test_a_contributor_of_one_run_only_is_shown_with_gaps(tracked, monkeypatch):
    import tiny_project

    monkeypatch.setattr(tiny_project, "NAMES", [*NAMES[:4], "newcomer"])
    tracked.run(pipeline_of(measured()))
    table = compare(tracked.runs("kedro_run")[0].info.run_id, "latest", tracked.uri).set_index("contributor")
    assert len(table) == 12
    assert table.loc["newcomer", "value_a"].isna().all()
    assert table.loc["007", ["value_b", "difference", "intervals_overlap"]].isna().all(axis=None)
    assert table.loc["newcomer", "spearman"].tolist() == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize(
    ("run", "said"),
    [("avatars · nobody", "expected an id, a name"), ("it's", "No run"), ("0" * 32, "0000"), ("part", "has no tables")],
)
def test_what_is_not_there_is_said(project, run, said):
    project.run(pipeline_of(measured()).only_nodes("group"))
    if run == "part":
        run = project.runs("kedro_run")[0].info.run_id
    with pytest.raises(TrackingError, match=said):
        utilities(run, project.uri)


def test_all_of_it_on_a_remote_server(server, tmp_path, monkeypatch):
    """Runs, files and models go there and come back; the project keeps no database."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"weights")
    project = Project(tmp_path)
    project.run(pipeline_of(awkward(), weights))
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert not (tmp_path / "mlflow.db").exists()
    back = utilities("latest", server)
    assert back.to_csv(index=False) == (tmp_path / "utilities.csv").read_text()
    assert back["frechet"].to_numpy().tobytes() == awkward()["frechet"].to_numpy().tobytes()
    assert compare("latest", ALL, server)["spearman"].tolist() == pytest.approx([1.0] * 10)
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=server)
    (version,) = client.search_model_versions("name = 'tiny-model'")
    (tmp_path / "back").mkdir()
    folder = client.download_artifacts(version.run_id, "models/tiny-model", str(tmp_path / "back"))
    assert (tmp_path / "back" / folder / "weights.safetensors").read_bytes() == b"weights"
    children = client.search_runs([client.get_experiment_by_name("groupshap").experiment_id], "tags.kind = 'coalition'")
    assert sorted(run.data.metrics["frechet"] for run in children) == sorted(awkward()["frechet"]), "the same bits"
