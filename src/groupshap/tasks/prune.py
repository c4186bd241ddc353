"""Prune a trained model once; every coalition starts from the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from groupshap.diffusion.base import Family, resolve_device
from groupshap.diffusion.config import Device
from groupshap.diffusion.training import denoising_loss
from groupshap.model_file import load_model, save_model
from groupshap.pruning.channels import prune_channels
from groupshap.pruning.config import PruningConfig
from groupshap.pruning.ranks import prune_adapters
from groupshap.seeds import seed_for
from groupshap.store import Record, commit
from groupshap.tasks.config import WEIGHTS
from groupshap.tasks.inputs import cached_pack, encoded_rows

__all__ = ["PruneJob", "prune_task"]


class PruneJob(BaseModel):
    """One pruning as plain data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task_id: str
    folder: Path
    model: Path
    images: Path
    encoded: Path | None = None
    """All images of the pack, already encoded."""
    pruning: PruningConfig
    seed: int
    device: Device = "cpu"


def prune_task(job: dict[str, Any]) -> Record:
    """Prune and commit ``weights.safetensors``; the record holds the report.

    Args:
        job: A dumped :class:`PruneJob`.
    """
    task = PruneJob.model_validate(job)
    model, description = load_model(task.model)
    if description.pruning_history:
        raise ValueError(f"{task.model} is pruned already: expected a dense model.")
    family = description.family()
    if family.pruned_by == "ranks":
        pruned, history, report = prune_adapters(model, task.pruning)
    else:
        n_levels = description.config.n_noise_levels
        gradients = _gradient_step(task, family)
        pruned, history, report = prune_channels(model, task.pruning, gradients, n_timesteps=n_levels)
    smaller = replace(description, pruning_history=history)
    record = {"report": asdict(report)}
    return commit(task.folder, record, {WEIGHTS: lambda file: save_model(file, pruned, smaller)})


def _gradient_step(task: PruneJob, family: Family) -> Callable[[nn.Module, int], Tensor]:
    """Noise-prediction loss of a fixed batch with fixed noise at one timestep, for criteria that need gradients."""
    pack = cached_pack(task.images)
    rng = np.random.default_rng(task.seed)
    n_images = min(task.pruning.n_gradient_images, len(pack.images))
    rows = np.sort(rng.choice(len(pack.images), n_images, replace=False))
    device = resolve_device(task.device)
    batch = encoded_rows(family, pack, rows, task.encoded, device).to(device)
    generator = torch.Generator().manual_seed(seed_for(task.seed, "pruning-noise"))
    noise = torch.randn(batch.clean.shape, generator=generator).to(device)
    signal_levels = family.noise.alphas_cumprod.to(device)
    predicts_v = family.noise.config.prediction_type == "v_prediction"

    def loss_at(model: nn.Module, timestep: int) -> Tensor:
        timesteps = torch.full((len(batch),), timestep, dtype=torch.int64, device=device)
        loss = denoising_loss(family, model.to(device), batch, noise, timesteps, signal_levels)
        # With v given, the error of the noise is that of v times the root of the level (Salimans & Ho 2022, app. D).
        return loss * signal_levels[timestep] if predicts_v else loss

    return loss_at
