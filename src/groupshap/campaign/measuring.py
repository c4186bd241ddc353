"""Every property of every coalition's model, and the table of utilities."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from groupshap.campaign.expected import expected_words
from groupshap.campaign.shared import Campaign, file_of, plain
from groupshap.engines.base import run_jobs
from groupshap.errors import UserError
from groupshap.properties.base import properties_recipe
from groupshap.store import FileRef, Store, StoreRun
from groupshap.store_lock import exclusive
from groupshap.tasks.config import REFERENCE, PropertyEvalConfig

__all__ = ["IncompleteError", "assemble", "measure_models"]

logger = logging.getLogger(__name__)


class IncompleteError(UserError, ValueError):
    """The utilities are not complete."""


def measure_models(
    campaign: Campaign, store: Store, manifest: pd.DataFrame, image_table: FileRef, config: PropertyEvalConfig
) -> pd.DataFrame:
    """Measure every property of every model of the manifest that is not committed yet.

    Returns:
        The manifest with one column per property, sample_seconds, measure_seconds and fingerprint.

    Raises:
        JobsFailedError: some failed; all others are committed.
    """
    from groupshap.tasks.measure import measure_task  # noqa: PLC0415 - imports torch

    reference = _fit_properties(campaign, store, image_table, config)
    settings = {
        "n_images": config.n_images,
        "sampler": plain(config.sampler),
        "properties": properties_recipe(config.properties),
        "reference_sha256": reference.sha256,
    }
    settings |= {"prompts": list(config.prompts)} if config.prompts else {}
    (models_fingerprint,) = manifest["models_fingerprint"].unique()
    data = {"images_sha256": campaign.images.sha256, "models_fingerprint": models_fingerprint}
    run = store.open(campaign.recipe("measure", campaign.n_threads, **data, **settings))
    with exclusive(run.folder):
        measured = np.array([_is_measured(run, row) for row in manifest.to_dict("records")])
        todo = manifest[~measured]
        _announce(campaign, run, manifest[measured], len(todo))
        jobs = [_measure_job(campaign, run, reference, row, config) for row in todo.to_dict("records")]
        run_jobs(measure_task, jobs, campaign.engine, label="measuring models")
    records = run.manifest(manifest["task_id"])
    return manifest.assign(
        **{name: [record["values"][name] for record in records] for name in records[0]["values"]},
        sample_seconds=[record["sample_seconds"] for record in records],
        measure_seconds=[record["measure_seconds"] for record in records],
        fingerprint=run.fingerprint,
    )


def _announce(campaign: Campaign, run: StoreRun, done: pd.DataFrame, n_todo: int) -> None:
    """Say what will be measured, and how long it will take if that is known."""
    seconds = [record["sample_seconds"] + record["measure_seconds"] for record in run.manifest(done["task_id"])]
    expected = expected_words(n_todo, campaign.engine.n_jobs_at_once(), seconds)
    logger.info("Models: %d planned, %d re-used, %d to measure%s.", len(done) + n_todo, len(done), n_todo, expected)


def _is_measured(run: StoreRun, row: Mapping[str, Any]) -> bool:
    """Whether there is a measurement of these very weights: a model that was made again may have other bits."""
    if not run.is_committed(row["task_id"]):
        return False
    return run.record(row["task_id"])["model_sha256"] == row["checkpoint_sha256"]


def _fit_properties(campaign: Campaign, store: Store, image_table: FileRef, config: PropertyEvalConfig) -> FileRef:
    """What the properties need to know of the data, fitted once."""
    from groupshap.tasks.measure import FitJob, fit_task  # noqa: PLC0415 - imports torch

    recipe = {
        "stage": "reference",
        "images_sha256": campaign.images.sha256,
        "image_table_sha256": image_table.sha256,
        "properties": properties_recipe(config.properties),
    }
    run = Store(store.root / "reference").open(recipe)
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


def _measure_job(
    campaign: Campaign, run: StoreRun, reference: FileRef, row: Mapping[str, Any], config: PropertyEvalConfig
) -> dict[str, Any]:
    from groupshap.tasks.measure import MeasureJob  # noqa: PLC0415 - imports torch

    job = MeasureJob(
        task_id=row["task_id"],
        folder=run.task_folder(row["task_id"]),
        properties=config.properties,
        model=row["checkpoint"],
        model_sha256=row["checkpoint_sha256"],
        reference=reference.path,
        n_images=config.n_images,
        sampler=config.sampler,
        prompts=config.prompts,
        root_seed=campaign.root_seed,
        device=campaign.device,
    )
    return job.model_dump(mode="json")


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
