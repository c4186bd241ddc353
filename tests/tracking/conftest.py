"""Fixtures of tracking."""

from __future__ import annotations

import shutil

import pytest
from tiny_project import Project


@pytest.fixture(scope="session")
def migrated(tmp_path_factory):
    """An empty MLflow database: making one takes seconds of migrations, copying it none."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def project(tmp_path, migrated, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(migrated, tmp_path / "mlflow.db")
    return Project(tmp_path)
