"""Every property of every coalition's model, and the table of utilities."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from groupshap.campaign.expected import expected_words
from groupshap.campaign.shared import Campaign, file_of
from groupshap.engines.base import run_jobs
from groupshap.errors import UserError
from groupshap.plain import plain
from groupshap.properties.base import PropertyError, properties_recipe, resolve_properties
from groupshap.properties.requirements import count_problems
from groupshap.store import FileRef, Store, StoreRun
from groupshap.store_lock import exclusive
from groupshap.tasks.config import REFERENCE, PropertyEvalConfig

__all__ = [
    "IncompleteError",
    "Measurement",
    "WeightsGoneError",
    "assemble",
    "measure_models",
    "measurement_recipe",
    "open_measurement",
    "reference_recipe",
]

logger = logging.getLogger(__name__)


class IncompleteError(UserError, ValueError):
    """The utilities are not complete."""


class WeightsGoneError(UserError, RuntimeError):
    """Models are to be used whose weights were deleted after their measurement."""

    def __init__(self, n_gone: int, n_planned: int, what: str, then: str) -> None:
        super().__init__(
            f"{what}, but the weights of {n_gone} of {n_planned} models were deleted after their measurement "
            f"(`keep: none`). {then}"
        )


@dataclass(frozen=True)
class Measurement:
    """How the models of one recipe are measured, and what is measured already.

    Attributes:
        campaign: What all stages share.
        run: Where the measurements are kept.
        reference: What the properties know of the data.
        config: What is generated and measured.
    """

    campaign: Campaign
    run: StoreRun
    reference: FileRef
    config: PropertyEvalConfig

    def is_done(self, task_id: str, model_sha256: str) -> bool:
        """Whether these very weights are measured: a model that was made again may have other bits."""
        return self.run.is_committed(task_id) and self.run.record(task_id)["model_sha256"] == model_sha256

    def job(self, task_id: str, model: str | Path, model_sha256: str) -> dict[str, Any]:
        """The measurement of one model as a job."""
        from groupshap.tasks.measure import MeasureJob  # noqa: PLC0415 - imports torch

        job = MeasureJob(
            task_id=task_id,
            folder=self.run.task_folder(task_id),
            properties=self.config.properties,
            model=model,
            model_sha256=model_sha256,
            reference=self.reference.path,
            n_images=self.config.n_images,
            sampler=self.config.sampler,
            prompts=self.config.prompts,
            root_seed=self.campaign.root_seed,
            device=self.campaign.device,
        )
        return job.model_dump(mode="json")


def open_measurement(
    campaign: Campaign, store: Store, image_table: FileRef, config: PropertyEvalConfig, models_fingerprint: str
) -> Measurement:
    """The measurement of models with this fingerprint; fits the properties to the data if that is not done yet."""
    reference = _fit_properties(campaign, store, image_table, config)
    recipe = measurement_recipe(campaign, config, reference.sha256, models_fingerprint)
    return Measurement(campaign, store.open(recipe), reference, config)


def measurement_recipe(
    campaign: Campaign, config: PropertyEvalConfig, reference_sha256: str, models_fingerprint: str
) -> dict[str, Any]:
    """All that a measurement depends on, beside the weights themselves."""
    settings = {
        "n_images": config.n_images,
        "sampler": plain(config.sampler),
        "properties": properties_recipe(config.properties),
        "reference_sha256": reference_sha256,
    }
    settings |= {"prompts": list(config.prompts)} if config.prompts else {}
    data = {"images_sha256": campaign.images.sha256, "models_fingerprint": models_fingerprint}
    return campaign.recipe("measure", campaign.n_threads, **data, **settings)


def measure_models(
    campaign: Campaign, store: Store, manifest: pd.DataFrame, image_table: FileRef, config: PropertyEvalConfig
) -> pd.DataFrame:
    """Measure every property of every model of the manifest that is not committed yet.

    Returns:
        The manifest with one column per property, sample_seconds, measure_seconds and fingerprint.

    Raises:
        WeightsGoneError: models that are not measured under these settings were not kept; before any compute.
        JobsFailedError: some failed; all others are committed.
        PropertyError: too few images are generated for a property, or it needs prompts and there are none.
    """
    problems = count_problems(resolve_properties(config.properties), config.n_images, has_prompts=bool(config.prompts))
    if problems:
        raise PropertyError("; ".join(problems) + " (`property_eval.n_images`).")
    from groupshap.tasks.measure import measure_task  # noqa: PLC0415 - imports torch

    (models_fingerprint,) = manifest["models_fingerprint"].unique()
    measurement = open_measurement(campaign, store, image_table, config, models_fingerprint)
    run = measurement.run
    with exclusive(run.folder):
        models = zip(manifest["task_id"], manifest["checkpoint_sha256"], strict=True)
        measured = np.array([measurement.is_done(task_id, sha256) for task_id, sha256 in models])
        todo = manifest[~measured]
        _refuse_gone(todo, len(manifest))
        _announce(campaign, run, manifest[measured], len(todo))
        jobs = [measurement.job(row.task_id, row.checkpoint, row.checkpoint_sha256) for row in todo.itertuples()]
        run_jobs(measure_task, jobs, campaign.engine, label="measuring models")
    records = run.manifest(manifest["task_id"])
    return manifest.assign(
        **{name: [record["values"][name] for record in records] for name in records[0]["values"]},
        sample_seconds=[record["sample_seconds"] for record in records],
        measure_seconds=[record["measure_seconds"] for record in records],
        fingerprint=run.fingerprint,
    )


def _refuse_gone(todo: pd.DataFrame, n_planned: int) -> None:
    n_gone = int((todo["checkpoint"] == "").sum())
    if n_gone:
        raise WeightsGoneError(
            n_gone,
            n_planned,
            "These properties, images or sampler settings are new",
            "Train them again, and measure in the same go, by `kedro run --pipelines subset_finetune,property_eval` "
            "with the same parameters; with `--params subset_finetune.keep=weights` they then stay for further ones.",
        )


def _announce(campaign: Campaign, run: StoreRun, done: pd.DataFrame, n_todo: int) -> None:
    """Say what will be measured, and how long it will take if that is known."""
    seconds = [record["sample_seconds"] + record["measure_seconds"] for record in run.manifest(done["task_id"])]
    expected = expected_words(n_todo, campaign.engine.n_jobs_at_once(), seconds)
    logger.info("Models: %d planned, %d re-used, %d to measure%s.", len(done) + n_todo, len(done), n_todo, expected)


def reference_recipe(campaign: Campaign, image_table: FileRef, config: PropertyEvalConfig) -> dict[str, Any]:
    """All that what the properties know of the data depends on; kept in folder ``reference`` of the store."""
    return {
        "stage": "reference",
        "images_sha256": campaign.images.sha256,
        "image_table_sha256": image_table.sha256,
        "properties": properties_recipe(config.properties),
    }


def _fit_properties(campaign: Campaign, store: Store, image_table: FileRef, config: PropertyEvalConfig) -> FileRef:
    """What the properties need to know of the data, fitted once."""
    from groupshap.tasks.measure import FitJob, fit_task  # noqa: PLC0415 - imports torch

    run = Store(store.root / "reference").open(reference_recipe(campaign, image_table, config))
    if not run.is_committed("reference"):
        job = FitJob(
            task_id="reference",
            folder=run.task_folder("reference"),
            properties=config.properties,
            images=campaign.images.path,
            image_table=image_table.path,
        )
        run_jobs(fit_task, [job.model_dump(mode="json")], campaign.engine, label="fitting the properties to the data")
    return file_of(run, "reference", REFERENCE)


def assemble(manifest: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    """The utilities table: one row per planned evaluation, checked.

    Columns: split, coalition_id, replicate, n_contributors, members, one per property, train_seconds, sample_seconds,
    fingerprint.

    Raises:
        IncompleteError: planned rows without a measurement, measured twice or not planned, non-finite values, or a
            manifest that lost rows; all named.
    """
    planned, found = manifest["task_id"].tolist(), measured["task_id"].tolist()
    known = {*manifest, "sample_seconds", "measure_seconds", "fingerprint"}
    properties = [name for name in measured if name not in known]
    numbers = measured[properties].apply(pd.to_numeric, errors="coerce").astype(float)
    infinite = ~numbers.abs().lt(float("inf"))
    problems = {
        "not measured": sorted(set(planned) - set(found)),
        "measured twice": sorted(measured.loc[measured["task_id"].duplicated(), "task_id"]),
        "not planned": sorted(set(found) - set(planned)),
        "not finite": [
            f"{name} of {found[row]}" for name in properties for row in infinite[name].to_numpy().nonzero()[0]
        ],
    }
    n_planned = int(manifest["n_planned"].iloc[0]) if len(manifest) else 0
    if n_planned != len(planned) or not n_planned:
        problems["manifest"] = [f"{len(planned)} rows instead of {n_planned}"]
    named = [
        f"{what}: {', '.join(map(str, which[:10]))} ({len(which)} in all)" for what, which in problems.items() if which
    ]
    if named or not properties:
        raise IncompleteError(
            f"The utilities of {len(planned)} planned evaluations are incomplete; {'; '.join(named) or 'no property'}. "
            "Run `kedro run --pipelines subset_finetune,property_eval` again; what is committed is kept."
        )
    front = ["split", "coalition_id", "replicate", "n_contributors", "members"]
    ordered = measured.set_index("task_id").loc[planned].reset_index()
    return ordered[[*front, *properties, "train_seconds", "sample_seconds", "fingerprint"]]
