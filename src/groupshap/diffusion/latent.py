"""Latent space: diffusers' UNet2DModel on the latents of a frozen autoencoder (Rombach et al. 2022).

Latents are deterministic: the mode of AutoencoderKL's posterior, VQModel's latents before quantisation. Images pass
through the autoencoder in batches of one fixed size, so that the bits of a row do not depend on its neighbours' number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import torch
from diffusers import AutoencoderKL, VQModel
from torch import Tensor, nn

from groupshap.diffusion.autoencoder_folder import AutoencoderFolder, read_autoencoder
from groupshap.diffusion.base import Encoded, ImageShape
from groupshap.diffusion.config import ModelConfig
from groupshap.diffusion.ddpm import from_pixels, to_pixels
from groupshap.diffusion.denoiser import UNetDenoiser
from groupshap.diffusion.frozen import FrozenParts
from groupshap.images import ImageArray

__all__ = ["LatentDiffusion", "in_fixed_batches", "latents_of"]

_N_AT_ONCE = 8


class LatentDiffusion(UNetDenoiser):
    """Denoising of scaled latents.

    Args:
        config: Architecture of the U-Net and noise process.
        image_shape: (channels, height, width) of the images; height = width.
        frozen: Folder of the autoencoder.

    Raises:
        ValueError: no autoencoder, or images that do not fit it or the U-Net.
        PretrainedError: the folder holds no autoencoder that can be used.
    """

    def __init__(self, config: ModelConfig, image_shape: ImageShape, frozen: FrozenParts | None) -> None:
        if frozen is None:
            raise ValueError("Family latent needs the folder of a frozen autoencoder, got none.")
        self._frozen, self._folder = frozen, read_autoencoder(frozen.folder)
        super().__init__(config, self._folder.latent_shape(image_shape), clips_sample=False)
        self._scale = self._folder.scale if config.latent_scale is None else config.latent_scale

    def encode(
        self, images: ImageArray, prompts: Sequence[str] | None = None, *, device: torch.device | None = None
    ) -> Encoded:
        """[0, 255] to latents, (z - shift) * scale."""
        network = self._network(device or torch.device("cpu"))
        latents = in_fixed_batches(lambda pixels: latents_of(network, pixels), from_pixels(images), network.device)
        return Encoded(latents.sub_(self._folder.shift).mul_(self._scale))

    @torch.no_grad()
    def decode(self, samples: Tensor) -> ImageArray:
        """Latents to [0, 255], rounded to the nearest integer and clipped."""
        network = self._network(samples.device)
        latents = samples.detach().float() / self._scale + self._folder.shift
        return to_pixels(in_fixed_batches(lambda z: network.decode(z).sample, latents, samples.device))

    def _network(self, device: torch.device) -> AutoencoderKL | VQModel:
        """The autoencoder; ``frozen.sha256`` was checked when the model file was read."""
        return load_autoencoder(self._folder, self._frozen.sha256).to(device)


def latents_of(network: nn.Module, pixels: Tensor) -> Tensor:
    """(n, channels, height, width) float32 in [-1, 1] to unscaled latents."""
    encoded = network.encode(pixels)
    return encoded.latents if isinstance(network, VQModel) else encoded.latent_dist.mode()


@torch.no_grad()
def in_fixed_batches(apply: Callable[[Tensor], Tensor], rows: Tensor, device: torch.device) -> Tensor:
    """``apply`` to every row, on the device, in batches of one size (the last one is filled up); result on the CPU."""
    results = []
    for first in range(0, max(len(rows), 1), _N_AT_ONCE):
        batch = rows[first : first + _N_AT_ONCE]
        if len(batch) == 0:  # no rows at all: only the shape of the result is wanted
            batch = torch.zeros(1, *rows.shape[1:])
        filled = torch.cat([batch, batch[:1].expand(_N_AT_ONCE - len(batch), *batch.shape[1:])])
        results.append(apply(filled.to(device)).cpu()[: len(rows) - first])
    return torch.cat(results)


def load_autoencoder(folder: AutoencoderFolder, sha256: str) -> AutoencoderKL | VQModel:
    """The network in evaluation mode, without gradients; read once per process."""
    return _load(folder.path, folder.kind, sha256)


@lru_cache(maxsize=2)
def _load(path: Path, kind: str, _sha256: str) -> AutoencoderKL | VQModel:
    network_class = {"AutoencoderKL": AutoencoderKL, "VQModel": VQModel}[kind]
    network = network_class.from_pretrained(path, use_safetensors=True, local_files_only=True)
    return network.eval().requires_grad_(False)
