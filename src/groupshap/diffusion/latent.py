"""Latent space: diffusers' UNet2DModel on the latents of a frozen autoencoder (Rombach et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from groupshap.diffusion.autoencoder_folder import read_autoencoder
from groupshap.diffusion.base import Encoded, ImageShape
from groupshap.diffusion.config import ModelConfig
from groupshap.diffusion.denoiser import UNetDenoiser
from groupshap.diffusion.frozen import FrozenParts
from groupshap.diffusion.frozen_autoencoder import FrozenAutoencoder
from groupshap.images import ImageArray

__all__ = ["LatentDiffusion"]


class LatentDiffusion(UNetDenoiser):
    """Denoising of scaled latents.

    Args:
        config: Architecture of the U-Net and noise process.
        image_shape: (channels, height, width) of the images; height = width.
        frozen: Folder of the autoencoder; ``frozen.sha256`` was checked when the model file was read.

    Raises:
        ValueError: no autoencoder, or images that do not fit it or the U-Net.
        PretrainedError: the folder holds no autoencoder that can be used.
    """

    def __init__(self, config: ModelConfig, image_shape: ImageShape, frozen: FrozenParts | None) -> None:
        if frozen is None:
            raise ValueError("Family latent needs the folder of a frozen autoencoder, got none.")
        folder = read_autoencoder(frozen.folder)
        super().__init__(config, folder.latent_shape(image_shape), clips_sample=False)
        self._autoencoder = FrozenAutoencoder(folder, frozen.sha256, config.latent_scale)

    def encode(
        self, images: ImageArray, prompts: Sequence[str] | None = None, *, device: torch.device | None = None
    ) -> Encoded:
        """[0, 255] to scaled latents; there is nothing to be conditioned on."""
        return Encoded(self._autoencoder.encode(images, device))

    def decode(self, samples: Tensor) -> ImageArray:
        """Scaled latents to [0, 255]."""
        return self._autoencoder.decode(samples)
