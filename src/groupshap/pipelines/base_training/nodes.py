"""Nodes of ``base_training``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from groupshap.campaign.models import train_base
from groupshap.campaign.shared import Campaign
from groupshap.campaign.start import make_start
from groupshap.store import FileRef, Store
from groupshap.tasks.config import BaseTrainingConfig, DeviceSetting, PropertyEvalConfig, RootSeed

__all__ = ["draw_samples", "make_start_model", "report_reconstruction", "train_base_model"]


def make_start_model(
    images: FileRef,
    store: Store,
    registry: Path,
    config: BaseTrainingConfig,
    root_seed: RootSeed,
    device: DeviceSetting,
) -> FileRef:
    """Fresh weights or a pretrained pipeline; with latents, after its autoencoder is trained or found."""
    return make_start(Campaign(images, root_seed.root, device.root), store, registry, config)


def report_reconstruction(
    start_model: FileRef, images: FileRef, config: BaseTrainingConfig, device: DeviceSetting
) -> tuple[dict[str, Any], Any]:
    """What is lost when images are encoded and decoded again: numbers, and a picture; pixel models lose nothing."""
    from groupshap.engines.base import threads
    from groupshap.tasks.reconstruct import draw_reconstruction, reconstruct

    with threads(config.n_threads):
        originals, reconstructed, report = reconstruct(start_model.path, images.path, device.root)
    return report, draw_reconstruction(originals, reconstructed, report)


def train_base_model(
    start_model: FileRef,
    images: FileRef,
    store: Store,
    config: BaseTrainingConfig,
    root_seed: RootSeed,
    device: DeviceSetting,
) -> FileRef:
    """Train the dense model, or find it in the store."""
    return train_base(Campaign(images, root_seed.root, device.root), store, start_model, config)


def draw_samples(
    model: FileRef,
    config: BaseTrainingConfig,
    measuring: PropertyEvalConfig,
    root_seed: RootSeed,
    device: DeviceSetting,
) -> Any:
    """A grid of generated images: the very ones that property_eval will measure, the first few of them."""
    from groupshap.diffusion.grid import draw_grid
    from groupshap.engines.base import threads
    from groupshap.tasks.measure import generate

    with threads(config.n_threads):
        drawn = (config.n_grid_images, measuring.sampler, root_seed.root, device.root, measuring.prompts)
        images = generate(model.path, *drawn)
    steps = f"{measuring.sampler.n_steps} {measuring.sampler.solver} steps"
    return draw_grid(images, f"{model.path.stem}: {len(images)} generated images, {steps}")
