"""All tracking: one MLflow run per ``kedro run``, one child run per measured model, written by the driver only.

The rest of the code knows nothing of MLflow. Tracking never costs results: a wrong address is found before any
compute; a server that fails later costs one ERROR line, and the next run of the same command sends what is missing,
because a child run is looked up (by fingerprint, split, coalition, replicate) before it is created.
"""

from __future__ import annotations

import atexit
import json
import logging
import math
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.config import MissingConfigException
from kedro.framework.hooks import hook_impl
from pydantic import BaseModel, ConfigDict

from groupshap.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    from kedro.framework.context import KedroContext
    from kedro.io import DataCatalog
    from kedro.pipeline import Pipeline
    from kedro.pipeline.node import Node

__all__ = ["TrackingConfig", "TrackingError", "TrackingHooks"]

logger = logging.getLogger(__name__)

CONFIG_PATTERNS = ["mlflow*", "mlflow*/**", "**/mlflow*"]

# Columns of the utilities table that are no property; every other numeric column is a metric.
_KEY_COLUMNS = ("split", "coalition_id", "replicate")
_TAG_COLUMNS = (*_KEY_COLUMNS, "fingerprint", "members", "checkpoint", "checkpoint_sha256")

# Limits of MLflow 3 (mlflow.utils.validation); beyond them the server refuses the whole batch.
_MAX_TAG_CHARS = 5000  # 8000 now, 5000 in servers before 2.21
_MAX_PARAM_CHARS = 6000
_N_PARAMS_PER_BATCH = 100
_N_RUNS_PER_PAGE = 1000

_PICTURES = {".png", ".svg", ".pdf", ".jpg", ".jpeg", ".html", ".gif"}


class TrackingError(UserError, RuntimeError):
    """The MLflow store cannot be used; raised before anything is computed."""


