"""Which coalitions, one fine-tuning for each, and when to stop asking for more."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from groupshap.attribution.summary import price_of_converging
from groupshap.attribution.tables import coalition_utilities
from groupshap.campaign.encoded import encoded_images
from groupshap.campaign.expected import expected_words, seconds_per_image
from groupshap.campaign.measuring import Measurement, assemble, measure_models, open_measurement
from groupshap.campaign.recipes import StartModels, coalition_job, models_of
from groupshap.campaign.shared import Campaign
from groupshap.engines.base import run_jobs
from groupshap.games import CoalitionMatrix, estimate, evaluations_to_converge, plan_coalitions, relative_standard_error
from groupshap.games.coalitions import coalition_id, replicate_numbers
from groupshap.image_pack import ImagePack, load_pack
from groupshap.members import join_members
from groupshap.progress import duration
from groupshap.retention import has_files
from groupshap.seeds import seed_for
from groupshap.store import FileRef, Store, StoreRun, check_disk
from groupshap.store_lock import exclusive
from groupshap.tasks.config import WEIGHTS, CoalitionTraining, PropertyEvalConfig, SubsetFinetuneConfig

__all__ = ["ESTIMATION", "draw_plan", "finetune", "grow", "plan_table", "with_committed"]

logger = logging.getLogger(__name__)

ESTIMATION = "estimation"
"""The split whose coalitions the values are fitted to."""


def draw_plan(
    contributors: pd.DataFrame, pack: ImagePack, config: SubsetFinetuneConfig, root_seed: int
) -> pd.DataFrame:
    """The plan of the whole budget, one row per evaluation.

    A task is named by its members' names and images, not by their numbers, so that its model stays valid when other
    contributors come, go or change their images.

    Columns: task_id, split, coalition_id, replicate, n_contributors, members (names, see ``groupshap.members``).
    """
    masks = plan_coalitions(len(contributors), config.budget, seed=seed_for(root_seed, "plan"), law=config.law)
    return plan_table(masks, contributors, pack, ESTIMATION)


def plan_table(masks: CoalitionMatrix, contributors: pd.DataFrame, pack: ImagePack, split: str) -> pd.DataFrame:
    """Coalitions as the table of a plan; see :func:`draw_plan` for its columns. A repeated row is a replicate."""
    names = contributors["contributor"].tolist()
    digests = np.array([pack.digest(player, name) for player, name in enumerate(names)], dtype=object)
    replicates = replicate_numbers(masks)
    return pd.DataFrame(
        {
            "task_id": [f"{_content_id(digests[mask])}-r{r}" for mask, r in zip(masks, replicates, strict=True)],
            "split": split,
            "coalition_id": [coalition_id(mask) for mask in masks],
            "replicate": replicates,
            "n_contributors": masks.sum(axis=1),
            "members": [join_members(names[player] for player in mask.nonzero()[0]) for mask in masks],
        }
    )


def _content_id(digests: Iterable[str]) -> str:
    """First 16 hex digits of the sha256 of the members' digests, in the order in which they are trained on."""
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()[:16]


def finetune(
    campaign: Campaign,
    store: Store,
    start: StartModels,
    plan: pd.DataFrame,
    contributors: pd.DataFrame,
    config: CoalitionTraining,
    measured_by: Callable[[str], Measurement] | None = None,
) -> pd.DataFrame:
    """Make the model of every coalition of the plan that is not committed yet.

    Args:
        campaign: What all stages share.
        store: Of the models.
        start: What they can start from.
        plan: See :func:`draw_plan`.
        contributors: One row per player.
        config: Recipe and training.
        measured_by: Gives the measurement for the fingerprint of the models; only ``keep: none`` asks for it, because
            its jobs measure in the same go and leave no weights.

    Returns:
        The plan with n_planned (its length), recipe, n_steps, train_seconds, models_fingerprint, checkpoint (absolute
        path, "" if the weights were not kept) and its sha256.

    Raises:
        JobsFailedError: some failed; all others are committed.
    """
    run = models_of(campaign, store, start, config)
    measurement = measured_by(run.fingerprint) if measured_by and config.keep == "none" else None
    with ExitStack() as locks:
        for folder in [run.folder] if measurement is None else [run.folder, measurement.run.folder]:
            locks.enter_context(exclusive(folder))
        todo = plan[[not _is_done(run, task_id, measurement) for task_id in plan["task_id"]]]
        _announce(campaign, run, plan, todo, start.file(config.recipe), config)
        n_stored = len(todo) if config.keep == "weights" else campaign.engine.n_jobs_at_once()
        check_disk(store.root, n_stored * start.size_bytes(config.recipe), f"weights of {n_stored} coalitions")
        players = dict(zip(contributors["contributor"], contributors["player"].astype(int), strict=True))
        n_used = load_pack(campaign.images.path).n_used()
        encoded = encoded_images(campaign, start.base) if len(todo) else None
        shared = (players, n_used, config, encoded)
        jobs = [coalition_job(campaign, run, start, row, *shared) for row in todo.to_dict("records")]
        _run(campaign, jobs, measurement, f"models of coalitions, {config.recipe}")
    return _manifest(run, plan, config)


