"""What differs between the kinds of diffusion models, and nothing else: training loop and sampler see only this."""

from __future__ import annotations

from typing import Protocol

import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn

from groupshap.diffusion.config import Device, ModelConfig
from groupshap.errors import UserError
from groupshap.images import ImageArray

__all__ = ["DeviceError", "Family", "ImageShape", "family_of", "resolve_device"]

ImageShape = tuple[int, int, int]
"""(channels, height, width) of the images that a model is made for."""


class Family(Protocol):
    """One kind of diffusion model."""

    noise: DDPMScheduler
    """The noise process; diffusers' own, so that every diffusers solver can sample from it."""

    @property
    def sample_shape(self) -> ImageShape:
        """Shape of one sample as the denoiser sees it."""

    def initialise(self, seed: int) -> nn.Module:
        """A fresh model; the same bits for the same seed. The model behind the empty coalition."""

    def trainable(self, model: nn.Module) -> list[nn.Parameter]:
        """The parameters that training changes, in a fixed order."""

    def encode(self, images: ImageArray) -> Tensor:
        """(n, channels, height, width) uint8 to (n, *sample_shape) float32, what the denoiser sees."""

    def predict(self, model: nn.Module, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """(n, *sample_shape) noisy samples and (n,) int64 timesteps to the prediction, of the same shape."""

    def decode(self, samples: Tensor) -> ImageArray:
        """(n, *sample_shape) float32 to (n, channels, height, width) uint8."""


def family_of(config: ModelConfig, image_shape: ImageShape) -> Family:
    """The family that ``config.family`` names, for images of one shape.

    Raises:
        ValueError: the images do not fit the architecture.
    """
    from groupshap.diffusion.ddpm import PixelDDPM  # noqa: PLC0415 - each family imports only its own networks

    families = {"ddpm": PixelDDPM}
    return families[config.family](config, image_shape)


class DeviceError(UserError, ValueError):
    """The configured device does not exist."""


def resolve_device(device: Device) -> torch.device:
    """The torch device that a setting means.

    Raises:
        DeviceError: ``cuda`` where there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise DeviceError("`device` is cuda, but torch sees no CUDA device; set `device: cpu` or install a CUDA build.")
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)
