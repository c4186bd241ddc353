"""The driver's part of a run: what has to be computed, where it is kept, what is already there.

Nodes call these functions; workers run the functions of ``tasks``. Everything computed goes through a store under the
fingerprint of all that its numbers depend on, so any of these calls, repeated after a kill, goes on where it stopped.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from groupshap.attribution.tables import coalition_utilities
from groupshap.engines.base import EngineConfig, JobFunction, run_jobs, threads
from groupshap.games import estimate, evaluations_to_converge, plan_coalitions, relative_standard_error, task_ids
from groupshap.games.coalitions import coalition_id, replicate_numbers
from groupshap.members import join_members, split_members
from groupshap.properties.base import properties_recipe
from groupshap.pruning.config import PruningConfig
from groupshap.seeds import seed_for
from groupshap.store import FileRef, Record, Store, StoreRun, check_disk
from groupshap.tasks.config import BaseTrainingConfig, PropertyEvalConfig, PruningStageConfig, SubsetFinetuneConfig

if TYPE_CHECKING:  # pydantic models of modules that import torch
    from pydantic import BaseModel

__all__ = [
    "ESTIMATION",
    "Campaign",
    "assemble",
    "draw_plan",
    "finetune",
    "grow",
    "measure_models",
    "prune",
    "recover",
    "train_base",
]

logger = logging.getLogger(__name__)

ESTIMATION = "estimation"
"""The split whose coalitions the values are fitted to."""

WEIGHTS = "weights.safetensors"
REFERENCE = "reference.safetensors"
_TRAINING_STATE_FACTOR = 6  # weights, average, two moments, and two files while one replaces the other


@dataclass(frozen=True)
class Campaign:
    """What all stages of one run share.

    Attributes:
        images: The image pack.
        root_seed: Every draw descends from it.
        device: cpu, cuda or auto.
        engine: Where jobs run.
    """

    images: FileRef
    root_seed: int
    device: str
    engine: EngineConfig = EngineConfig()

    def recipe(self, stage: str, **settings: Any) -> dict[str, Any]:
        """Everything that the numbers of a stage depend on; where it runs is no part of it."""
        return {"stage": stage, "root_seed": self.root_seed, "images_sha256": self.images.sha256, **settings}


# --- models on all data -----------------------------------------------------------------------------------------------


def train_base(campaign: Campaign, store: Store, config: BaseTrainingConfig) -> FileRef:
    """The dense model, trained on everybody's images."""
    from groupshap.tasks.train import TrainJob, train_task  # noqa: PLC0415 - imports torch

    recipe = campaign.recipe("base", model=_plain(config.model), train=_plain(config.train))
    job = partial(
        TrainJob,
        start=None,
        model=config.model,
        train=config.train,
        seed=seed_for(campaign.root_seed, "base"),
        label="training the base model",
        **_on_all_data(campaign, config),
    )
    check_disk(store.root, 2**20, "the base model")
    return _single(train_task, job, store.open(recipe), "base", config.n_threads)


def prune(campaign: Campaign, store: Store, base_model: FileRef, config: PruningStageConfig) -> tuple[FileRef, Record]:
    """The pruned model before its recovery, and the report of the pruning."""
    from groupshap.tasks.prune import PruneJob, prune_task  # noqa: PLC0415 - imports torch

    pruning = PruningConfig(**config.model_dump(exclude={"recovery"}))
    run = store.open(campaign.recipe("prune", start_sha256=base_model.sha256, pruning=_plain(pruning)))
    job = partial(
        PruneJob,
        model=base_model.path,
        images=campaign.images.path,
        pruning=pruning,
        seed=seed_for(campaign.root_seed, "prune"),
        device=campaign.device,
    )
    pruned = _single(prune_task, job, run, "pruned", n_threads=1)
    return pruned, run.record("pruned")["report"]


def recover(
    campaign: Campaign, store: Store, pruned: FileRef, config: PruningStageConfig, base: BaseTrainingConfig
) -> FileRef:
    """The pruned model after fine-tuning on all data: where every coalition starts."""
    from groupshap.tasks.train import TrainJob, train_task  # noqa: PLC0415 - imports torch

    if config.recovery is None:
        return pruned
    recipe = campaign.recipe("recover", start_sha256=pruned.sha256, train=_plain(config.recovery))
    job = partial(
        TrainJob,
        start=pruned.path,
        train=config.recovery,
        seed=seed_for(campaign.root_seed, "recover"),
        label="recovering the pruned model",
        **_on_all_data(campaign, base),
    )
    check_disk(store.root, _TRAINING_STATE_FACTOR * pruned.path.stat().st_size, "the recovered model")
    return _single(train_task, job, Store(store.root / "recovery").open(recipe), "recovered", base.n_threads)