def _is_done(run: StoreRun, task_id: str, measurement: Measurement | None) -> bool:
    """Whether a coalition needs no job: its weights are there to stay; with ``keep: none`` also, it is measured."""
    if not run.is_committed(task_id):
        return False
    record = run.record(task_id)
    if has_files(record):
        return measurement is None or record.get("keep", "weights") == "weights"
    return measurement is not None and measurement.is_done(task_id, record["files"][WEIGHTS]["sha256"])


def _run(campaign: Campaign, jobs: list[dict[str, Any]], measurement: Measurement | None, label: str) -> None:
    """Train; where there is a measurement, also measure and discard in the same job."""
    if measurement is None:
        from groupshap.tasks.train import train_task  # noqa: PLC0415 - imports torch

        run_jobs(train_task, jobs, campaign.engine, label=label)
        return
    from groupshap.tasks.evaluate import evaluate_task  # noqa: PLC0415 - imports torch

    whole = [
        {
            "task_id": job["task_id"],
            "train": job,
            "measure": measurement.job(job["task_id"], Path(job["folder"]) / WEIGHTS, model_sha256=""),
        }
        for job in jobs
    ]
    run_jobs(evaluate_task, whole, campaign.engine, label=f"{label}, measured at once")


def _manifest(run: StoreRun, plan: pd.DataFrame, config: CoalitionTraining) -> pd.DataFrame:
    """The plan beside what its records say."""
    records = run.manifest(plan["task_id"])
    return plan.assign(
        n_planned=len(plan),
        recipe=config.recipe,
        n_steps=[record["n_steps"] for record in records],
        train_seconds=[record["train_seconds"] for record in records],
        models_fingerprint=run.fingerprint,
        checkpoint=[
            str(run.task_folder(record["task_id"]) / WEIGHTS) if has_files(record) else "" for record in records
        ],
        checkpoint_sha256=[record["files"][WEIGHTS]["sha256"] for record in records],
    )


def _announce(
    campaign: Campaign, run: StoreRun, plan: pd.DataFrame, todo: pd.DataFrame, like: FileRef, config: CoalitionTraining
) -> None:
    """Say what will be computed, how long it will take and what it leaves, before it is.

    The time is that of the coalitions that are done; of the first ones, that of the training of the model ``like``.
    """
    done = run.manifest(plan.loc[~plan["task_id"].isin(todo["task_id"]), "task_id"])
    seconds = [record["train_seconds"] for record in done if record["train_seconds"] > 0]
    if not seconds and len(todo):
        of_image = seconds_per_image(campaign.timings, like)
        seconds = [] if of_image is None else [of_image * config.train.n_steps * config.train.batch_size]
    left_bytes = like.path.stat().st_size if config.keep == "weights" else 0
    expected = expected_words(len(todo), campaign.engine.n_jobs_at_once(), seconds, left_bytes)
    logger.info("Coalitions: %d planned, %d re-used, %d to fine-tune%s.", len(plan), len(done), len(todo), expected)
    n_again = sum(run.is_committed(task) and not has_files(run.record(task)) for task in todo["task_id"])
    if n_again:
        logger.warning(
            "%d of these were trained before, but their weights were not kept (`keep: none`): they are trained again, "
            "to the same bits.",
            n_again,
        )


