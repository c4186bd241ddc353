"""How the model of a coalition is made: one recipe, one start model, one job per coalition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from groupshap.campaign.shared import Campaign
from groupshap.members import split_members
from groupshap.plain import plain
from groupshap.seeds import seed_for
from groupshap.store import FileRef, Store, StoreRun
from groupshap.tasks.config import CoalitionTraining, Recipe

__all__ = ["StartModels", "coalition_job", "models_of", "models_recipe"]

_METHODS = {"gradient_ascent": "ascend", "influence": "newton"}
"""Recipes that unlearn everybody else's images instead of learning the members'."""


@dataclass(frozen=True)
class StartModels:
    """What a coalition's model can start from.

    Attributes:
        base: The dense model of everybody's images; retraining takes its architecture alone.
        pruned: The pruned and recovered one.
    """

    base: FileRef
    pruned: FileRef

    def file(self, recipe: Recipe) -> FileRef:
        """The model whose architecture, and weights unless it is retrained, a recipe starts from."""
        return self.pruned if recipe == "sparsified" else self.base

    def size_bytes(self, recipe: Recipe) -> int:
        """Size of one finished model's file."""
        return self.file(recipe).path.stat().st_size

    def settings(self, recipe: Recipe) -> dict[str, Any]:
        """What a coalition's model depends on: weights to start from, or an architecture."""
        if recipe != "retrain":
            return {"start_sha256": self.file(recipe).sha256}
        from groupshap.model_file import read_description  # noqa: PLC0415 - imports torch

        description = read_description(self.base.path)
        frozen = {"frozen_sha256": description.frozen.sha256} if description.frozen else {}
        return {"model": plain(description.config), **frozen}


def models_of(campaign: Campaign, store: Store, start: StartModels, config: CoalitionTraining) -> StoreRun:
    """The coalition models of one recipe."""
    return store.open(models_recipe(campaign, start, config))


def models_recipe(campaign: Campaign, start: StartModels, config: CoalitionTraining) -> dict[str, Any]:
    """All that the models depend on but their images: those are in the tasks' names."""
    settings: dict[str, Any] = {"recipe": config.recipe, "train": plain(config.train), "steps": config.steps}
    settings |= start.settings(config.recipe)
    settings |= {"lora_rank": config.lora_rank} if config.recipe == "lora" else {}
    settings |= {"influence": plain(config.influence)} if config.recipe == "influence" else {}
    return campaign.recipe("finetune", campaign.n_threads, **settings)


def coalition_job(
    campaign: Campaign,
    run: StoreRun,
    start: StartModels,
    row: Mapping[str, Any],
    players: Mapping[str, int],
    n_used: npt.NDArray[np.int64],
    config: CoalitionTraining,
    encoded: Path | None = None,
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
        encoded: All images of the pack as the denoiser sees them, see ``campaign.encoded``.
    """
    from groupshap.tasks.train import TrainJob  # noqa: PLC0415 - imports torch

    names = split_members(row["members"])
    members = [players[name] for name in names]
    removed = sorted(set(players.values()) - set(members))
    method = _METHODS.get(config.recipe, "descend")
    has_images = bool(n_used[members].sum())
    is_trained = has_images and (method == "descend" or bool(n_used[removed].sum()))
    job = TrainJob(
        task_id=row["task_id"],
        folder=run.task_folder(row["task_id"]),
        images=campaign.images.path,
        encoded=encoded,
        members=members,
        names=names,
        start=start.file(config.recipe).path,
        reinitialise=config.recipe == "retrain" or not has_images,
        train=config.train_for(float(n_used[members].sum() / n_used.sum())) if is_trained else None,
        method=method,
        removed=removed if method != "descend" else None,
        lora_rank=config.lora_rank if config.recipe == "lora" and is_trained else None,
        newton=config.influence if config.recipe == "influence" else None,
        seed=_seed(campaign, config.recipe, row, has_images),
        device=campaign.device,
        keep=config.keep,
    )
    return job.model_dump(mode="json")


def _seed(campaign: Campaign, recipe: Recipe, row: Mapping[str, Any], is_trained: bool) -> int:
    """Retraining: one seed for all coalitions of a replicate, so that they start from the same random weights."""
    if recipe == "retrain":
        return seed_for(campaign.root_seed, "retrain", int(row["replicate"]))
    return seed_for(campaign.root_seed, "finetune" if is_trained else "initialise", row["task_id"])
