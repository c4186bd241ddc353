"""Writing to MLflow: one parent run and its children, models in the registry; or nothing at all."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupshap.tracking.config import TrackingConfig, TrackingError, store_address
from groupshap.tracking.description import describe_coalition, describe_experiment
from groupshap.tracking.names import (
    MAX_TAG_CHARS,
    child_name,
    child_tags,
    cut,
    finite_metrics,
    first_line,
    masked,
    row_key,
    row_metrics,
)
from groupshap.tracking.registry import register

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient

__all__ = ["MlflowTracker", "NullTracker", "load_mlflow"]

logger = logging.getLogger(__name__)

_N_PARAMS_PER_BATCH = 100
_N_RUNS_PER_PAGE = 1000
_N_METRICS_PER_CALL = 500  # the store takes 1000 entries in one call
_NOTE = "mlflow.note.content"


class NullTracker:
    """Tracks nothing: tracking switched off, and the interface of :class:`MlflowTracker`."""

    def start(self, run_name: str, parameters: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """Start the parent run."""

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Tags of the parent run."""

    def describe(self, text: Callable[[str], str]) -> None:
        """Markdown on top of the parent's page; ``text`` gets the id of the experiment."""

    def log_metrics(self, values: Mapping[str, Any]) -> None:
        """Numbers of the parent run; those that are not finite are left out."""

    def log_measured_models(
        self, measured: pd.DataFrame, shared_tags: Mapping[str, str], n_contributors: int | None = None
    ) -> None:
        """One child run per row."""

    def log_table(self, name: str, data: Any) -> None:
        """A table or JSON value as an artefact of the parent."""

    def log_files(self, paths: Sequence[Path], folder: str | None) -> None:
        """Files as artefacts of the parent."""

    def log_to_origin(self, paths: Sequence[Path], fingerprint: str) -> None:
        """Files as artefacts also of the earlier run that estimated the values of these measured models."""

    def register_model(self, name: str, path: Path, sha256: str, tags: Mapping[str, str]) -> None:
        """A model file as a version in the model registry."""

    def end(self, status: str) -> None:
        """End the parent run; a second call does nothing."""


