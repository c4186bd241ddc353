"""Nodes of ``base_training``."""

from __future__ import annotations

from typing import Any

from groupshap.campaign.models import train_base
from groupshap.campaign.shared import Campaign
from groupshap.store import FileRef, Store
from groupshap.tasks.config import BaseTrainingConfig, DeviceSetting, PropertyEvalConfig, RootSeed

__all__ = ["draw_samples", "train_base_model"]


def train_base_model(
    images: FileRef, store: Store, config: BaseTrainingConfig, root_seed: RootSeed, device: DeviceSetting
) -> FileRef:
    """Train the dense model, or find it in the store."""
    return train_base(Campaign(images, root_seed.root, device.root), store, config)


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
