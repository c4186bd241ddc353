"""Train a small autoencoder on everybody's images; committed as a folder that diffusers can load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from safetensors.torch import save_file

from groupshap.diffusion.autoencoder import Reconstruction, build_autoencoder, standardise
from groupshap.diffusion.base import Encoded, resolve_device
from groupshap.diffusion.config import AutoencoderConfig, Device
from groupshap.diffusion.ddpm import from_pixels
from groupshap.diffusion.training import Checkpointing, train
from groupshap.store import Record, commit
from groupshap.tasks.config import AUTOENCODER_WEIGHTS, TRAINING_STATE
from groupshap.tasks.inputs import cached_pack

__all__ = ["AutoencoderJob", "autoencoder_task"]


class AutoencoderJob(BaseModel):
    """One training of an autoencoder as plain data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task_id: str
    folder: Path
    """The task's folder in the store: it becomes the autoencoder's folder."""
    images: Path
    """Image pack."""
    config: AutoencoderConfig
    seed: int
    device: Device = "cpu"
    checkpoint_every_n_steps: int


def autoencoder_task(job: dict[str, Any]) -> Record:
    """Train and commit ``config.json`` and ``diffusion_pytorch_model.safetensors``.

    Args:
        job: A dumped :class:`AutoencoderJob`.

    Returns:
        The committed record: train_seconds, n_steps, losses, and the files.

    Raises:
        ValueError, DivergedError: see the functions used.
    """
    task = AutoencoderJob.model_validate(job)
    pack, device = cached_pack(task.images), resolve_device(task.device)
    pixels, (_, *shape) = from_pixels(pack.images[pack.rows_of_everybody()]), pack.images.shape
    trained = train(
        Reconstruction(task.config.kl_weight),
        build_autoencoder(task.config, (shape[0], shape[1], shape[2]), task.seed),
        Encoded(pixels),
        task.config.train,
        seed=task.seed,
        device=device,
        label="training the autoencoder",
        checkpointing=Checkpointing(task.folder / TRAINING_STATE, task.checkpoint_every_n_steps),
    )
    model = standardise(trained.model, pixels, device)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    record = {
        "train_seconds": trained.seconds,
        "n_steps": task.config.train.n_steps,
        "losses": trained.losses,
        "scaling_factor": model.config.scaling_factor,
        "shift_factor": model.config.shift_factor,
    }
    files = {
        AUTOENCODER_WEIGHTS: lambda file: save_file(tensors, file, metadata={"format": "pt"}),
        "config.json": lambda file: file.write_text(model.to_json_string(), encoding="utf-8"),
    }
    committed = commit(task.folder, record, files)
    (task.folder / TRAINING_STATE).unlink(missing_ok=True)
    return committed
