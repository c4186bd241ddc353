"""Projected gradients of each image by itself, of two outputs of a diffusion model: its loss and its predicted noise.

Noise has the address of the image's bytes and not of its place: the same image has the same gradient wherever it
stands, and whoever owns it. Both outputs share one forward pass.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from groupshap.baselines.projection import Projection
from groupshap.diffusion.base import Encoded, Family
from groupshap.images import ImageArray
from groupshap.progress import progress
from groupshap.seeds import seed_for

__all__ = ["DenoisingOutputs", "GradientFeatures", "GradientSettings", "gradients_of_images", "image_digests"]


@dataclass(frozen=True)
class GradientSettings:
    """How gradients are taken.

    Attributes:
        root_seed: Root of the noise's addresses.
        projection: Applied to every gradient.
        n_timesteps: (timestep, noise) pairs per image.
        n_pairs_at_once: (image, timestep) pairs differentiated together, at least those of one image.
        memory_bytes: Of the gradients that wait for their projection, at least those of one image.
        device: Where it runs.
    """

    root_seed: int
    projection: Projection
    n_timesteps: int
    n_pairs_at_once: int
    memory_bytes: int
    device: torch.device


@dataclass(frozen=True)
class GradientFeatures:
    """Projected gradients of the two outputs, and the losses.

    Attributes:
        loss: (n_images, d) float32: of the training loss, mean over the pairs (TRAK).
        noise: (n_images, d) float32: of the mean squared predicted noise (D-TRAK).
        losses: (n_images, n_timesteps) float32: the loss of each pair.
    """

    loss: npt.NDArray[np.float32]
    noise: npt.NDArray[np.float32]
    losses: npt.NDArray[np.float32]


class DenoisingOutputs:
    """The two outputs as functions of the parameters, for ``torch.func``.

    Args:
        family: Kind of model.
        model: The denoiser; put into evaluation mode, since dropout would make an output random.
        timesteps: (n_timesteps,) int64, the same for every image.
        device: Where it runs.
    """

    def __init__(self, family: Family, model: nn.Module, timesteps: Tensor, device: torch.device) -> None:
        self._network = _Predictor(family, model.to(device).eval())
        self._timesteps = timesteps.to(device)
        level = family.noise.alphas_cumprod.to(device)[self._timesteps].reshape(-1, 1, 1, 1)
        self._signal, self._noise = level.sqrt(), (1.0 - level).sqrt()
        self._predicts_noise = family.noise.config.prediction_type == "epsilon"
        trainable = {id(parameter) for parameter in family.trainable(model)}
        self.parameters = {
            name: parameter.detach()
            for name, parameter in self._network.named_parameters()
            if id(parameter) in trainable
        }
        """What is differentiated by, by name: all weights, or the adapter."""

    def __call__(
        self, parameters: dict[str, Tensor], clean: Tensor, noise: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Outputs (2,) of one image, and its losses (n_timesteps,).

        Args:
            parameters: Values for ``self.parameters``.
            clean: (n_timesteps, *sample_shape); the same sample again and again, or one for each timestep.
            noise: Standard normal, same shape.
            condition: What the image is conditioned on.
        """
        noisy = self._signal * clean + self._noise * noise
        conditions = None if condition is None else condition.expand(len(noisy), *condition.shape)
        prediction = functional_call(self._network, parameters, (noisy, self._timesteps, conditions)).float()
        if self._predicts_noise:
            target, predicted_noise = noise, prediction
        else:  # v and the noise in it: Salimans & Ho 2022, app. D
            target = self._signal * noise - self._noise * clean
            predicted_noise = self._noise * noisy + self._signal * prediction
        losses = (prediction - target).square().flatten(1).mean(dim=1)
        return torch.stack([losses.mean(), predicted_noise.square().mean()]), losses

    def gradients(self, images: Encoded, noise: Tensor, n_pairs_at_once: int) -> tuple[dict[str, Tensor], Tensor]:
        """Gradients by parameter (n, 2, *shape) and losses (n, n_timesteps) of n images (n, n_timesteps, ...)."""
        n_at_once = max(1, n_pairs_at_once // len(self._timesteps))
        by_row = [images.clean, noise, *([] if images.conditions is None else [images.conditions])]
        per_image = vmap(jacrev(self, has_aux=True), in_dims=(None, *[0] * len(by_row)), chunk_size=n_at_once)
        with sdpa_kernel(SDPBackend.MATH):  # the fused attentions have no rule for vmap: one image after the other
            return per_image(self.parameters, *by_row)


class _Predictor(nn.Module):
    """The family's prediction as a module, because ``functional_call`` takes one."""

    def __init__(self, family: Family, model: nn.Module) -> None:
        super().__init__()
        self._family = family
        self.model = model

    def forward(self, noisy: Tensor, timesteps: Tensor, conditions: Tensor | None) -> Tensor:
        return self._family.predict(self.model, noisy, timesteps, conditions)


def gradients_of_images(
    family: Family,
    model: nn.Module,
    images: ImageArray,
    settings: GradientSettings,
    label: str = "gradients",
    prompts: Sequence[str] | None = None,
) -> GradientFeatures:
    """Projected gradients of each image (n, channels, height, width) uint8, at timesteps spread evenly over [0, T).

    ``prompts``: one per image, for families with conditions.
    """
    outputs = DenoisingOutputs(family, model, _midpoints(len(family.noise.alphas_cumprod), settings), settings.device)
    digests = image_digests(images)

    def batches() -> Iterator[tuple[Encoded, Tensor]]:
        n = n_per_projection(outputs.parameters, settings.memory_bytes)
        for first in range(0, len(images), n):
            rows = slice(first, first + n)
            own = family.encode(images[rows], prompts and prompts[rows], device=settings.device)
            addresses = [("image", digest) for digest in digests[rows]]
            noise = addressed_noise(addresses, (settings.n_timesteps, *family.sample_shape), settings.root_seed)
            yield Encoded(own.clean[:, None].expand_as(noise), own.conditions), noise

    return projected_gradients(outputs, batches(), len(images), settings, label)


def projected_gradients(
    outputs: DenoisingOutputs,
    batches: Iterator[tuple[Encoded, Tensor]],
    n_images: int,
    settings: GradientSettings,
    label: str,
) -> GradientFeatures:
    """Gradients of batches of (images, noise), both (n, n_timesteps, *sample_shape); only projections are kept."""
    found = []
    with progress(label, n_images, unit="image") as bar:
        for images, noise in batches:
            at = (images.to(settings.device), noise.to(settings.device))
            gradients, losses = outputs.gradients(*at, settings.n_pairs_at_once)
            rows = {name: gradient.flatten(0, 1) for name, gradient in gradients.items()}
            projected = settings.projection(rows).unflatten(0, (-1, 2))
            found.append([part.cpu().numpy() for part in (projected[:, 0], projected[:, 1], losses.detach())])
            bar.update(len(images))
    return GradientFeatures(*(np.concatenate(column) for column in zip(*found, strict=True)))


def n_per_projection(parameters: dict[str, Tensor], memory_bytes: int) -> int:
    """Images whose gradients fit into the memory, at least one: of two outputs, and twice while chunks are joined."""
    n_parameters = sum(parameter.numel() for parameter in parameters.values())
    return max(1, memory_bytes // (2 * 2 * 4 * n_parameters))


def addressed_noise(addresses: Sequence[tuple[int | str, ...]], shape: tuple[int, ...], root_seed: int) -> Tensor:
    """(len(addresses), *shape) float32 standard normal noise, drawn on the CPU."""
    seeds = [seed_for(root_seed, "baseline-noise", *address) for address in addresses]
    return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def image_digests(images: ImageArray) -> list[str]:
    """sha256 (hex) of each image."""
    return [hashlib.sha256(np.ascontiguousarray(image)).hexdigest() for image in images]


def _midpoints(n_noise_levels: int, settings: GradientSettings) -> Tensor:
    """(n_timesteps,) int64: the middle of each of n equal parts of [0, T)."""
    middles = (torch.arange(settings.n_timesteps) + 0.5) / settings.n_timesteps
    return (middles * n_noise_levels).long()