class TrackingConfig(BaseModel):
    """Content of ``conf/<env>/mlflow.yml``; every key may be left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = True
    """False: nothing is tracked, and MLflow is not imported."""
    experiment: str = "groupshap"
    """MLflow experiment, made if needed."""
    tracking_uri: str | None = None
    """MLflow store; the environment variable MLFLOW_TRACKING_URI goes first. None: ``mlflow.db`` in the project."""
    utilities_dataset: str = "utilities"
    """Table with one row per measured model: becomes the child runs."""
    data_dataset: str | None = None
    """Entry that loads as a FileRef on the images; its sha256 becomes the tag ``data_sha256``."""
    tables: tuple[str, ...] = ()
    """Datasets logged as CSV (tables) or JSON (anything else)."""
    figures: tuple[str, ...] = ()
    """Datasets whose picture file, or folder of pictures, is logged."""


class TrackingHooks:
    """Kedro hooks; register with ``HOOKS = (TrackingHooks(),)`` in ``settings.py``.

    Reads ``mlflow.yml`` through the config loader. The pattern it needs, ``"mlflow": ["mlflow*", "mlflow*/**",
    "**/mlflow*"]``, is added to the loader's ``config_patterns`` unless ``settings.py`` has one.
    """

    def __init__(self) -> None:
        self._context: KedroContext | None = None
        self._catalog: DataCatalog | None = None
        self._config = TrackingConfig(enabled=False)
        self._tracker: NullTracker = NullTracker()
        atexit.register(self._abandon)

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Remember where the configuration is; writes nothing, because ``kedro viz`` comes here too."""
        self._context = context

    @hook_impl
    def before_pipeline_run(self, run_params: Mapping[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Start the parent run.

        Raises:
            TrackingError: the MLflow store cannot be used, or mlflow.yml is wrong.
        """
        self._catalog, self._tracker = catalog, NullTracker()
        self._config = _load_config(self._context, catalog) if self._context else TrackingConfig(enabled=False)
        if not self._config.enabled or self._context is None:
            return
        parameters = _flat_parameters(_load_or_empty(self._context, "parameters"))
        pipelines = ", ".join(run_params.get("pipeline_names") or ["__default__"])
        project = Path(self._context.project_path)
        tags = {
            "kind": "kedro_run",
            "pipelines": pipelines,
            "env": str(run_params.get("env")),
            "kedro_run_id": str(run_params.get("run_id")),
            **_git_tags(project),
        }
        self._tracker = MlflowTracker(self._config, project)
        self._tracker.start(_run_name(parameters, pipelines), parameters, tags)
        if self._config.data_dataset and not _is_made_by(pipeline, self._config.data_dataset):
            self._log_data_checksum()

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any, node: Node) -> None:
        """Child runs from the utilities table; the checksum of new data."""
        if dataset_name == self._config.utilities_dataset:
            self._tracker.log_measured_models(data)
        if self._config.data_dataset and _base_name(dataset_name) == _base_name(self._config.data_dataset):
            self._log_data_checksum()

    @hook_impl
    def after_pipeline_run(self, run_params: Mapping[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Tables and figures of this run, then the parent is FINISHED."""
        self._log_results(pipeline, catalog)
        self._tracker.end("FINISHED")

    @hook_impl
    def on_pipeline_error(self, error: Exception, pipeline: Pipeline, catalog: DataCatalog) -> None:
        """The parent is FAILED and says why."""
        self._tracker.set_tags({"error": f"{type(error).__name__}: {error}"})
        self._tracker.end("FAILED")

    def _log_results(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Log what this run made; a result of an earlier run belongs to that run."""
        for name in self._config.tables:
            if _is_made_by(pipeline, name) and catalog.exists(name):
                self._tracker.log_table(name, catalog[name].load())
        for name in self._config.figures:
            if _is_made_by(pipeline, name) and catalog.exists(name):
                self._tracker.log_pictures(_picture_files(catalog[name]))

    def _log_data_checksum(self) -> None:
        """Tag the parent with the sha256 of the images, if they are there."""
        name = self._config.data_dataset
        if name and self._catalog is not None and self._catalog.exists(name):
            self._tracker.set_tags({"data_sha256": self._catalog[name].load().sha256})

    def _abandon(self) -> None:
        """Ctrl-C skips Kedro's hooks; without this the parent would be RUNNING for ever."""
        self._tracker.end("KILLED")


class NullTracker:
    """Tracks nothing: tracking switched off, and the interface of :class:`MlflowTracker`."""

    def start(self, run_name: str, parameters: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """Start the parent run."""

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Tags of the parent run."""

    def log_measured_models(self, utilities: pd.DataFrame) -> None:
        """One child run per row."""

    def log_table(self, name: str, data: Any) -> None:
        """A table or JSON value as an artefact of the parent."""

    def log_pictures(self, paths: Sequence[Path]) -> None:
        """Picture files as artefacts of the parent."""

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
        # Before the import: MLflow would phone home, and try a dead server for minutes.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
        from mlflow import MlflowClient  # noqa: PLC0415 - 1.5 s that only a tracked run should pay
        from mlflow.exceptions import MlflowException  # noqa: PLC0415

        for name in ("mlflow.store", "alembic"):  # else a new database logs fifty lines of migrations
            logging.getLogger(name).setLevel(logging.WARNING)
        self._uri, source = _tracking_uri(config, project)
        self._server_errors = (MlflowException, OSError)
        self._run_id: str | None = None
        try:
            self._client = MlflowClient(tracking_uri=self._uri)
            self._experiment_id = self._experiment(config.experiment, project)
        except self._server_errors as error:
            raise TrackingError(
                f"MLflow cannot be used at {_masked(self._uri)} (from {source}): {_first_line(error)} Nothing was "
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
        return self._client.create_experiment(name, artifact_location=location)

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
            raise TrackingError(f"MLflow at {_masked(self._uri)} refuses to write: {_first_line(error)}") from error
        self._run_id = run.info.run_id

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Tags of the parent run, cut to what MLflow can hold."""
        with self._keep_going("tags"):
            for key, value in tags.items():
                self._client.set_tag(self._run_id, key, _cut(value, _MAX_TAG_CHARS))

    def log_measured_models(self, utilities: pd.DataFrame) -> None:
        """One FINISHED child run per row; those that an earlier run wrote are left alone.

        Args:
            utilities: Columns split, coalition_id, replicate, fingerprint; further known ones become tags, every
                other numeric column (the properties, sizes, seconds) a metric. Names of members that do not fit
                into a tag are counted in it; the full list is in the table itself, logged as an artefact.
        """
        with self._keep_going(f"the runs of {len(utilities)} measured models"):
            n_written = 0
            for fingerprint, rows in utilities.groupby("fingerprint"):
                known = self._children(str(fingerprint))
                for row in rows.to_dict("records"):
                    run_id, status = known.get(_key(row), (None, None))
                    if status != "FINISHED":
                        self._write_child(row, run_id)
                        n_written += 1
            logger.info("MLflow: %d of %d measured models were new.", n_written, len(utilities))

    def _children(self, fingerprint: str) -> dict[tuple[str, ...], tuple[str, str]]:
        """(split, coalition_id, replicate) to (run id, status) of the child runs there are, FINISHED ones first."""
        found: dict[tuple[str, ...], tuple[str, str]] = {}
        query = f"tags.kind = 'coalition' and tags.fingerprint = '{fingerprint}'"
        token = None
        while True:  # one call returns one page, however many runs there are
            page = self._client.search_runs([self._experiment_id], query, 1, _N_RUNS_PER_PAGE, page_token=token)
            for run in page:
                key = _key(run.data.tags)
                if found.get(key, ("", ""))[1] != "FINISHED":
                    found[key] = (run.info.run_id, run.info.status)
            token = page.token
            if not token:
                return found

    def _write_child(self, row: Mapping[str, Any], run_id: str | None) -> None:
        """Write one child run; ``run_id`` is one that was left unfinished, to be completed instead of doubled."""
        from mlflow.entities import Metric  # noqa: PLC0415

        if run_id is None:
            name = f"{row['split']} {row['coalition_id']} r{row['replicate']}"
            tags = {"mlflow.parentRunId": str(self._run_id), "kind": "coalition", **_child_tags(row)}
            run_id = self._client.create_run(self._experiment_id, tags=tags, run_name=name).info.run_id
        now = int(time.time() * 1000)
        self._client.log_batch(run_id, metrics=[Metric(name, value, now, 0) for name, value in _metrics(row).items()])
        self._client.set_terminated(run_id, "FINISHED")  # last: this is what marks it as complete

    def log_table(self, name: str, data: Any) -> None:
        """A DataFrame as ``tables/<name>.csv``, anything else as ``tables/<name>.json``."""
        with self._keep_going(f"the table {name}"):
            if hasattr(data, "to_csv"):
                self._client.log_text(self._run_id, data.to_csv(index=False), f"tables/{name}.csv")
            else:
                self._client.log_text(self._run_id, json.dumps(data, indent=2, default=str), f"tables/{name}.json")

    def log_pictures(self, paths: Sequence[Path]) -> None:
        """Picture files under ``figures/``."""
        with self._keep_going("the figures"):
            for path in paths:
                self._client.log_artifact(self._run_id, str(path), "figures")

    def end(self, status: str) -> None:
        """End the parent run; a second call does nothing."""
        if self._run_id is None:
            return
        with self._keep_going("the end of the run"):
            self._client.set_terminated(self._run_id, status)
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
                *(_masked(self._uri), what, _first_line(error)),
            )


def _load_config(context: KedroContext, catalog: DataCatalog) -> TrackingConfig:
    """Content of mlflow.yml, checked against the catalog."""
    context.config_loader.config_patterns.setdefault("mlflow", CONFIG_PATTERNS)
    try:
        config = TrackingConfig(**_load_or_empty(context, "mlflow"))
    except ValueError as error:
        raise TrackingError(f"mlflow.yml: {error}") from error
    names = [config.utilities_dataset, *config.tables, *config.figures, *filter(None, [config.data_dataset])]
    unknown = sorted(name for name in names if name not in catalog)
    if config.enabled and unknown:
        raise TrackingError(f"mlflow.yml names datasets that are not in the catalog: {', '.join(unknown)}.")
    return config


def _load_or_empty(context: KedroContext, key: str) -> dict[str, Any]:
    """One kind of configuration as raw YAML with --params merged in; empty if there is no file."""
    try:
        return dict(context.config_loader[key])
    except MissingConfigException:
        return {}


def _tracking_uri(config: TrackingConfig, project: Path) -> tuple[str, str]:
    """The store's address, and where it comes from."""
    variable = os.environ.get("MLFLOW_TRACKING_URI")
    if variable:
        return variable, "the environment variable MLFLOW_TRACKING_URI"
    if config.tracking_uri:
        return config.tracking_uri, "`tracking_uri` in mlflow.yml"
    return f"sqlite:///{(project / 'mlflow.db').as_posix()}", "the default"


def _flat_parameters(parameters: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested parameters as dotted keys and texts that MLflow accepts."""
    flat: dict[str, str] = {}
    for key, value in parameters.items():
        if isinstance(value, Mapping) and value:
            flat.update(_flat_parameters(value, f"{prefix}{key}."))
        else:
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            flat[_metric_name(f"{prefix}{key}")] = _cut(text, _MAX_PARAM_CHARS)
    return flat


def _run_name(parameters: Mapping[str, str], pipelines: str) -> str:
    """A name for humans: "avatars 10 contributors seed 0 · all pipelines", as far as the parameters tell."""

    def first(*endings: str) -> str | None:
        found = (value for key, value in parameters.items() if key.rpartition(".")[2] in endings and value != "null")
        return next(found, None)

    source, n_contributors, seed = (
        parameters.get("data_grouping.source"),
        first("n_contributors"),
        first("root_seed", "seed"),
    )
    words = [source, n_contributors and f"{n_contributors} contributors", seed and f"seed {seed}"]
    which = "all pipelines" if pipelines == "__default__" else pipelines
    return " · ".join(filter(None, [" ".join(filter(None, words)), which]))


def _git_tags(project: Path) -> dict[str, str]:
    """The commit of the project and whether files differ from it; nothing where git or a repository is missing."""
    git = shutil.which("git")
    if git is None:
        return {}

    def output(*arguments: str) -> str | None:
        command = [git, "-C", str(project), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)  # noqa: S603 - fixed words
        return done.stdout.strip() if done.returncode == 0 else None

    commit = output("rev-parse", "HEAD")
    if commit is None:
        return {}
    changed = output("status", "--porcelain", "--untracked-files=no")
    return {"git_commit": commit, "mlflow.source.git.commit": commit, "git_changed_files": "yes" if changed else "no"}


def _base_name(dataset_name: str) -> str:
    """A dataset's name without its transcoding: "images@file" is "images"."""
    return dataset_name.partition("@")[0]


def _is_made_by(pipeline: Pipeline, dataset_name: str) -> bool:
    """Whether a node of this run writes the dataset."""
    return _base_name(dataset_name) in {_base_name(name) for name in pipeline.all_outputs()}


def _picture_files(dataset: Any) -> list[Path]:
    """The picture files of a catalog entry that holds one picture or a folder of them."""
    if hasattr(dataset, "files"):  # ours knows which pictures of a shared folder are its own
        return dataset.files()
    # Kedro has no public way to ask a dataset for its file.
    if hasattr(dataset, "_get_load_path"):
        path = Path(dataset._get_load_path())
    else:
        path = Path(getattr(dataset, "_filepath", None) or dataset._path)
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [file for file in files if file.suffix.lower() in _PICTURES]


def _key(values: Mapping[str, Any]) -> tuple[str, ...]:
    """What identifies a child run within its fingerprint."""
    return tuple(str(values.get(name)) for name in _KEY_COLUMNS)


def _child_tags(row: Mapping[str, Any]) -> dict[str, str]:
    """The descriptive columns of a row."""
    tags = {name: str(row[name]) for name in _TAG_COLUMNS if name in row and row[name] == row[name]}
    if "members" in tags:
        tags["members"] = _cut_members(tags["members"])
    return {name: _cut(value, _MAX_TAG_CHARS) for name, value in tags.items()}


def _cut_members(members: str) -> str:
    """Member names, joined by " | "; if they do not fit, as many whole names as do, and how many are left out."""
    if len(members) <= _MAX_TAG_CHARS:
        return members
    shown = members[: _MAX_TAG_CHARS - 100].rpartition(" | ")[0]
    n_hidden = members.count(" | ") - shown.count(" | ")
    return f"{shown} | … {n_hidden} more, see the utilities table"


def _metrics(row: Mapping[str, Any]) -> dict[str, float]:
    """The finite numeric columns of a row that are no tags."""
    numbers = {name: value for name, value in row.items() if name not in _TAG_COLUMNS and isinstance(value, Real)}
    return {_metric_name(name): float(value) for name, value in numbers.items() if math.isfinite(value)}


def _metric_name(name: str) -> str:
    """A name of the characters that MLflow allows."""
    return re.sub(r"[^\w. /-]", "_", name)[:250]


def _cut(text: str, n_chars: int) -> str:
    """A text of at most ``n_chars``; says so if it was cut."""
    note = f"… (cut, {len(text)} characters)"
    return text if len(text) <= n_chars else text[: n_chars - len(note)] + note


def _masked(uri: str) -> str:
    """An address without the user name and password it may hold."""
    return re.sub(r"//[^/@]*@", "//***@", uri)


def _first_line(error: Exception) -> str:
    """The gist of an error whose text may hold pages of HTML, and never a password."""
    line = (_masked(str(error)).strip() or type(error).__name__).splitlines()[0]
    return line if len(line) <= 500 else f"{line[:497]}..."
