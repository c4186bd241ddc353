"""Pixel space: diffusers' UNet2DModel, trained from scratch (Ho et al. 2020; v-prediction: Salimans & Ho 2022)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from groupshap.diffusion.base import Encoded, ImageShape
from groupshap.diffusion.config import ModelConfig
from groupshap.diffusion.denoiser import UNetDenoiser
from groupshap.images import ImageArray

__all__ = ["PixelDDPM", "from_pixels", "to_pixels"]


class PixelDDPM(UNetDenoiser):
    """Denoising directly on pixels in [-1, 1].

    Args:
        config: Architecture and noise process.
        image_shape: (channels, height, width); height = width, a multiple of ``config.side_multiple``.

    Raises:
        ValueError: the images do not fit the architecture.
    """

    def __init__(self, config: ModelConfig, image_shape: ImageShape) -> None:
        super().__init__(config, image_shape, clips_sample=True)

    def encode(
        self, images: ImageArray, prompts: Sequence[str] | None = None, *, device: torch.device | None = None
    ) -> Encoded:
        """[0, 255] to [-1, 1]; there is nothing to be conditioned on."""
        return Encoded(from_pixels(images))

    def decode(self, samples: Tensor) -> ImageArray:
        """[-1, 1] to [0, 255], rounded to the nearest integer and clipped."""
        return to_pixels(samples)


def from_pixels(images: ImageArray) -> Tensor:
    """(n, channels, height, width) uint8 in [0, 255] to float32 in [-1, 1]."""
    return torch.from_numpy(images.astype(np.float32)).div_(127.5).sub_(1.0)


def to_pixels(samples: Tensor) -> ImageArray:
    """(n, channels, height, width) float in [-1, 1] to uint8 in [0, 255], rounded to the nearest and clipped."""
    pixels = samples.detach().float().add(1.0).mul(127.5).round().clamp_(0.0, 255.0)
    return pixels.to(torch.uint8).cpu().numpy()
