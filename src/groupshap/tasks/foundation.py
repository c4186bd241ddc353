"""Train a small text-to-image model of one's own, and write it as diffusers writes Stable Diffusion."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict
from safetensors.torch import load_file, save_file

from groupshap.diffusion.autoencoder_folder import read_autoencoder
from groupshap.diffusion.base import resolve_device
from groupshap.diffusion.config import Device, SamplerConfig
from groupshap.diffusion.foundation import Foundation, FoundationNetwork, save_pipeline
from groupshap.diffusion.foundation_config import FoundationConfig
from groupshap.diffusion.frozen import FrozenParts
from groupshap.diffusion.grid import draw_grid
from groupshap.diffusion.sampler import sample_all
from groupshap.diffusion.training import Checkpointing, Denoising, train
from groupshap.diffusion.vocabulary import learn_tokenizer
from groupshap.seeds import seed_for
from groupshap.store import Record, commit
from groupshap.tasks.config import TRAINING_STATE, WEIGHTS
from groupshap.tasks.inputs import cached_pack

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FoundationJob", "draw_foundation", "foundation_task", "write_foundation"]


class FoundationJob(BaseModel):
    """One training of a foundation model as plain data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task_id: str
    folder: Path
    """The task's folder in the store."""
    images: Path
    """Image pack with prompts; all of it is trained on."""
    autoencoder: Path
    """Folder of the frozen autoencoder."""
    config: FoundationConfig
    seed: int
    device: Device = "cpu"


def foundation_task(job: dict[str, Any]) -> Record:
    """Train U-Net and text encoder and commit ``weights.safetensors``.

    Args:
        job: A dumped :class:`FoundationJob`.

    Returns:
        The committed record: train_seconds, n_steps, n_images, n_prompts, n_parameters, losses.

    Raises:
        DivergedError: the loss is not finite.
    """
    task = FoundationJob.model_validate(job)
    pack, device, family = cached_pack(task.images), resolve_device(task.device), _family(task)
    trained = train(
        Denoising(family, task.config.train.timesteps),
        family.initialise(task.seed),
        family.encode(pack.images, pack.prompts, device=device),
        task.config.train,
        seed=task.seed,
        device=device,
        label="training the foundation model",
        checkpointing=Checkpointing(task.folder / TRAINING_STATE, task.config.checkpoint_every_n_steps),
    )
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in trained.model.state_dict().items()}
    record = {
        "train_seconds": trained.seconds,
        "n_steps": task.config.train.n_steps,
        "n_images": len(pack.images),
        "n_prompts": len(set(pack.prompts or [])),
        "n_parameters": sum(tensor.numel() for tensor in tensors.values()),
        "losses": trained.losses,
    }
    committed = commit(task.folder, record, {WEIGHTS: lambda file: save_file(tensors, file)})
    (task.folder / TRAINING_STATE).unlink(missing_ok=True)
    return committed


def write_foundation(job: FoundationJob, folder: Path) -> None:
    """Write the committed model as a diffusers pipeline; what was in ``folder`` before is replaced, all at once."""
    family = _family(job)
    part = folder.with_name(f".{secrets.token_hex(8)}.tmp.{folder.name}")
    part.mkdir(parents=True)
    try:
        save_pipeline(part, _trained(job, family), family)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(part, folder)  # noqa: PTH105 - named for what it guarantees
    finally:
        shutil.rmtree(part, ignore_errors=True)


def draw_foundation(
    job: FoundationJob, prompts: list[str], sampler: SamplerConfig, n_per_prompt: int, seed: int
) -> Figure:
    """A picture with a row of generated images for each prompt."""
    family = _family(job)
    in_rows = [prompt for prompt in prompts for _ in range(n_per_prompt)]
    seeds = [seed_for(seed, "foundation-image", number) for number in range(len(in_rows))]
    device = resolve_device(job.device)
    images = sample_all(family, _trained(job, family), seeds, sampler, device=device, prompts=in_rows)
    return draw_grid(images, "foundation model; a row each for: " + " | ".join(prompts), n_columns=n_per_prompt)


def _family(job: FoundationJob) -> Foundation:
    """The family, with the tokenizer that its prompts make."""
    pack = cached_pack(job.images)
    _, *shape = pack.images.shape
    model = job.config.model
    tokenizer = learn_tokenizer(pack.prompts or [], model.n_merges, model.n_tokens)
    sha256 = FrozenParts.of(job.autoencoder).sha256
    return Foundation(model, (shape[0], shape[1], shape[2]), read_autoencoder(job.autoencoder), sha256, tokenizer)


def _trained(job: FoundationJob, family: Foundation) -> FoundationNetwork:
    network = family.initialise(job.seed)
    network.load_state_dict(load_file(job.folder / WEIGHTS))
    return network.eval()
