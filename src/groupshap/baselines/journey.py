"""Gradients along the way from noise to each generated image (Georgiev et al. 2023, arXiv:2312.06205).

Journey-TRAK explains the steps instead of the result: at each point x_t of the sampling path it takes the loss at the
expected end of the path, E[x_0 | x_t], as the model itself predicts it there, with fresh noise of the same timestep.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from groupshap.baselines.gradients import (
    DenoisingOutputs,
    GradientFeatures,
    GradientSettings,
    addressed_noise,
    n_per_projection,
    projected_gradients,
)
from groupshap.diffusion.base import Encoded, Family
from groupshap.diffusion.config import SamplerConfig
from groupshap.diffusion.sampler import sample
from groupshap.seeds import seed_for

__all__ = ["gradients_of_journeys", "journeys"]


class _Recorder:
    """A family that remembers what the sampler asked and what the model answered; otherwise the family itself."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self.steps: list[tuple[int, Tensor]] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._family, name)

    def predict(self, model: nn.Module, noisy: Tensor, timesteps: Tensor, *conditions: Any) -> Tensor:
        prediction = self._family.predict(model, noisy, timesteps, *conditions)
        timestep = int(timesteps[0])
        self.steps.append((timestep, _expected_end(self._family, noisy, prediction, timestep)))
        return prediction


def _expected_end(family: Family, noisy: Tensor, prediction: Tensor, timestep: int) -> Tensor:
    """E[x_0 | x_t], clipped as in sampling (Ho et al. 2020, eq. 15; v: Salimans & Ho 2022, app. D)."""
    level = family.noise.alphas_cumprod[timestep].to(noisy.device)
    if family.noise.config.prediction_type == "epsilon":
        clean = (noisy - (1.0 - level).sqrt() * prediction) / level.sqrt()
    else:
        clean = level.sqrt() * noisy - (1.0 - level).sqrt() * prediction
    return clean.clamp(-1.0, 1.0) if family.noise.config.clip_sample else clean


def journeys(
    family: Family,
    model: nn.Module,
    n_images: int,
    sampler: SamplerConfig,
    root_seed: int,
    device: torch.device,
    prompts: Sequence[str] | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Timesteps (n_steps,) int64 and expected ends (n, n_steps, *sample_shape) of the images that ``generate`` makes.

    Yields:
        One pair per batch of the sampler, in the order of the images.
    """
    seeds = [seed_for(root_seed, "image", number) for number in range(n_images)]
    recorder = _Recorder(family)
    for images in sample(recorder, model, seeds, sampler, device=device, prompts=prompts):
        timesteps = torch.tensor([timestep for timestep, _ in recorder.steps])
        # The sampler works in inference mode, whose tensors autograd refuses: hence the copy that stacking makes.
        yield timesteps, torch.stack([end[: len(images)].cpu() for _, end in recorder.steps], dim=1)
        recorder.steps.clear()


def gradients_of_journeys(
    family: Family,
    model: nn.Module,
    n_images: int,
    sampler: SamplerConfig,
    settings: GradientSettings,
    prompts: Sequence[str] | None = None,
) -> GradientFeatures:
    """Projected gradients of each generated image, averaged over the points of its path with one noise each.

    ``prompts``: one per image, for families with conditions.
    """
    drawn = (sampler, settings.root_seed, settings.device)
    timesteps, _ = next(journeys(family, model, 1, *drawn, prompts))
    outputs = DenoisingOutputs(family, model, timesteps, settings.device)
    n = n_per_projection(outputs.parameters, settings.memory_bytes)

    def batches() -> Iterator[tuple[Encoded, Tensor]]:
        first = 0
        for _, ends in journeys(family, model, n_images, *drawn, prompts):
            addresses = [("journey", first + number) for number in range(len(ends))]
            own = Encoded(ends, family.conditions_for(prompts and prompts[first : first + len(ends)]))
            first += len(ends)
            noise = addressed_noise(addresses, ends.shape[1:], settings.root_seed)
            for start in range(0, len(own), n):
                yield own[start : start + n], noise[start : start + n]

    return projected_gradients(outputs, batches(), n_images, settings, "gradients along the sampling paths")
