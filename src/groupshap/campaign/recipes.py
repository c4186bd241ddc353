"""How the model of a coalition is made: one recipe, one start model, one job per coalition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from groupshap.campaign.shared import Campaign, plain
from groupshap.diffusion.config import ModelConfig
from groupshap.members import split_members
from groupshap.seeds import seed_for
from groupshap.store import FileRef, Store, StoreRun
from groupshap.tasks.config import CoalitionTraining, Recipe

__all__ = ["StartModels", "coalition_job", "models_of"]

_METHODS = {"gradient_ascent": "ascend", "influence": "newton"}
"""Recipes that unlearn everybody else's images instead of learning the members'."""


@dataclass(frozen=True)
class StartModels:
    """What a coalition's model can start from.

    Attributes:
        base: The dense model of everybody's images.
        pruned: The pruned and recovered one.
        architecture: Of the dense model, for fresh weights.
    """

    base: FileRef
    pruned: FileRef
    architecture: ModelConfig

    def file(self, recipe: Recipe) -> FileRef | None:
        """The start model of a recipe; None: fresh weights."""
        if recipe == "retrain":
            return None
        return self.pruned if recipe == "sparsified" else self.base

    def size_bytes(self, recipe: Recipe) -> int:
        """Size of one finished model's file."""
        return (self.file(recipe) or self.base).path.stat().st_size


def models_of(campaign: Campaign, store: Store, start: StartModels, config: CoalitionTraining) -> StoreRun:
    """The coalition models of one recipe. The images are no part of it: they are in the tasks' names."""
    file = start.file(config.recipe)
    settings: dict[str, Any] = {"recipe": config.recipe, "train": plain(config.train), "steps": config.steps}
    settings |= {"start_sha256": file.sha256} if file else {"model": plain(start.architecture)}
    settings |= {"lora_rank": config.lora_rank} if config.recipe == "lora" else {}
    settings |= {"influence": plain(config.influence)} if config.recipe == "influence" else {}
    return store.open(campaign.recipe("finetune", campaign.n_threads, **settings))


def coalition_job(
    campaign: Campaign,
    run: StoreRun,
    start: StartModels,
    row: Mapping[str, Any],
    players: Mapping[str, int],
    n_used: npt.NDArray[np.int64],
    config: CoalitionTraining,
) -> dict[str, Any]:
    """One coalition as a job; without any image it is the start's architecture with random weights, untrained.

    Args:
        campaign: What all stages share.
        run: Where the model is kept.
        start: What the models can start from.
        row: Of the plan.
        players: Player number of each name.
        n_used: (n_players,) int64: images that each player's data bring into a training.
        config: Recipe and training.
    """
    from groupshap.tasks.train import TrainJob  # noqa: PLC0415 - imports torch

    names = split_members(row["members"])
    members = [players[name] for name in names]
    removed = sorted(set(players.values()) - set(members))
    method = _METHODS.get(config.recipe, "descend")
    has_images = bool(n_used[members].sum())
    is_trained = has_images and (method == "descend" or bool(n_used[removed].sum()))
    file = start.file(config.recipe)
    job = TrainJob(
        task_id=row["task_id"],
        folder=run.task_folder(row["task_id"]),
        images=campaign.images.path,
        members=members,
        names=names,
        start=file.path if file else None,
        model=None if file else start.architecture,
        reinitialise=not has_images,
        train=config.train_for(float(n_used[members].sum() / n_used.sum())) if is_trained else None,
        method=method,
        removed=removed if method != "descend" else None,
        lora_rank=config.lora_rank if config.recipe == "lora" and is_trained else None,
        newton=config.influence if config.recipe == "influence" else None,
        seed=_seed(campaign, config.recipe, row, has_images),
        device=campaign.device,
    )
    return job.model_dump(mode="json")


def _seed(campaign: Campaign, recipe: Recipe, row: Mapping[str, Any], is_trained: bool) -> int:
    """Retraining: one seed for all coalitions of a replicate, so that they start from the same random weights."""
    if recipe == "retrain":
        return seed_for(campaign.root_seed, "retrain", int(row["replicate"]))
    return seed_for(campaign.root_seed, "finetune" if is_trained else "initialise", row["task_id"])
