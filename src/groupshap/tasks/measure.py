"""Measure all properties of one model on the same images; fit what the properties need to know of the data, once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict
from safetensors.numpy import load_file, save_file

from groupshap.diffusion.base import resolve_device
from groupshap.diffusion.config import Device, SamplerConfig
from groupshap.diffusion.sampler import sample_all
from groupshap.image_pack import load_pack
from groupshap.images import ImageArray
from groupshap.model_file import load_model
from groupshap.properties.base import Property, fit_properties, measure, resolve_properties, restore_properties
from groupshap.properties.config import PropertiesConfig
from groupshap.seeds import seed_for
from groupshap.store import Record, commit
from groupshap.tasks.config import REFERENCE
from groupshap.tasks.reference import reference_images

__all__ = ["FitJob", "MeasureJob", "fit_task", "generate", "measure_task", "prompts_in_turn"]


class _Job(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    task_id: str
    folder: Path
    """The task's folder in the store."""
    properties: PropertiesConfig


class FitJob(_Job):
    """Fit the properties to the data: reference statistics, clusters."""

    images: Path
    """Image pack."""
    image_table: Path
    """Parquet file with one row per image."""


class MeasureJob(_Job):
    """Generate from one model and measure."""

    model: Path
    model_sha256: str
    """For the record: a measurement belongs to these weights and no others."""
    reference: Path
    """File that the fit committed."""
    n_images: int
    sampler: SamplerConfig
    prompts: tuple[str, ...] | None = None
    """What images are generated for, image after image in turn; None: nothing in particular."""
    root_seed: int
    device: Device = "cpu"


def fit_task(job: dict[str, Any]) -> Record:
    """Fit all properties and commit ``reference.safetensors``.

    Args:
        job: A dumped :class:`FitJob`.
    """
    task = FitJob.model_validate(job)
    properties = resolve_properties(task.properties)
    images = load_pack(task.images).images
    reference = reference_images(task.properties, images)
    state = fit_properties(properties, images, pd.read_parquet(task.image_table), reference)
    return commit(task.folder, {}, {REFERENCE: lambda file: save_file(state, file)})


def measure_task(job: dict[str, Any]) -> Record:
    """Generate the images, measure every property on them, commit the record; the images are not kept.

    Args:
        job: A dumped :class:`MeasureJob`.

    Returns:
        The committed record: ``values`` (property to float), sample_seconds, measure_seconds.

    Raises:
        PropertyError: a property is not a finite number; nothing is committed.
    """
    task = MeasureJob.model_validate(job)
    start = time.monotonic()
    images = generate(task.model, task.n_images, task.sampler, task.root_seed, task.device, task.prompts)
    sampled = time.monotonic()
    prompts = prompts_in_turn(task.prompts, task.n_images)
    values = measure(_fitted(task.properties, task.reference), images, prompts)
    record = {
        "values": values,
        "sample_seconds": sampled - start,
        "measure_seconds": time.monotonic() - sampled,
        "n_images": task.n_images,
        "model_sha256": task.model_sha256,
    }
    return commit(task.folder, record, {})


def generate(
    model_file: Path,
    n_images: int,
    sampler: SamplerConfig,
    root_seed: int,
    device: Device,
    prompts: Sequence[str] | None = None,
) -> ImageArray:
    """(n_images, channels, height, width) uint8: image i has the seed (root_seed, "image", i), whatever the model."""
    model, description = load_model(model_file)
    seeds = [seed_for(root_seed, "image", number) for number in range(n_images)]
    in_turn = prompts_in_turn(prompts, n_images)
    return sample_all(description.family(), model, seeds, sampler, device=resolve_device(device), prompts=in_turn)


def prompts_in_turn(prompts: Sequence[str] | None, n_images: int) -> list[str] | None:
    """The prompt of each image: first, second, ..., last, first again; None without prompts."""
    return [prompts[number % len(prompts)] for number in range(n_images)] if prompts else None


@lru_cache(maxsize=1)
def _fitted(config: PropertiesConfig, reference: Path) -> list[Property]:
    """The properties with their state: read once per worker. The path holds the fingerprint of its content."""
    properties = resolve_properties(config)
    restore_properties(properties, load_file(reference))
    return properties
