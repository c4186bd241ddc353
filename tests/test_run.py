"""The whole flow as a user runs it, in a copy of the project: outputs, re-runs, kills, growth, bad input."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from warm import kedro

PROJECT = Path(__file__).resolve().parents[1]
INLINE = "engine.kind=inline"  # a worker would import its libraries first, which takes longer than a few tiny jobs
COLUMNS = ["property", "contributor", "n_images", "shapley_value", "standard_error", "ci_low", "ci_high", "share"]
FRONT = ["split", "coalition_id", "replicate", "n_contributors", "members"]
BACK = ["train_seconds", "sample_seconds", "fingerprint"]
PROPERTIES = ["frechet_efficientnet", "inception_efficientnet", "diversity_entropy"]


class Copy:
    """A project folder of its own; the package is the installed one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(PROJECT / "conf", folder / "conf", ignore=shutil.ignore_patterns("local"))
        shutil.copy(PROJECT / "pyproject.toml", folder)
        for name in ("src", "conf/local"):
            (folder / name).mkdir()
        # Packages of a fresh environment are what a user has; a tracking server of the developer's is not.
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW")}
        self.environment |= {"KEDRO_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1"}

    def run(self, *arguments: str, code: int = 0) -> str:
        """Run to the end; the log."""
        status, log = kedro(["run", "--env", "test", *arguments], self.folder, self.environment)
        assert status == code, log
        return log

    def start(self, *arguments: str) -> subprocess.Popen:
        """Start it from nothing, as a user does."""
        return subprocess.Popen(
            [sys.executable, "-m", "kedro", "run", "--env", "test", *arguments],
            cwd=self.folder, env=self.environment, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def table(self, path: str) -> pd.DataFrame:
        text = dict.fromkeys(("coalition_id", "members", "contributor", "task_id"), str)
        return pd.read_csv(self.folder / "data" / path, dtype=text, keep_default_na=False)

    def values(self) -> bytes:
        return (self.folder / "data/08_reporting/shapley_values.csv").read_bytes()

    def committed(self) -> dict[str, int]:
        """Task id of each committed coalition to the time of its commit."""
        records = (self.folder / "data/06_models/coalitions").glob("*/*/record.json")
        return {record.parent.name: record.stat().st_mtime_ns for record in records}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    copy = Copy(tmp_path_factory.mktemp("finished") / "project")
    copy.log = copy.run()
    return copy


def test_outputs_are_what_others_rely_on(finished):
    utilities, values = (
        finished.table("07_model_output/utilities.csv"),
        finished.table("08_reporting/shapley_values.csv"),
    )
    assert list(utilities) == [*FRONT, *PROPERTIES, *BACK]
    assert list(values) == COLUMNS
    assert len(utilities) == 16
    ends = utilities.set_index("n_contributors").loc[[0, 6]]
    assert ends["members"].tolist()[0] == ""
    for name in PROPERTIES:
        own = values[values["property"] == name]
        assert own["shapley_value"].sum() == pytest.approx(ends[name].iloc[1] - ends[name].iloc[0], rel=1e-9)
        assert own["share"].sum() == pytest.approx(1)
        assert ((own["ci_low"] < own["shapley_value"]) & (own["shapley_value"] < own["ci_high"])).all()
        picture = finished.folder / f"data/08_reporting/attribution_{name}.png"
        assert min(Image.open(picture).size) > 300
    assert (utilities["train_seconds"] > 0).sum() == 15, "the empty coalition is not trained"


def test_the_same_command_again_computes_nothing_and_changes_nothing(finished):
    values, committed = finished.values(), finished.committed()
    log = finished.run()
    assert "16 planned, 16 re-used, 0 to fine-tune" in log
    assert "16 planned, 16 re-used, 0 to measure" in log
    assert finished.values() == values
    assert finished.committed() == committed


def test_values_come_again_from_the_utilities_alone(finished):
    values = finished.values()
    shutil.move(finished.folder / "data/06_models", finished.folder / "elsewhere")
    try:
        finished.run("--pipelines", "shapley_estimation")
    finally:
        shutil.move(finished.folder / "elsewhere", finished.folder / "data/06_models")
    assert finished.values() == values


def test_killed_in_the_middle_it_goes_on_and_ends_in_the_same_bits(finished, tmp_path):
    copy = Copy(tmp_path / "project")
    process = copy.start("--params", INLINE)
    deadline = time.monotonic() + 240
    while len(copy.committed()) < 4:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline, "nothing was committed"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = copy.committed()
    assert 4 <= len(before) < 16
    log = copy.run()
    after = copy.committed()
    assert f"16 planned, {len(before)} re-used" in log
    assert {task: after[task] for task in before} == before
    assert len(after) == 16
    assert copy.values() == finished.values(), "other engine, other number of workers, killed: the same bits"


def test_a_larger_budget_tops_up_and_an_error_target_stops_early(finished, tmp_path):
    before = finished.committed()
    growing = "subset_finetune.budget=20,subset_finetune.batch=4,subset_finetune.target_relative_error=9.9"
    log = finished.run("--params", f"{INLINE},{growing}")
    assert "10 planned, 10 re-used" in log
    assert "more evaluations" in log
    assert len(finished.table("07_model_output/utilities.csv")) < 20
    assert finished.committed() == before
    log = finished.run("--params", f"{INLINE},subset_finetune.budget=18")
    assert "18 planned, 16 re-used, 2 to fine-tune" in log
    finished.run("--params", INLINE)


def test_the_property_of_the_readme_is_measured_without_new_training(finished):
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    (code,) = [block.partition("```")[0] for block in readme.split("```python\n")[1:] if "class Brightness" in block]
    (finished.folder / "brightness.py").write_text(code, encoding="utf-8")
    finished.environment["PYTHONPATH"] = "."
    names = "property_eval.properties.names=frechet_efficientnet+brightness:Brightness"
    log = finished.run("--params", f"{INLINE},{names}")
    assert "16 planned, 16 re-used, 0 to fine-tune" in log
    assert finished.table("07_model_output/utilities.csv")["brightness"].between(0, 255).all()
    assert "brightness" in set(finished.table("08_reporting/shapley_values.csv")["property"])
    finished.run("--params", INLINE)


def test_mlflow_answers_the_questions_of_the_readme(finished, monkeypatch):
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{finished.folder / 'mlflow.db'}")
    mlflow.set_tracking_uri(f"sqlite:///{finished.folder / 'mlflow.db'}")
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    queries = [block.partition("```")[0] for block in readme.split("```python\n")[1:] if "mlflow.search_runs" in block]
    assert queries, "the README shows how to ask MLflow"
    namespace: dict = {}
    for query in queries:
        exec(query, namespace)
    results = {name: value for name, value in namespace.items() if isinstance(value, pd.DataFrame)}
    assert len(results) == 3
    assert all(len(frame) > 0 for frame in results.values()), {name: len(frame) for name, frame in results.items()}
    children = mlflow.search_runs(experiment_names=["groupshap"], filter_string="tags.kind = 'coalition'")
    identity = children[["tags.fingerprint", "tags.coalition_id", "tags.replicate"]]
    assert not identity.duplicated().any(), "re-runs wrote no child twice"


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ("data_gruping.source=digits", "Did you mean `data_grouping`?"),
        ("data_grouping.sorce=digits", "sorce"),
        ("pruning.fraction_removed=1.5", "less than or equal to 0.95"),
        ("subset_finetune.budget=0", "greater than or equal to 2"),
        ("base_training.train.batch_size=0", "greater than or equal to 1"),
        ("property_eval.properties.names=beauty", "inception_efficientnet"),
        ("property_eval.properties.names=nowhere.module:Class", "nowhere"),
        ("data_grouping.source=flickr", "avatars"),
        ("data_grouping.source=image_folder,data_grouping.path=/does/not/exist", "/does/not/exist"),
        ("data_grouping.image_size=9", "multiple of 2"),
        ("subset_finetune.budget=4", "plan_coalitions(6, 10"),
        ("shapley_estimation.estimator=exact", "budget"),
        ("property_eval.properties.diversity_label_column=nope", "source_contributor"),
        ("property_eval.sampler.n_steps=20,base_training.model.n_noise_levels=10", "at most"),
    ],
)
def test_bad_input_gets_one_message_before_any_training(finished, params, expected):
    committed = finished.committed()
    log = finished.run("--params", params, code=1)
    assert expected in log
    assert "Traceback" not in log
    assert "training the base model" not in log
    assert finished.committed() == committed
