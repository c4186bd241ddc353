"""What is tracked and where: ``conf/<env>/mlflow.yml``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.config import MissingConfigException
from pydantic import BaseModel, ConfigDict, Field

from groupshap.errors import UserError

if TYPE_CHECKING:
    from kedro.config import AbstractConfigLoader
    from kedro.io import DataCatalog

__all__ = ["CONFIG_PATTERNS", "TrackingConfig", "TrackingError", "load_config", "load_or_empty", "store_address"]

CONFIG_PATTERNS = ["mlflow*", "mlflow*/**", "**/mlflow*"]


class TrackingError(UserError, RuntimeError):
    """The MLflow store cannot be used, or does not hold what was asked for."""


class MetricColumns(BaseModel):
    """Which numbers of a table become metrics: one per row."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: tuple[str, ...] = Field(min_length=1)
    """Columns whose words, joined, follow the table's name in the metric's."""
    value: str
    """Column with the number."""


class TrackingConfig(BaseModel):
    """Content of ``conf/<env>/mlflow.yml``; every key may be left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = True
    """False: nothing is tracked, and MLflow is not imported."""
    experiment: str = "groupshap"
    """MLflow experiment, made if needed."""
    tracking_uri: str | None = None
    """MLflow store; the environment variable MLFLOW_TRACKING_URI goes first. None: ``mlflow.db`` in the project."""
    parameter_tags: dict[str, str] = Field(default_factory=dict)
    """Tag of every run to the dotted parameter it is taken from."""
    measured_datasets: tuple[str, ...] = ("utilities",)
    """Tables with one row per measured model: become the child runs. Those that the catalog lacks are passed over."""
    data_dataset: str | None = None
    """Entry that loads as a FileRef on the images; its sha256 becomes the tag ``data_sha256``."""
    contributors_dataset: str | None = None
    """Table with one row per contributor; their number is part of the names of runs."""
    utilities_dataset: str | None = None
    """Utilities table; the description names the best coalitions in it."""
    values_dataset: str | None = None
    """Table of Shapley values, for the description."""
    diagnostics_dataset: str | None = None
    """Table with one row per property; its numbers become metrics of the run."""
    directions_dataset: str | None = None
    """Property to whether higher is better, for the description."""
    metric_tables: dict[str, MetricColumns] = Field(default_factory=dict)
    """Table to the columns whose numbers become metrics of the run."""
    tables: tuple[str, ...] = ()
    """Datasets logged as CSV (tables) or JSON (anything else)."""
    figures: tuple[str, ...] = ()
    """Datasets whose picture file, or folder of pictures, is logged."""
    report_dataset: str | None = None
    """Page logged beside the folders of tables and figures, where the catalog has it; also with the earlier run whose
    values it shows."""
    register_models: bool = True
    """False: no model is copied to the store, and the model registry stays as it is."""
    models: dict[str, str] = Field(default_factory=dict)
    """Registered model to the dataset that holds it."""

    def datasets(self) -> list[str]:
        """All entries that the catalog must have."""
        single = (
            self.data_dataset, self.contributors_dataset, self.utilities_dataset, self.values_dataset,
            self.diagnostics_dataset, self.directions_dataset,
        )  # fmt: skip
        return [*filter(None, single), *self.metric_tables, *self.tables, *self.figures, *self.models.values()]


def load_config(loader: AbstractConfigLoader, catalog: DataCatalog | None = None) -> TrackingConfig:
    """Content of mlflow.yml, checked against the catalog.

    Raises:
        TrackingError: unknown keys, wrong values, or datasets that the catalog does not have.
    """
    loader.config_patterns.setdefault("mlflow", CONFIG_PATTERNS)
    try:
        config = TrackingConfig(**load_or_empty(loader, "mlflow"))
    except ValueError as error:
        raise TrackingError(f"mlflow.yml: {error}") from error
    unknown = sorted({name for name in config.datasets() if name not in catalog}) if catalog is not None else []
    if config.enabled and unknown:
        raise TrackingError(f"mlflow.yml names datasets that are not in the catalog: {', '.join(unknown)}.")
    return config


def load_or_empty(loader: AbstractConfigLoader, key: str) -> dict[str, Any]:
    """One kind of configuration as raw YAML with --params merged in; empty if there is no file."""
    try:
        return dict(loader[key])
    except MissingConfigException:
        return {}


def store_address(config: TrackingConfig, project: Path) -> tuple[str, str]:
    """The store's address, and where it comes from."""
    variable = os.environ.get("MLFLOW_TRACKING_URI")
    if variable:
        return variable, "the environment variable MLFLOW_TRACKING_URI"
    if config.tracking_uri:
        return config.tracking_uri, "`tracking_uri` in mlflow.yml"
    return f"sqlite:///{(project / 'mlflow.db').as_posix()}", "the default"
