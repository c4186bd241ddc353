"""The models that everybody's images make: dense, pruned, recovered."""

from __future__ import annotations

from functools import partial
from typing import Any

from groupshap.campaign.encoded import encoded_images
from groupshap.campaign.shared import Campaign, run_single
from groupshap.campaign.start import is_plain
from groupshap.plain import plain
from groupshap.pruning.config import PruningConfig
from groupshap.seeds import seed_for
from groupshap.store import FileRef, Record, Store
from groupshap.tasks.config import BaseTrainingConfig, PruningStageConfig

__all__ = ["prune", "recover", "train_base"]

_TRAINING_STATE_FACTOR = 6  # weights, average, two moments, and two files while one replaces the other


def train_base(campaign: Campaign, store: Store, start: FileRef, config: BaseTrainingConfig) -> FileRef:
    """The dense model, trained on everybody's images; with ``train`` null the start model itself."""
    from groupshap.tasks.train import TrainJob, train_task  # noqa: PLC0415 - imports torch

    if config.train is None:
        return start
    data = {"images_sha256": campaign.images.sha256, "train": plain(config.train)}
    data |= {"model": plain(config.model)} if is_plain(config) else {"start_sha256": start.sha256}
    recipe = campaign.recipe("base", config.n_threads, **data)
    job = partial(
        TrainJob,
        start=start.path,
        train=config.train,
        seed=seed_for(campaign.root_seed, "base"),
        label="training the base model",
        **_on_all_data(campaign, start, config),
    )
    needed_bytes = _TRAINING_STATE_FACTOR * start.path.stat().st_size
    return run_single(
        train_task, job, store.open(recipe), "base", n_threads=config.n_threads, needed_bytes=needed_bytes
    )


def prune(campaign: Campaign, store: Store, base_model: FileRef, config: PruningStageConfig) -> tuple[FileRef, Record]:
    """The pruned model before its recovery, and the report of the pruning."""
    from groupshap.tasks.prune import PruneJob, prune_task  # noqa: PLC0415 - imports torch

    pruning = PruningConfig(**config.model_dump(exclude={"recovery"}))
    data = {"images_sha256": campaign.images.sha256, "start_sha256": base_model.sha256}
    data |= _rule_of(base_model)
    run = store.open(campaign.recipe("prune", 1, **data, pruning=plain(pruning)))
    job = partial(
        PruneJob,
        model=base_model.path,
        images=campaign.images.path,
        encoded=encoded_images(campaign, base_model),
        pruning=pruning,
        seed=seed_for(campaign.root_seed, "prune"),
        device=campaign.device,
    )
    pruned = run_single(prune_task, job, run, "pruned", n_threads=1, needed_bytes=base_model.path.stat().st_size)
    return pruned, run.record("pruned")["report"]


def _rule_of(base_model: FileRef) -> dict[str, int]:
    """The version of the pruning's rules, where it matters: rule 2 lets the inputs of attention heads go freely."""
    from groupshap.model_file import read_description  # noqa: PLC0415 - imports torch

    config = read_description(base_model.path).config
    return {"rule": 2} if config.mid_attention or config.attention_levels else {}


def recover(
    campaign: Campaign, store: Store, pruned: FileRef, config: PruningStageConfig, base: BaseTrainingConfig
) -> FileRef:
    """The pruned model after fine-tuning on all data: where every coalition starts."""
    from groupshap.tasks.train import TrainJob, train_task  # noqa: PLC0415 - imports torch

    if config.recovery is None:
        return pruned
    data = {"images_sha256": campaign.images.sha256, "start_sha256": pruned.sha256}
    recipe = campaign.recipe("recover", base.n_threads, **data, train=plain(config.recovery))
    job = partial(
        TrainJob,
        start=pruned.path,
        train=config.recovery,
        seed=seed_for(campaign.root_seed, "recover"),
        label="recovering the pruned model",
        **_on_all_data(campaign, pruned, base),
    )
    run = Store(store.root / "recovery").open(recipe)
    needed_bytes = _TRAINING_STATE_FACTOR * pruned.path.stat().st_size
    return run_single(train_task, job, run, "recovered", n_threads=base.n_threads, needed_bytes=needed_bytes)


def _on_all_data(campaign: Campaign, start: FileRef, config: BaseTrainingConfig) -> dict[str, Any]:
    return {
        "images": campaign.images.path,
        "encoded": encoded_images(campaign, start),
        "members": None,
        "device": campaign.device,
        "checkpoint_every_n_steps": config.checkpoint_every_n_steps,
    }
