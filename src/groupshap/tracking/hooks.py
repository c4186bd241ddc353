"""Kedro's hooks: what of a run goes to the tracker, and when."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.framework.hooks import hook_impl

from groupshap.tracking.config import TrackingConfig, load_config, load_or_empty
from groupshap.tracking.description import Findings, describe_run
from groupshap.tracking.names import flat_parameters, run_name, table_metrics
from groupshap.tracking.writer import MlflowTracker, NullTracker

if TYPE_CHECKING:
    import pandas as pd
    from kedro.framework.context import KedroContext
    from kedro.io import DataCatalog
    from kedro.pipeline import Pipeline

__all__ = ["TrackingHooks"]

_PICTURES = {".png", ".svg", ".pdf", ".jpg", ".jpeg", ".html", ".gif"}
_NOT_SET = "default of the code"


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
        self._parameters: dict[str, str] = {}
        self._pipelines = ""
        self._shared_tags: dict[str, str] = {}
        self._n_contributors: int | None = None
        self._logged: set[str] = set()
        self._start = 0.0
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
        self._catalog, self._tracker, self._logged = catalog, NullTracker(), set()
        self._start, self._n_contributors = time.monotonic(), None
        if self._context is None:
            return
        self._config = load_config(self._context.config_loader, catalog)
        if not self._config.enabled:
            return
        self._parameters = flat_parameters(load_or_empty(self._context.config_loader, "parameters"))
        # Sorted: Kedro hands them over as a set, in another order in every process.
        self._pipelines = ", ".join(sorted(run_params.get("pipeline_names") or ["__default__"]))
        wanted = self._config.parameter_tags.items()
        self._shared_tags = {tag: self._parameters.get(key, _NOT_SET) for tag, key in wanted}
        project = Path(self._context.project_path)
        tags = {
            "kind": "kedro_run",
            "pipelines": self._pipelines,
            "env": str(run_params.get("env")),
            "kedro_run_id": str(run_params.get("run_id")),
            **self._shared_tags,
            **_git_tags(project),
        }
        self._tracker = MlflowTracker(self._config, project)
        self._tracker.start(self._run_name(), self._parameters, tags)
        for name in filter(None, (self._config.data_dataset, self._config.contributors_dataset)):
            if not _is_made_by(pipeline, name) and catalog.exists(name):
                self._log_data(name)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """What is known of the data; child runs from the measured models; tables and models as they come."""
        config = self._config
        for name in filter(None, (config.data_dataset, config.contributors_dataset)):
            if _base_name(dataset_name) == _base_name(name):
                self._log_data(name)
        if dataset_name in config.measured_datasets:
            self._tracker.log_measured_models(data, self._shared_tags, self._n_contributors)
        if dataset_name in config.tables:
            self._log_table(dataset_name, data)
        if (columns := config.metric_tables.get(dataset_name)) is not None:
            self._tracker.log_metrics(table_metrics(dataset_name, data, columns.names, columns.value))
        if config.register_models:
            for registered, name in config.models.items():
                if name == dataset_name:
                    self._tracker.register_model(registered, data.path, data.sha256, self._shared_tags)

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Figures, description and metrics of this run, then the parent is FINISHED."""
        if self._config.enabled:
            self._log_results(pipeline, catalog)
        self._tracker.end("FINISHED")

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        """The parent is FAILED and says why."""
        self._tracker.set_tags({"error": f"{type(error).__name__}: {error}"})
        self._tracker.end("FAILED")

    def _log_data(self, name: str) -> None:
        """The checksum of the images, or the number of contributors, which is part of the run's name."""
        if self._catalog is None or not self._catalog.exists(name):
            return
        content = self._catalog[name].load()
        if name == self._config.data_dataset:
            self._shared_tags["data_sha256"] = content.sha256
            self._tracker.set_tags({"data_sha256": content.sha256})
        else:
            self._n_contributors = len(content)
            self._tracker.set_tags({"mlflow.runName": self._run_name()})

    def _run_name(self) -> str:
        source, seed = self._parameters.get("data_grouping.source"), self._parameters.get("root_seed")
        return run_name(source, self._n_contributors, seed, self._pipelines)

    def _log_table(self, name: str, data: Any) -> None:
        self._tracker.log_table(name, data)
        self._logged.add(name)

    def _log_results(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Pictures that this run made, tables that it also only read (so that it can be reopened), what it found."""
        for name in self._config.tables:
            if name not in self._logged and _knows(pipeline, name) and catalog.exists(name):
                self._log_table(name, catalog[name].load())
        for name in self._config.figures:
            if _is_made_by(pipeline, name) and catalog.exists(name):
                self._tracker.log_files(_picture_files(catalog[name]), "figures")
        fingerprint = self._describe(pipeline, catalog)
        report = self._config.report_dataset
        if report and _is_made_by(pipeline, report) and report in catalog and catalog.exists(report):
            files = _picture_files(catalog[report])
            self._tracker.log_files(files, None)
            if fingerprint is not None and not self._makes_values(pipeline):
                self._tracker.log_to_origin(files, fingerprint)

    def _describe(self, pipeline: Pipeline, catalog: DataCatalog) -> str | None:
        """Metrics, tags and description of the run; gives back the fingerprint of the models that it is about."""
        findings = self._findings(pipeline, catalog)
        fingerprint = None
        if findings.utilities is not None:
            estimates = "yes" if self._makes_values(pipeline) else "no"
            tags = {**_measured_tags(findings.utilities), "estimates_values": estimates}
            fingerprint = tags["fingerprint"]
            self._tracker.set_tags(tags)
        self._tracker.log_metrics({**findings.metrics(), "seconds": time.monotonic() - self._start})
        self._tracker.describe(lambda experiment_id: describe_run(findings, experiment_id, fingerprint))
        return fingerprint

    def _makes_values(self, pipeline: Pipeline) -> bool:
        return self._config.values_dataset is not None and _is_made_by(pipeline, self._config.values_dataset)

    def _findings(self, pipeline: Pipeline, catalog: DataCatalog) -> Findings:
        """The tables of this run, as far as it made or read them."""

        def load(name: str | None) -> Any:
            return catalog[name].load() if name and _knows(pipeline, name) and catalog.exists(name) else None

        config = self._config
        datasets = (
            config.utilities_dataset, config.values_dataset, config.diagnostics_dataset, config.directions_dataset,
        )  # fmt: skip
        return Findings(*(load(name) for name in datasets))

    def _abandon(self) -> None:
        """Ctrl-C skips Kedro's hooks; without this the parent would be RUNNING for ever."""
        self._tracker.end("KILLED")


def _measured_tags(utilities: pd.DataFrame) -> dict[str, str]:
    """What the utilities are of."""
    from groupshap.attribution.utilities_table import property_columns  # noqa: PLC0415 - only at the end of a run

    return {
        "splits": ", ".join(sorted(set(utilities["split"]))),
        "properties": ", ".join(property_columns(utilities)),
        "fingerprint": ", ".join(sorted(set(utilities["fingerprint"]))),
    }


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


def _knows(pipeline: Pipeline, dataset_name: str) -> bool:
    """Whether a node of this run writes or reads the dataset."""
    return _base_name(dataset_name) in {_base_name(name) for name in pipeline.datasets()}


def _picture_files(dataset: Any) -> list[Path]:
    """The picture files of a catalog entry that holds one picture, a page, or a folder of them."""
    if hasattr(dataset, "files"):  # ours knows which pictures of a shared folder are its own
        return dataset.files()
    # Kedro has no public way to ask a dataset for its file.
    if hasattr(dataset, "_get_load_path"):
        path = Path(dataset._get_load_path())
    else:
        path = Path(getattr(dataset, "_filepath", None) or dataset._path)
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [file for file in files if file.suffix.lower() in _PICTURES]
