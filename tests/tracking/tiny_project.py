"""A Kedro project without its command line: made-up numbers through the real hooks into a real store."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import yaml
from kedro.config import OmegaConfigLoader
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import DataCatalog
from kedro.pipeline import Node, Pipeline
from kedro.runner import SequentialRunner

from groupshap.members import join_members
from groupshap.store import FileRef
from groupshap.tracking import TrackingHooks

MLFLOW_YML = {
    "parameter_tags": {"family": "base_training.model.family", "data_source": "data_grouping.source"},
    "measured_datasets": ["measured_models", "held_out"],
    "data_dataset": "images@file",
    "contributors_dataset": "contributors",
    "utilities_dataset": "utilities",
    "values_dataset": "shapley_values",
    "diagnostics_dataset": "diagnostics",
    "directions_dataset": "directions",
    "tables": ["utilities", "shapley_values", "directions"],
    "figures": ["plots"],
    "report_dataset": "report",
    "models": {"tiny-model": "model"},
}
PARAMETERS = {"data_grouping": {"source": "avatars"}, "root_seed": 3, "sizes": [1, 2], "none": None}
CATALOG = """
images@text: {type: text.TextDataset, filepath: PROJECT/images.npz}
images@file: {type: groupshap.datasets.file_ref.FileRefDataset, filepath: PROJECT/images.npz}
contributors: {type: pandas.CSVDataset, filepath: PROJECT/contributors.csv}
model: {type: groupshap.datasets.checkpoint.CheckpointDataset, filepath: PROJECT/model.safetensors}
measured_models:
  type: pandas.CSVDataset
  filepath: PROJECT/measured_models.csv
  load_args: &measured
    dtype: {coalition_id: str, members: str}
    keep_default_na: false
    na_values: {train_seconds: [""], share: [""]}
    float_precision: round_trip
utilities: {type: pandas.CSVDataset, filepath: PROJECT/utilities.csv, load_args: *measured}
held_out: {type: pandas.CSVDataset, filepath: PROJECT/held_out.csv, load_args: *measured}
directions: {type: json.JSONDataset, filepath: PROJECT/directions.json}
shapley_values: {type: pandas.CSVDataset, filepath: PROJECT/shapley_values.csv, load_args: *measured}
diagnostics: {type: pandas.CSVDataset, filepath: PROJECT/diagnostics.csv}
plots: {type: matplotlib.MatplotlibDataset, filepath: PROJECT/plots}
report: {type: text.TextDataset, filepath: PROJECT/report.html}
"""
NAMES = ["Ashley <b>Seo</b>", "Lisa | Co", "DiceBear", "Pablo Stanley", "007"]
CHECKPOINT_COLUMNS = ["checkpoint", "checkpoint_sha256"]


def measured(n_rows: int = 6, fingerprint: str = "ab12") -> pd.DataFrame:
    """Coalitions of the first 0, 1, 2, ... contributors."""
    names = [*NAMES, *(f"designer {number}" for number in range(len(NAMES), n_rows))]
    return pd.DataFrame(
        {
            "split": "estimation",
            "coalition_id": [f"{i:04d}e1" for i in range(n_rows)],
            "replicate": 0,
            "n_contributors": range(n_rows),
            "members": [join_members(names[:i]) for i in range(n_rows)],
            "frechet": [100.0 / (i + 1) for i in range(n_rows)],
            "diversity": [i / 10 * (n_rows - i) for i in range(n_rows)],
            "train_seconds": [float("nan"), *[1.5] * (n_rows - 1)],
            "sample_seconds": 0.5,
            "fingerprint": fingerprint,
            "checkpoint": "data/06_models/x.safetensors",
            "checkpoint_sha256": "cd" * 32,
        }
    )


def utilities_of(table: pd.DataFrame) -> pd.DataFrame:
    """The utilities table of measured models."""
    return table.drop(columns=CHECKPOINT_COLUMNS).fillna({"train_seconds": 0.0})


def values_of(table: pd.DataFrame, sign: float = 1.0) -> pd.DataFrame:
    """Made-up values of the two properties, in thirds, so that no float is short."""
    rows = [
        {"property": name, "contributor": who, "n_images": 9, "shapley_value": sign * (place + 1) / 3}
        for name in ("frechet", "diversity")
        for place, who in enumerate(NAMES)
    ]
    values = pd.DataFrame(rows)
    value = values["shapley_value"]
    return values.assign(standard_error=0.1, ci_low=value - 0.2, ci_high=value + 0.2, share=float("nan"))


def diagnostics() -> pd.DataFrame:
    """Of both properties; the error of one of them is not known."""
    return pd.DataFrame(
        {
            "property": ["frechet", "diversity"],
            "v_empty": [100.0, 0.0],
            "v_grand": [20.0, 0.5],
            "relative_standard_error": [0.25, float("inf")],
            "is_converged": [False, False],
        }
    )


def draw() -> dict:
    from matplotlib.figure import Figure

    return {"attribution_frechet.png": Figure(figsize=(1, 1))}


def pipeline_of(table: pd.DataFrame, weights: Path | None = None, sign: float = 1.0) -> Pipeline:
    """The shape of the real flow."""
    who = pd.DataFrame({"contributor": NAMES})
    nodes = [
        Node(lambda: ("pixels", who), None, ["images@text", "contributors"], name="group"),
        Node(lambda _: table, "images@file", "measured_models", name="measure"),
        Node(utilities_of, "measured_models", "utilities", name="assemble"),
        Node(lambda: {"frechet": False, "diversity": True}, None, "directions", name="directions"),
        Node(
            lambda table, _: (values_of(table, sign), diagnostics()),
            ["utilities", "directions"],
            ["shapley_values", "diagnostics"],
            name="estimate",
        ),
        Node(lambda _: (draw(), "<p>report"), "shapley_values", ["plots", "report"], name="plot"),
    ]
    if weights is not None:
        nodes.append(Node(lambda _: FileRef.of(weights), "images@file", "model", name="train"))
    return Pipeline(nodes)


class Project:
    """The project's folder, its catalog and its hooks."""

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
    def uri(self):
        return f"sqlite:///{self.folder}/mlflow.db"

    @property
    def client(self):
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self.uri)

    def runs(self, kind):
        experiment = self.client.get_experiment_by_name("groupshap").experiment_id
        return self.client.search_runs([experiment], f"tags.kind = '{kind}'", order_by=["attributes.start_time"])

    def artefacts(self, run_id, folder=None):
        """Paths of all files kept with a run."""
        items = self.client.list_artifacts(run_id, folder)
        return {path for item in items for path in (self.artefacts(run_id, item.path) if item.is_dir else {item.path})}
