"""Train one model: the dense one, the recovery of the pruned one, or one coalition's. One task function for all."""

from __future__ import annotations

import platform
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict

from groupshap.diffusion.adapters import merge_adapters, with_adapters
from groupshap.diffusion.base import Encoded, Family, resolve_device
from groupshap.diffusion.config import Device, TrainConfig
from groupshap.diffusion.influence import NewtonStep, remove_influence
from groupshap.diffusion.training import Checkpointing, Denoising, TrainingResult, train
from groupshap.model_file import ModelDescription, load_model, read_description, save_model
from groupshap.store import Record, commit
from groupshap.tasks.config import TRAINING_STATE, WEIGHTS, InfluenceConfig, Keep
from groupshap.tasks.inputs import cached_pack, encoded_rows

__all__ = ["TrainJob", "train_task"]

T = TypeVar("T")


class TrainJob(BaseModel):
    """One training as plain data; ``model_dump(mode="json")`` is what an engine carries to a worker."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task_id: str
    folder: Path
    """The task's folder in the store."""
    images: Path
    """Image pack."""
    encoded: Path | None = None
    """All images of the pack, already encoded; None: encoded by the job, if its family is quick at it."""
    members: list[int] | None
    """Players whose images are trained on; None: all images."""
    start: Path
    """Start model."""
    reinitialise: bool = False
    """Throw the start model's weights away: retraining, and the random model behind the empty coalition."""
    train: TrainConfig | None
    """None: not trained at all."""
    method: Literal["descend", "ascend", "newton"] = "descend"
    """``descend``: fit the members' images; ``ascend``, ``newton``: unlearn those of ``removed``."""
    removed: list[int] | None = None
    """Players whose images are unlearned."""
    lora_rank: int | None = None
    """Train adapters of this rank and merge them; None: train the weights."""
    newton: InfluenceConfig | None = None
    """Settings of method ``newton``."""
    seed: int
    device: Device = "cpu"
    label: str = "training"
    names: list[str] | None = None
    """The members' names, for the record: who is in this model; None: everybody."""
    keep: Keep = "weights"
    """For the record: ``none`` says that the weights are to be deleted once they are measured."""
    checkpoint_every_n_steps: int | None = None
    """Keep the state of an unfinished training; None: a killed job starts again."""


def train_task(job: dict[str, Any]) -> Record:
    """Train and commit ``weights.safetensors`` (the averaged weights).

    Args:
        job: A dumped :class:`TrainJob`.

    Returns:
        The committed record: task_id, fingerprint, files, train_seconds, n_images, n_steps, losses, versions.

    Raises:
        ValueError, DivergedError, ModelFileError: see the functions used.
    """
    task = TrainJob.model_validate(job)
    model, description = _start_model(task)
    trained = _trained(task, model, description.family()) if task.train else TrainingResult(model, 0.0)
    record = {
        "train_seconds": trained.seconds,
        "n_images": len(_rows(task, task.members)) if task.train else 0,
        "n_steps": task.train.n_steps if task.train and task.method != "newton" else 0,
        "losses": trained.losses,
        "seed": task.seed,
        "members": task.names,
        "keep": task.keep,
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
    }
    committed = commit(task.folder, record, {WEIGHTS: lambda file: save_model(file, trained.model, description)})
    (task.folder / TRAINING_STATE).unlink(missing_ok=True)
    return committed


def _trained(task: TrainJob, model: torch.nn.Module, family: Family) -> TrainingResult:
    """The model after the job's method; with adapters, after they are merged."""
    if task.method == "newton":
        return _newton_step(task, model, family)
    if task.lora_rank is not None:
        model = with_adapters(model, task.lora_rank, task.seed)
    result = train(
        Denoising(family, _required(task.train).timesteps),
        model,
        _inputs(task, family, task.removed if task.method == "ascend" else task.members),
        _required(task.train),
        seed=task.seed,
        device=resolve_device(task.device),
        label=task.label,
        checkpointing=_checkpointing(task),
        ascend=task.method == "ascend",
    )
    return result if task.lora_rank is None else replace(result, model=merge_adapters(result.model))


def _newton_step(task: TrainJob, model: torch.nn.Module, family: Family) -> TrainingResult:
    settings = _required(task.newton)
    step = NewtonStep(settings.n_gradients, _required(task.train).batch_size, settings.damping, settings.scale)
    kept, removed = (_inputs(task, family, players) for players in (task.members, task.removed))
    objective = Denoising(family, _required(task.train).timesteps)
    return remove_influence(objective, model, kept, removed, step, seed=task.seed, device=resolve_device(task.device))


def _required(value: T | None) -> T:
    if value is None:
        raise ValueError("The job lacks the settings of its method.")
    return value


def _start_model(task: TrainJob) -> tuple[torch.nn.Module, ModelDescription]:
    """The model before training."""
    if task.reinitialise:
        description = read_description(task.start)
        return description.initialise(task.seed), description
    return load_model(task.start)


def _rows(task: TrainJob, players: list[int] | None) -> npt.NDArray[np.int64]:
    """(n,) int64: rows of the pack with images of some players; None: of all."""
    pack = cached_pack(task.images)
    return pack.rows_of_everybody() if players is None else pack.rows_of(players)


def _inputs(task: TrainJob, family: Family, players: list[int] | None) -> Encoded:
    """What the denoiser is trained on, for some players; None: for all."""
    pack, device = cached_pack(task.images), resolve_device(task.device)
    return encoded_rows(family, pack, _rows(task, players), task.encoded, device)


def _checkpointing(task: TrainJob) -> Checkpointing | None:
    if task.checkpoint_every_n_steps is None:
        return None
    return Checkpointing(task.folder / TRAINING_STATE, task.checkpoint_every_n_steps)
