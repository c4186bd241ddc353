"""The model that base training starts from, as a file: fresh weights, or those of a pretrained pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffusers import UNet2DModel
from pydantic import BaseModel, ConfigDict
from torch import nn

from groupshap.diffusion.config import ModelConfig
from groupshap.diffusion.frozen import FrozenParts
from groupshap.model_file import ModelDescription, save_model
from groupshap.store import Record, commit
from groupshap.tasks.config import WEIGHTS
from groupshap.tasks.inputs import cached_pack

__all__ = ["StartJob", "start_task"]


class StartJob(BaseModel):
    """One start model as plain data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task_id: str
    folder: Path
    """The task's folder in the store."""
    images: Path
    """Image pack: the model is made for images of this shape."""
    model: ModelConfig
    frozen_folder: Path | None
    """Frozen networks beside it; None: none."""
    unet_folder: Path | None
    """Pretrained weights; None: fresh ones."""
    seed: int


def start_task(job: dict[str, Any]) -> Record:
    """Commit ``weights.safetensors``.

    Args:
        job: A dumped :class:`StartJob`.
    """
    task = StartJob.model_validate(job)
    _, *shape = cached_pack(task.images).images.shape
    frozen = FrozenParts.of(task.frozen_folder) if task.frozen_folder else None
    description = ModelDescription(task.model, (shape[0], shape[1], shape[2]), frozen=frozen)
    model = description.initialise(task.seed)
    if task.unet_folder is not None:
        _load_pretrained(model, task.unet_folder)
    return commit(task.folder, {"seed": task.seed}, {WEIGHTS: lambda file: save_model(file, model, description)})


def _load_pretrained(model: nn.Module, folder: Path) -> None:
    """Put pretrained weights, in float32, into a model of the same architecture."""
    pretrained = UNet2DModel.from_pretrained(folder, use_safetensors=True, local_files_only=True)
    model.load_state_dict(pretrained.float().state_dict())