def _on_all_data(campaign: Campaign, config: BaseTrainingConfig) -> dict[str, Any]:
    return {
        "images": campaign.images.path,
        "members": None,
        "device": campaign.device,
        "checkpoint_every_n_steps": config.checkpoint_every_n_steps,
    }


def _single(fn: JobFunction, job: partial[BaseModel], run: StoreRun, task_id: str, n_threads: int) -> FileRef:
    """Run one task in this process, unless it is committed; its weights either way."""
    if run.is_committed(task_id):
        logger.info("Re-used: %s", run.task_folder(task_id))
    else:
        with threads(n_threads):
            fn(job(task_id=task_id, folder=run.task_folder(task_id)).model_dump(mode="json"))
    return _file(run, task_id, WEIGHTS)


def _file(run: StoreRun, task_id: str, name: str) -> FileRef:
    """A committed file, with the hash that its record holds."""
    return FileRef(run.task_folder(task_id) / name, run.record(task_id)["files"][name]["sha256"])


# --- coalitions -------------------------------------------------------------------------------------------------------


def draw_plan(contributors: pd.DataFrame, config: SubsetFinetuneConfig, root_seed: int) -> pd.DataFrame:
    """The plan of the whole budget, one row per evaluation.

    Columns: task_id, split, coalition_id, replicate, n_contributors, members (names, see ``groupshap.members``).
    """
    names = contributors["contributor"].tolist()
    masks = plan_coalitions(len(names), config.budget, seed=seed_for(root_seed, "plan"), law=config.law)
    return pd.DataFrame(
        {
            "task_id": task_ids(masks),
            "split": ESTIMATION,
            "coalition_id": [coalition_id(mask) for mask in masks],
            "replicate": replicate_numbers(masks),
            "n_contributors": masks.sum(axis=1),
            "members": [join_members(names[player] for player in mask.nonzero()[0]) for mask in masks],
        }
    )


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
        The plan with train_seconds, models_fingerprint, checkpoint (absolute path) and checkpoint_sha256.

    Raises:
        JobsFailedError: some failed; all others are committed.
    """
    from groupshap.tasks.train import train_task  # noqa: PLC0415 - imports torch

    run = store.open(campaign.recipe("finetune", start_sha256=start_model.sha256, train=_plain(config.train)))
    todo = plan[plan["task_id"].isin(run.missing(plan["task_id"]))]
    logger.info("Coalitions: %d planned, %d re-used, %d to fine-tune.", len(plan), len(plan) - len(todo), len(todo))
    check_disk(store.root, len(todo) * start_model.path.stat().st_size, f"checkpoints of {len(todo)} coalitions")
    players = dict(zip(contributors["contributor"], contributors["player"].astype(int), strict=True))
    jobs = [_finetune_job(campaign, run, start_model, row, players, config) for row in todo.to_dict("records")]
    run_jobs(train_task, jobs, campaign.engine, label="fine-tuning coalitions")
    records = run.manifest(plan["task_id"])
    return plan.assign(
        train_seconds=[record["train_seconds"] for record in records],
        models_fingerprint=run.fingerprint,
        checkpoint=[str(run.task_folder(task_id) / WEIGHTS) for task_id in plan["task_id"]],
        checkpoint_sha256=[record["files"][WEIGHTS]["sha256"] for record in records],
    )


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

    members = [players[name] for name in split_members(row["members"])]
    purpose = "finetune" if members else "initialise"
    job = TrainJob(
        task_id=row["task_id"],
        folder=run.task_folder(row["task_id"]),
        images=campaign.images.path,
        members=members,
        start=start_model.path,
        reinitialise=not members,
        train=config.train if members else None,
        seed=seed_for(campaign.root_seed, purpose, row["coalition_id"], int(row["replicate"])),
        device=campaign.device,
    )
    return job.model_dump(mode="json")


def grow(
    campaign: Campaign,
    stores: tuple[Store, Store],
    start_model: FileRef,
    image_table: FileRef,
    plan: pd.DataFrame,
    contributors: pd.DataFrame,
    configs: tuple[SubsetFinetuneConfig, PropertyEvalConfig],
) -> pd.DataFrame:
    """Fine-tune the plan, in rounds if an error target is set: measure, estimate, stop when the target is met.

    Args:
        campaign: What all stages share.
        stores: Of coalition models and of property records.
        start_model: The pruned, recovered model.
        image_table: Parquet file with one row per image.
        plan: The whole budget, see :func:`draw_plan`.
        contributors: One row per player.
        configs: Of fine-tuning and of measuring.

    Returns:
        The manifest of :func:`finetune` for the rows that were needed.
    """
    config, measuring = configs
    for n_rows in config.round_ends(len(contributors)):
        manifest = finetune(campaign, stores[0], start_model, plan.head(n_rows), contributors, config)
        if config.target_relative_error is None or n_rows == config.budget:
            return manifest
        measured = measure_models(campaign, stores[1], manifest, image_table, measuring)
        if _is_precise_enough(assemble(manifest, measured), contributors, config):
            return manifest
    raise AssertionError("the last round is the budget")


def _is_precise_enough(utilities: pd.DataFrame, contributors: pd.DataFrame, config: SubsetFinetuneConfig) -> bool:
    """Whether every property meets the error target; logs where each stands and what it would cost to go on."""
    target = config.target_relative_error or 0.0
    masks, by_property = coalition_utilities(utilities, contributors, ESTIMATION)
    seconds = float((utilities["train_seconds"] + utilities["sample_seconds"]).mean())
    errors = {}
    for name, values in by_property.items():
        shapley = estimate(masks, values, law=config.law)
        errors[name] = relative_standard_error(shapley)
        more = evaluations_to_converge(shapley, target)
        logger.info(
            "After %d evaluations: %s has relative error %.3f (target %.3f); about %.0f more evaluations, %.0f s.",
            len(utilities), name, errors[name], target, more, more * seconds,
        )  # fmt: skip
    return all(error < target for error in errors.values())


# --- properties -------------------------------------------------------------------------------------------------------


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
        "sampler": config.sampler.model_dump(mode="json", exclude={"batch_size"}),
        "properties": properties_recipe(config.properties),
        "reference_sha256": reference.sha256,
    }
    (models_fingerprint,) = manifest["models_fingerprint"].unique()
    run = store.open(campaign.recipe("measure", models_fingerprint=models_fingerprint, **settings))
    todo = manifest[manifest["task_id"].isin(run.missing(manifest["task_id"]))]
    logger.info("Models: %d planned, %d re-used, %d to measure.", len(manifest), len(manifest) - len(todo), len(todo))
    jobs = [_measure_job(campaign, run, reference, row, config) for row in todo.to_dict("records")]
    run_jobs(measure_task, jobs, campaign.engine, label="measuring models")
    records = run.manifest(manifest["task_id"])
    return manifest.assign(
        **{name: [record["values"][name] for record in records] for name in records[0]["values"]},
        sample_seconds=[record["sample_seconds"] for record in records],
        measure_seconds=[record["measure_seconds"] for record in records],
        fingerprint=run.fingerprint,
    )


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
    return _file(run, "reference", REFERENCE)


def _measure_job(
    campaign: Campaign, run: StoreRun, reference: FileRef, row: Mapping[str, Any], config: PropertyEvalConfig
) -> dict[str, Any]:
    from groupshap.tasks.measure import MeasureJob  # noqa: PLC0415 - imports torch

    job = MeasureJob(
        task_id=row["task_id"],
        folder=run.task_folder(row["task_id"]),
        properties=config.properties,
        model=row["checkpoint"],
        reference=reference.path,
        n_images=config.n_images,
        sampler=config.sampler,
        root_seed=campaign.root_seed,
        device=campaign.device,
    )
    return job.model_dump(mode="json")


def assemble(manifest: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    """The utilities table: one row per planned evaluation, checked.

    Columns: split, coalition_id, replicate, n_contributors, members, one per property, train_seconds, sample_seconds,
    fingerprint.

    Raises:
        ValueError: planned rows without a measurement, measured twice or not planned, or non-finite values, all named.
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
        "not finite": [f"{name} of {found[row]}" for name in properties for row in infinite[name].to_numpy().nonzero()[0]],
    }
    named = [f"{what}: {', '.join(map(str, which[:10]))} ({len(which)} in all)" for what, which in problems.items() if which]
    if named or not properties:
        raise ValueError(
            f"The utilities of {len(planned)} planned evaluations are incomplete; {'; '.join(named) or 'no property'}. "
            "Run `kedro run --pipelines subset_finetune,property_eval` again; what is committed is kept."
        )
    front = ["split", "coalition_id", "replicate", "n_contributors", "members"]
    ordered = measured.set_index("task_id").loc[planned].reset_index()
    return ordered[[*front, *properties, "train_seconds", "sample_seconds", "fingerprint"]]


def _plain(config: BaseModel) -> dict[str, Any]:
    """A config as it enters a fingerprint."""
    return config.model_dump(mode="json")
