"""Which coalitions, one fine-tuning for each, and when to stop asking for more."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from groupshap.attribution.tables import coalition_utilities
from groupshap.campaign.measuring import assemble, measure_models
from groupshap.campaign.shared import Campaign, plain
from groupshap.engines.base import run_jobs
from groupshap.games import estimate, evaluations_to_converge, plan_coalitions, relative_standard_error
from groupshap.games.coalitions import coalition_id, replicate_numbers
from groupshap.image_pack import ImagePack, load_pack
from groupshap.members import join_members, split_members
from groupshap.seeds import seed_for
from groupshap.store import FileRef, Store, StoreRun, check_disk
from groupshap.tasks.config import WEIGHTS, PropertyEvalConfig, SubsetFinetuneConfig

__all__ = ["ESTIMATION", "draw_plan", "finetune", "grow", "with_committed"]

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
    names = contributors["contributor"].tolist()
    masks = plan_coalitions(len(names), config.budget, seed=seed_for(root_seed, "plan"), law=config.law)
    digests = np.array([pack.digest(player, name) for player, name in enumerate(names)], dtype=object)
    replicates = replicate_numbers(masks)
    return pd.DataFrame(
        {
            "task_id": [f"{_content_id(digests[mask])}-r{r}" for mask, r in zip(masks, replicates, strict=True)],
            "split": ESTIMATION,
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
    start_model: FileRef,
    plan: pd.DataFrame,
    contributors: pd.DataFrame,
    config: SubsetFinetuneConfig,
) -> pd.DataFrame:
    """Fine-tune the start model on every coalition of the plan that is not committed yet.

    Returns:
        The plan with n_planned (its length), train_seconds, models_fingerprint, checkpoint (absolute path) and its
        sha256.

    Raises:
        JobsFailedError: some failed; all others are committed.
    """
    from groupshap.tasks.train import train_task  # noqa: PLC0415 - imports torch

    run = _models_of(campaign, store, start_model, config)
    todo = plan[plan["task_id"].isin(run.missing(plan["task_id"]))]
    _announce(run, plan, todo, campaign.engine.n_jobs_at_once())
    check_disk(store.root, len(todo) * start_model.path.stat().st_size, f"checkpoints of {len(todo)} coalitions")
    players = dict(zip(contributors["contributor"], contributors["player"].astype(int), strict=True))
    jobs = [_finetune_job(campaign, run, start_model, row, players, config) for row in todo.to_dict("records")]
    run_jobs(train_task, jobs, campaign.engine, label="fine-tuning coalitions")
    records = run.manifest(plan["task_id"])
    return plan.assign(
        n_planned=len(plan),
        train_seconds=[record["train_seconds"] for record in records],
        models_fingerprint=run.fingerprint,
        checkpoint=[str(run.task_folder(task_id) / WEIGHTS) for task_id in plan["task_id"]],
        checkpoint_sha256=[record["files"][WEIGHTS]["sha256"] for record in records],
    )


def _models_of(campaign: Campaign, store: Store, start_model: FileRef, config: SubsetFinetuneConfig) -> StoreRun:
    """The coalition models of one recipe. The images are no part of it: they are in the tasks' names."""
    settings = {"start_sha256": start_model.sha256, "train": plain(config.train)}
    return store.open(campaign.recipe("finetune", campaign.n_threads, **settings))


def _announce(run: StoreRun, plan: pd.DataFrame, todo: pd.DataFrame, n_at_once: int) -> None:
    """Say what will be computed, and how long it will take if that is known, before it is."""
    done = [run.record(task_id)["train_seconds"] for task_id in plan["task_id"] if task_id not in set(todo["task_id"])]
    trained = [seconds for seconds in done if seconds > 0]
    expected = f", about {len(todo) * np.mean(trained) / n_at_once:.0f} s" if trained and len(todo) else ""
    logger.info("Coalitions: %d planned, %d re-used, %d to fine-tune%s.", len(plan), len(done), len(todo), expected)


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


def _finetune_job(
    campaign: Campaign,
    run: StoreRun,
    start_model: FileRef,
    row: Mapping[str, Any],
    players: Mapping[str, int],
    config: SubsetFinetuneConfig,
) -> dict[str, Any]:
    """One coalition as a job; the empty one is the pruned architecture with random weights, untrained."""
    from groupshap.tasks.train import TrainJob  # noqa: PLC0415 - imports torch

    names = split_members(row["members"])
    members = [players[name] for name in names]
    purpose = "finetune" if members else "initialise"
    job = TrainJob(
        task_id=row["task_id"],
        folder=run.task_folder(row["task_id"]),
        images=campaign.images.path,
        members=members,
        names=names,
        start=start_model.path,
        reinitialise=not members,
        train=config.train if members else None,
        seed=seed_for(campaign.root_seed, purpose, row["task_id"]),
        device=campaign.device,
    )
    return job.model_dump(mode="json")


def grow(
    campaign: Campaign,
    plan: pd.DataFrame,
    contributors: pd.DataFrame,
    config: SubsetFinetuneConfig,
    *,
    models: Store,
    records: Store,
    start_model: FileRef,
    image_table: FileRef,
    measuring: PropertyEvalConfig,
    estimator: str,
) -> pd.DataFrame:
    """Fine-tune the plan, in rounds if an error target is set: measure, estimate, stop when the target is met.

    Args:
        campaign: What all stages share.
        plan: The whole budget, see :func:`draw_plan`.
        contributors: One row per player.
        config: Of the fine-tuning.
        models: Store of the coalitions' models.
        records: Store of their measured properties.
        start_model: The pruned, recovered model.
        image_table: Parquet file with one row per image.
        measuring: What is measured between rounds.
        estimator: Whose standard errors have to meet the target.

    Returns:
        The manifest of :func:`finetune` for the rows that were needed.
    """
    if config.reuse_committed:
        run = _models_of(campaign, models, start_model, config)
        plan = with_committed(plan, run, contributors, load_pack(campaign.images.path))
    for n_rows in config.round_ends(len(contributors)):
        manifest = finetune(campaign, models, start_model, plan.head(n_rows), contributors, config)
        if config.target_relative_error is None or n_rows == config.budget:
            return manifest
        measured = measure_models(campaign, records, manifest, image_table, measuring)
        if _is_precise_enough(assemble(manifest, measured), contributors, config, estimator):
            return manifest
    raise AssertionError("the last round is the budget")


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
        logger.info(
            "After %d evaluations: %s has relative error %.3f (target %.3f); about %.0f more evaluations, %.0f s.",
            len(utilities), name, errors[name], target, more, more * seconds,
        )  # fmt: skip
    return all(error < target for error in errors.values())
