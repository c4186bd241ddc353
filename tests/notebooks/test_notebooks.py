"""The notebooks as a user runs them, one after the other on the outputs of one run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from warm import kedro

PROJECT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted(path.name for path in (PROJECT / "notebooks").glob("*.ipynb"))
ENVIRONMENT = {"KEDRO_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1", "KEDRO_ENV": "test"}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project after `kedro run`."""
    folder = tmp_path_factory.mktemp("notebooks") / "project"
    for name in ("conf", "notebooks"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("local"))
    shutil.copy(PROJECT / "pyproject.toml", folder)
    for name in ("src", "conf/local"):
        (folder / name).mkdir()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW")} | ENVIRONMENT
    status, log = kedro(["run", "--params", "engine.kind=inline"], folder, environment)
    assert status == 0, log
    return folder


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_runs_from_the_first_to_the_last_cell(project, monkeypatch, name):
    for key, value in ENVIRONMENT.items():
        monkeypatch.setenv(key, value)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    notebook = nbformat.read(project / "notebooks" / name, as_version=4)
    client = NotebookClient(notebook, timeout=180, resources={"metadata": {"path": str(project / "notebooks")}})
    client.execute()
    results = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [output for output in results if "image/png" in output.get("data", {})]
    assert pictures, "every notebook shows a picture"
    assert not [output for output in results if output.output_type == "error"]
    if target := os.environ.get("NOTEBOOKS_TO"):  # to look at them: NOTEBOOKS_TO=/some/folder pytest tests/notebooks
        nbformat.write(notebook, Path(target) / name)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_is_committed_without_outputs_and_knows_no_path(name):
    notebook = nbformat.read(PROJECT / "notebooks" / name, as_version=4)
    nbformat.validate(notebook)
    assert not [cell for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")]
    assert "data/0" not in "".join(cell.source for cell in notebook.cells), "paths come from the catalog"
