"""Images to latents and back, by an autoencoder that is never trained: what all families on latents share.

Latents are deterministic: the mode of AutoencoderKL's posterior, VQModel's latents before quantisation. Images pass
through the autoencoder in batches of one fixed size, so that the bits of a row do not depend on its neighbours' number.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch
from diffusers import AutoencoderKL, VQModel
from torch import Tensor, nn

from groupshap.diffusion.autoencoder_folder import AutoencoderFolder
from groupshap.diffusion.ddpm import from_pixels, to_pixels
from groupshap.images import ImageArray

__all__ = ["FrozenAutoencoder", "in_fixed_batches", "latents_of"]

_N_AT_ONCE = 8


class FrozenAutoencoder:
    """Encodes and decodes; the network is read when it is first used, once per process.

    Args:
        folder: Config and weights.
        sha256: Of the folder that it belongs to, so that a changed one is read again.
        scale: Of the latents; None: what diffusers multiplies them by.
    """

    def __init__(self, folder: AutoencoderFolder, sha256: str, scale: float | None = None) -> None:
        self._folder, self._sha256 = folder, sha256
        self._scale = folder.scale if scale is None else scale

    def encode(self, images: ImageArray, device: torch.device | None = None) -> Tensor:
        """(n, channels, height, width) uint8 to latents (z - shift) * scale, float32 on the CPU."""
        network = self._network(device or torch.device("cpu"))
        latents = in_fixed_batches(lambda pixels: latents_of(network, pixels), from_pixels(images), network.device)
        return latents.sub_(self._folder.shift).mul_(self._scale)

    def decode(self, latents: Tensor) -> ImageArray:
        """Such latents to (n, channels, height, width) uint8, rounded to the nearest integer and clipped."""
        network = self._network(latents.device)
        unscaled = latents.detach().float() / self._scale + self._folder.shift
        return to_pixels(in_fixed_batches(lambda z: network.decode(z).sample, unscaled, latents.device))

    def _network(self, device: torch.device) -> AutoencoderKL | VQModel:
        return _load(self._folder.path, self._folder.kind, self._sha256).to(device)


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


@lru_cache(maxsize=2)
def _load(path: Path, kind: str, _sha256: str) -> AutoencoderKL | VQModel:
    """In evaluation mode, without gradients."""
    network_class = {"AutoencoderKL": AutoencoderKL, "VQModel": VQModel}[kind]
    network = network_class.from_pretrained(path, use_safetensors=True, local_files_only=True)
    return network.eval().requires_grad_(False)
