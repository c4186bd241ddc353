"""How well a model still denoises each contributor's images: what a coalition's model remembers of those left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict

from groupshap.diffusion.base import Encoded, Family, resolve_device
from groupshap.diffusion.config import Device
from groupshap.diffusion.training import Denoising
from groupshap.model_file import load_model
from groupshap.seeds import seed_for
from groupshap.store import Record, commit
from groupshap.tasks.inputs import cached_pack, encoded_rows

__all__ = ["ResidualJob", "residual_task"]


class ResidualJob(BaseModel):
    """One model, and the images whose loss is measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task_id: str
    folder: Path
    """The task's folder in the store."""
    images: Path
    """Image pack."""
    encoded: Path | None = None
    """All images of the pack, already encoded."""
    model: Path
    model_sha256: str
    """For the record: a loss belongs to these weights and no others."""
    n_images: int
    """At most so many images of each player, the first ones."""
    seed: int
    device: Device = "cpu"


def residual_task(job: dict[str, Any]) -> Record:
    """Commit ``losses``: the mean denoising loss on each player's images, in the order of the players.

    Every model sees the same images, noise and timesteps.

    Args:
        job: A dumped :class:`ResidualJob`.
    """
    task = ResidualJob.model_validate(job)
    model, description = load_model(task.model)
    device = resolve_device(task.device)
    pack = cached_pack(task.images)
    family, model = description.family(), model.to(device).eval()
    with torch.no_grad():
        losses = [
            _loss(
                family,
                model,
                encoded_rows(family, pack, pack.all_rows_of(player)[: task.n_images], task.encoded, device).to(device),
                seed_for(task.seed, player),
            )
            for player in range(int(pack.players.max()) + 1)
        ]
    return commit(task.folder, {"losses": losses, "model_sha256": task.model_sha256}, {})


def _loss(family: Family, model: torch.nn.Module, batch: Encoded, seed: int) -> float:
    return float(Denoising(family).loss(model, batch, torch.Generator().manual_seed(seed)))