def with_committed(plan: pd.DataFrame, run: StoreRun, contributors: pd.DataFrame, pack: ImagePack) -> pd.DataFrame:
    """The plan with finished coalitions that it does not name, right after its end points; the length stays.

    Only coalitions of present contributors whose images have not changed: their names and images make the task's name.
    """
    names = contributors["contributor"].tolist()
    digests = {name: pack.digest(player, name) for player, name in enumerate(names)}
    rows = []
    for record in run.committed():
        members = record.get("members")
        if members is None or not set(members) <= set(names) or record["task_id"] in set(plan["task_id"]):
            continue
        content, _, replicate = record["task_id"].rpartition("-r")
        if content == _content_id(digests[name] for name in members):
            mask = np.isin(names, members)
            rows.append([record["task_id"], ESTIMATION, coalition_id(mask), int(replicate), len(members)])
            rows[-1].append(join_members(members))
    extra = pd.DataFrame(rows, columns=list(plan)).sort_values("task_id")
    return pd.concat([plan.head(2), extra, plan.iloc[2:]], ignore_index=True).head(len(plan))


def grow(
    campaign: Campaign,
    plan: pd.DataFrame,
    contributors: pd.DataFrame,
    config: SubsetFinetuneConfig,
    *,
    models: Store,
    records: Store,
    start: StartModels,
    image_table: FileRef,
    measuring: PropertyEvalConfig,
    estimator: str,
) -> pd.DataFrame:
    """Fine-tune the plan, in rounds if it may end early: measure, and stop at the error target or the hours.

    Args:
        campaign: What all stages share.
        plan: The whole budget, see :func:`draw_plan`.
        contributors: One row per player.
        config: Of the fine-tuning.
        models: Store of the coalitions' models.
        records: Store of their measured properties.
        start: What the coalitions' models can start from.
        image_table: Parquet file with one row per image.
        measuring: What is measured between rounds.
        estimator: Whose standard errors have to meet the target.

    Returns:
        The manifest of :func:`finetune` for the rows that were needed.
    """
    if config.reuse_committed:
        run = models_of(campaign, models, start, config)
        plan = with_committed(plan, run, contributors, load_pack(campaign.images.path))
    measured_by = partial(open_measurement, campaign, records, image_table, measuring)
    n_rows = config.n_in_first_round(len(contributors))
    while True:
        manifest = finetune(campaign, models, start, plan.head(n_rows), contributors, config, measured_by)
        if n_rows == config.budget:
            return manifest
        measured = measure_models(campaign, records, manifest, image_table, measuring)
        n_more = min(config.n_in_round(len(contributors)), config.budget - n_rows, _n_affordable(measured, config))
        if config.target_relative_error and _is_precise_enough(
            assemble(manifest, measured), contributors, config, estimator
        ):
            return manifest
        if n_more < 1:
            return manifest
        n_rows += n_more


def _n_affordable(measured: pd.DataFrame, config: SubsetFinetuneConfig) -> int:
    """Further evaluations that `hours` pay for, by what the measured ones have cost; says so where there are none.

    Recorded seconds decide and nothing else, so the same command again stops at the same row.
    """
    if config.hours is None:
        return config.budget
    seconds = measured[["train_seconds", "sample_seconds", "measure_seconds"]].sum(axis=1)
    spent, each = float(seconds.sum()), float(seconds[measured["n_contributors"] > 0].mean())
    n_more = max(0, int((3600 * config.hours - spent) / each))
    if n_more == 0:
        logger.warning(
            "The plan ends after %d of %d evaluations: they cost %s of work, `subset_finetune.hours` allows %s. The "
            "values will be those of this shorter plan; with more hours the same command goes on from here.",
            len(measured), config.budget, duration(spent), duration(3600 * config.hours),
        )  # fmt: skip
    return n_more


def _is_precise_enough(
    utilities: pd.DataFrame, contributors: pd.DataFrame, config: SubsetFinetuneConfig, estimator: str
) -> bool:
    """Whether every property meets the error target; logs where each stands and what it would cost to go on."""
    target = config.target_relative_error or 0.0
    masks, by_property = coalition_utilities(utilities, contributors, ESTIMATION)
    seconds = float((utilities["train_seconds"] + utilities["sample_seconds"]).mean())
    errors = {}
    for name, values in by_property.items():
        shapley = estimate(masks, values, estimator=estimator, law=config.law)
        errors[name] = relative_standard_error(shapley)
        more = evaluations_to_converge(shapley, target)
        price = price_of_converging(more, len(utilities), more * seconds)
        logger.info(
            "After %d evaluations: %s has relative error %.3f (target %.3f%s).",
            len(utilities), name, errors[name], target, f"; that takes {price}" if more else ", reached",
        )  # fmt: skip
    return all(error < target for error in errors.values())
