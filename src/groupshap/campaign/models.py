"""The models that everybody's images make: dense, pruned, recovered."""

from __future__ import annotations

from functools import partial
from typing import Any

from groupshap.campaign.shared import Campaign, plain, run_single
from groupshap.pruning.config import PruningConfig
from groupshap.seeds import seed_for
from groupshap.store import FileRef, Record, Store, check_disk
from groupshap.tasks.config import BaseTrainingConfig, PruningStageConfig

__all__ = ["prune", "recover", "train_base"]

_LEAST_BYTES = 100 * 2**20  # the size of the model is not known before it is built
_TRAINING_STATE_FACTOR = 6  # weights, average, two moments, and two files while one replaces the other


def train_base(campaign: Campaign, store: Store, config: BaseTrainingConfig) -> FileRef:
    """The dense model, trained on everybody's images."""
    from groupshap.tasks.train import TrainJob, train_task  # noqa: PLC0415 - imports torch

    recipe = campaign.recipe(
        "base", images_sha256=campaign.images.sha256, model=plain(config.model), train=plain(config.train)
    )
    job = partial(
        TrainJob,
        start=None,
        model=config.model,
        train=config.train,
        seed=seed_for(campaign.root_seed, "base"),
        label="training the base model",
        **_on_all_data(campaign, config),
    )
    check_disk(store.root, _LEAST_BYTES, "the base model and its training state")
    return run_single(train_task, job, store.open(recipe), "base", config.n_threads)


def prune(campaign: Campaign, store: Store, base_model: FileRef, config: PruningStageConfig) -> tuple[FileRef, Record]:
    """The pruned model before its recovery, and the report of the pruning."""
    from groupshap.tasks.prune import PruneJob, prune_task  # noqa: PLC0415 - imports torch

    pruning = PruningConfig(**config.model_dump(exclude={"recovery"}))
    run = store.open(
        campaign.recipe(
            "prune", images_sha256=campaign.images.sha256, start_sha256=base_model.sha256, pruning=plain(pruning)
        )
    )
    job = partial(
        PruneJob,
        model=base_model.path,
        images=campaign.images.path,
        pruning=pruning,
        seed=seed_for(campaign.root_seed, "prune"),
        device=campaign.device,
    )
    pruned = run_single(prune_task, job, run, "pruned", n_threads=1)
    return pruned, run.record("pruned")["report"]


def recover(
    campaign: Campaign, store: Store, pruned: FileRef, config: PruningStageConfig, base: BaseTrainingConfig
) -> FileRef:
    """The pruned model after fine-tuning on all data: where every coalition starts."""
    from groupshap.tasks.train import TrainJob, train_task  # noqa: PLC0415 - imports torch

    if config.recovery is None:
        return pruned
    recipe = campaign.recipe(
        "recover", images_sha256=campaign.images.sha256, start_sha256=pruned.sha256, train=plain(config.recovery)
    )
    job = partial(
        TrainJob,
        start=pruned.path,
        train=config.recovery,
        seed=seed_for(campaign.root_seed, "recover"),
        label="recovering the pruned model",
        **_on_all_data(campaign, base),
    )
    check_disk(store.root, _TRAINING_STATE_FACTOR * pruned.path.stat().st_size, "the recovered model")
    return run_single(train_task, job, Store(store.root / "recovery").open(recipe), "recovered", base.n_threads)


def _on_all_data(campaign: Campaign, config: BaseTrainingConfig) -> dict[str, Any]:
    return {
        "images": campaign.images.path,
        "members": None,
        "device": campaign.device,
        "checkpoint_every_n_steps": config.checkpoint_every_n_steps,
    }