class MlflowTracker(NullTracker):
    """Writes one parent run and its children.

    Args:
        config: Content of mlflow.yml.
        project: The project's folder; holds the default store.

    Raises:
        TrackingError: the store cannot be used.
    """

    def __init__(self, config: TrackingConfig, project: Path) -> None:
        self._uri, source = store_address(config, project)
        self._run_id: str | None = None
        client_of, self._server_errors = load_mlflow()
        try:
            self._client = client_of(tracking_uri=self._uri)
            self._experiment_id = self._experiment(config.experiment, project)
        except self._server_errors as error:
            raise TrackingError(
                f"MLflow cannot be used at {masked(self._uri)} (from {source}): {first_line(error)} Nothing was "
                "computed yet. Correct the address, start the server, or set `enabled: false` in conf/local/mlflow.yml."
            ) from error

    def _experiment(self, name: str, project: Path) -> str:
        """The experiment's id; this first access also makes the database, before any worker starts."""
        experiment = self._client.get_experiment_by_name(name)
        if experiment is not None and experiment.lifecycle_stage == "active":
            return experiment.experiment_id
        if experiment is not None:
            raise OSError(f"the experiment {name!r} was deleted; restore it or choose another name.")
        # A server knows where artefacts go; a database alone would put them into the working directory.
        location = (project / "mlruns").as_uri() if self._uri.startswith("sqlite:") else None
        # The kind decides which page opens first: for training, the table of runs.
        tags = {"mlflow.experimentKind": "custom_model_development"}
        experiment_id = self._client.create_experiment(name, artifact_location=location, tags=tags)
        self._client.set_experiment_tag(experiment_id, _NOTE, describe_experiment(experiment_id))
        return experiment_id

    def start(self, run_name: str, parameters: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """Start the parent run and log the parameters.

        Raises:
            TrackingError: the store refuses to write.
        """
        from mlflow.entities import Param  # noqa: PLC0415

        params = [Param(key, value) for key, value in parameters.items()]
        try:
            run = self._client.create_run(self._experiment_id, tags=dict(tags), run_name=run_name)
            for first in range(0, len(params), _N_PARAMS_PER_BATCH):
                self._client.log_batch(run.info.run_id, params=params[first : first + _N_PARAMS_PER_BATCH])
        except self._server_errors as error:
            raise TrackingError(f"MLflow at {masked(self._uri)} refuses to write: {first_line(error)}") from error
        self._run_id = run.info.run_id

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Tags of the parent run, cut to what MLflow can hold."""
        from mlflow.entities import RunTag  # noqa: PLC0415

        with self._keep_going("tags"):
            batch = [RunTag(key, cut(value, MAX_TAG_CHARS)) for key, value in tags.items()]
            self._client.log_batch(self._run_id, tags=batch)

    def describe(self, text: Callable[[str], str]) -> None:
        """Markdown on top of the parent's page; ``text`` gets the id of the experiment."""
        self.set_tags({_NOTE: text(self._experiment_id)})

    def log_metrics(self, values: Mapping[str, Any]) -> None:
        """Numbers of the parent run; those that are not finite are left out."""
        metrics = _metrics(finite_metrics(values))
        with self._keep_going("the metrics"):
            for first in range(0, len(metrics), _N_METRICS_PER_CALL):
                self._client.log_batch(self._run_id, metrics=metrics[first : first + _N_METRICS_PER_CALL])

    def log_measured_models(
        self, measured: pd.DataFrame, shared_tags: Mapping[str, str], n_contributors: int | None = None
    ) -> None:
        """One FINISHED child run per row; those that an earlier run wrote are left alone.

        Args:
            measured: Columns split, coalition_id, replicate, members, n_contributors, fingerprint; further known
                ones become tags, every other numeric column (the properties, seconds) a metric. Names of members that
                do not fit into a tag are counted in it; the full list is in the table itself, logged as an artefact.
            shared_tags: Tags of every child.
            n_contributors: How many there are; None: as many as the largest coalition has.
        """
        with self._keep_going(f"the runs of {len(measured)} measured models"):
            n_written, n_contributors = 0, n_contributors or int(measured["n_contributors"].max())
            for fingerprint, rows in measured.groupby("fingerprint"):
                known = self._children(str(fingerprint))
                for row in rows.to_dict("records"):
                    run_id, status = known.get(row_key(row), (None, None))
                    if status != "FINISHED":
                        self._write_child(row, run_id, child_name(row, n_contributors), shared_tags)
                        n_written += 1
            logger.info("MLflow: %d of %d measured models were new.", n_written, len(measured))

    def _children(self, fingerprint: str) -> dict[tuple[str, ...], tuple[str, str]]:
        """(split, coalition_id, replicate) to (run id, status) of the child runs there are, FINISHED ones first."""
        found: dict[tuple[str, ...], tuple[str, str]] = {}
        query = f"tags.kind = 'coalition' and tags.fingerprint = '{fingerprint}'"
        token = None
        while True:  # one call returns one page, however many runs there are
            page = self._client.search_runs([self._experiment_id], query, 1, _N_RUNS_PER_PAGE, page_token=token)
            for run in page:
                key = row_key(run.data.tags)
                if found.get(key, ("", ""))[1] != "FINISHED":
                    found[key] = (run.info.run_id, run.info.status)
            token = page.token
            if not token:
                return found

    def _write_child(
        self, row: Mapping[str, Any], run_id: str | None, name: str, shared_tags: Mapping[str, str]
    ) -> None:
        """One measured model; an unfinished run of the same model is completed."""
        if run_id is None:
            tags = {"mlflow.parentRunId": str(self._run_id), "kind": "coalition", _NOTE: describe_coalition(row)}
            tags |= {**shared_tags, **child_tags(row)}
            run_id = self._client.create_run(self._experiment_id, tags=tags, run_name=name).info.run_id
        self._client.log_batch(run_id, metrics=_metrics(row_metrics(row)))
        self._client.set_terminated(run_id, "FINISHED")  # last: this is what marks it as complete

    def log_table(self, name: str, data: Any) -> None:
        """A DataFrame as ``tables/<name>.csv``, anything else as ``tables/<name>.json``."""
        with self._keep_going(f"the table {name}"):
            if hasattr(data, "to_csv"):
                self._client.log_text(self._run_id, data.to_csv(index=False), f"tables/{name}.csv")
            else:
                self._client.log_text(self._run_id, json.dumps(data, indent=2, default=str), f"tables/{name}.json")

    def log_files(self, paths: Sequence[Path], folder: str | None) -> None:
        """Files under ``<folder>/``, or beside the folders."""
        with self._keep_going(", ".join(path.name for path in paths)):
            for path in paths:
                self._client.log_artifact(self._run_id, str(path), folder)

    def log_to_origin(self, paths: Sequence[Path], fingerprint: str) -> None:
        """Files as artefacts also of the earlier run that estimated the values of these measured models, if any."""
        query = f"tags.kind = 'kedro_run' and tags.fingerprint = '{fingerprint}' and tags.estimates_values = 'yes'"
        with self._keep_going(", ".join(path.name for path in paths)):
            newest = self._client.search_runs(
                [self._experiment_id], query, order_by=["attributes.start_time DESC"], max_results=1
            )
            for run in newest:
                for path in paths:
                    self._client.log_artifact(run.info.run_id, str(path))

    def register_model(self, name: str, path: Path, sha256: str, tags: Mapping[str, str]) -> None:
        """A version of the registered model ``name``, unless one with these bytes is there already."""
        with self._keep_going(f"the model {name}"):
            version = register(self._client, str(self._run_id), name, path, {**tags, "sha256": sha256})
            self.set_tags({f"model.{name}": f"version {version}", f"model.{name}.sha256": sha256})

    def end(self, status: str) -> None:
        """End the parent run and say where to look at it; a second call does nothing."""
        if self._run_id is None:
            return
        with self._keep_going("the end of the run"):
            self._client.set_terminated(self._run_id, status)
            page = f"#/experiments/{self._experiment_id}/runs/{self._run_id}?workflowType=machine_learning"
            logger.info("MLflow: %s", _how_to_open(self._uri, page))
        self._run_id = None

    @contextmanager
    def _keep_going(self, what: str) -> Iterator[None]:
        """Turn a failing server into one ERROR line: it must not cost hours of compute."""
        try:
            yield
        except self._server_errors as error:
            logger.error(
                "MLflow at %s did not take %s: %s The results are safe in the data folder and the run goes on. Run the "
                "same command again once the server works: nothing is computed twice, and what is missing is sent.",
                *(masked(self._uri), what, first_line(error)),
            )


def load_mlflow() -> tuple[type[MlflowClient], tuple[type[Exception], ...]]:
    """MLflow's client class, and what it raises when a store does not work."""
    # Before the import: MLflow would phone home, and try a dead server for minutes.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    # Bars of single files that are sent, on a terminal that shows our own.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow import MlflowClient  # noqa: PLC0415 - 1.5 s that only a tracked run should pay
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    for name in ("mlflow.store", "alembic"):  # else a new database logs fifty lines of migrations
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient, (MlflowException, OSError)


def _how_to_open(uri: str, page: str) -> str:
    """The address of a page of a server, or how to start one and its usual address."""
    if uri.startswith("http"):
        return f"{masked(uri).rstrip('/')}/{page}"
    return f"http://127.0.0.1:5000/{page} once this runs: mlflow server --backend-store-uri {masked(uri)}"


def _metrics(values: Mapping[str, float]) -> list[Any]:
    """Numbers as MLflow's entities, all of the same moment."""
    from mlflow.entities import Metric  # noqa: PLC0415

    now = int(time.time() * 1000)
    return [Metric(name, value, now, 0) for name, value in values.items()]
