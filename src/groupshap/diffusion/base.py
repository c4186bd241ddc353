"""What differs between the kinds of diffusion models, and nothing else: training loop and sampler see only this."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn

from groupshap.diffusion.config import Device, ModelConfig, SamplerConfig, TrainConfig
from groupshap.diffusion.frozen import FrozenParts
from groupshap.errors import UserError
from groupshap.images import ImageArray

__all__ = ["DeviceError", "Encoded", "Family", "ImageShape", "family_of", "memory_format", "resolve_device"]

ImageShape = tuple[int, int, int]
"""(channels, height, width) of the images that a model is made for."""


@dataclass(frozen=True)
class Encoded:
    """Images as the denoiser sees them, one row each.

    Attributes:
        clean: (n, *sample_shape) float32.
        conditions: (n, ...): what each row is conditioned on, in the family's own terms; None: unconditional.
    """

    clean: Tensor
    conditions: Tensor | None = None

    def __post_init__(self) -> None:
        if self.conditions is not None and len(self.conditions) != len(self.clean):
            raise ValueError(
                f"Expected one condition per sample, got {len(self.conditions)} for {len(self.clean)} samples."
            )

    def __len__(self) -> int:
        return len(self.clean)

    def __getitem__(self, rows: Tensor | slice) -> Encoded:
        """Some rows."""
        return Encoded(self.clean[rows], None if self.conditions is None else self.conditions[rows])

    def to(self, device: torch.device) -> Encoded:
        """The same rows on another device."""
        return Encoded(self.clean.to(device), None if self.conditions is None else self.conditions.to(device))


class Family(Protocol):
    """One kind of diffusion model."""

    noise: DDPMScheduler
    """The noise process; diffusers' own, so that every diffusers solver can sample from it."""
    pruned_by: Literal["channels", "ranks"]
    """What pruning takes from a model: channels of its layers, or ranks of its adapters."""

    @property
    def sample_shape(self) -> ImageShape:
        """Shape of one sample as the denoiser sees it."""

    def initialise(self, seed: int) -> nn.Module:
        """A fresh model; the same bits for the same seed. The model behind the empty coalition."""

    def trainable(self, model: nn.Module) -> list[nn.Parameter]:
        """The parameters that training changes, in a fixed order."""

    def encode(
        self, images: ImageArray, prompts: Sequence[str] | None = None, *, device: torch.device | None = None
    ) -> Encoded:
        """(n, channels, height, width) uint8 to what the denoiser sees; each row depends on its image and prompt alone.

        Args:
            images: Of the family's image shape.
            prompts: One per image; families without conditions make no use of them.
            device: Where frozen networks run; None: the CPU. The result is on the CPU either way.
        """

    def conditions_for(self, prompts: Sequence[str] | None) -> Tensor | None:
        """(n, ...): conditions under which images are generated, one per prompt; None: unconditional.

        Raises:
            ValueError: a conditional family, and no prompts.
        """

    def predict(
        self,
        model: nn.Module,
        noisy: Tensor,
        timesteps: Tensor,
        conditions: Tensor | None,
        guidance_scale: float = 1.0,
    ) -> Tensor:
        """(n, *sample_shape) noisy samples and (n,) int64 timesteps to the prediction, of the same shape.

        Args:
            model: The denoiser.
            noisy: (n, *sample_shape) float32.
            timesteps: (n,) int64.
            conditions: Rows of ``Encoded.conditions`` or of ``conditions_for``.
            guidance_scale: Sampling only: 1 is the plain prediction, above 1 leans towards the conditions (Ho &
                Salimans 2021); families without conditions make no use of it.
        """

    def decode(self, samples: Tensor) -> ImageArray:
        """(n, *sample_shape) float32 to (n, channels, height, width) uint8; each row depends on its sample alone."""


def family_of(config: ModelConfig, image_shape: ImageShape, frozen: FrozenParts | None = None) -> Family:
    """The family that ``config.family`` names, for images of one shape.

    Args:
        config: Family, network and noise process.
        image_shape: (channels, height, width).
        frozen: Networks that are never trained; None for families that have none.

    Raises:
        ValueError: the images do not fit the architecture.
    """
    # Imported here: they import this module, and each only its own networks.
    if config.family == "text_lora":
        from groupshap.diffusion.text_lora import TextLora  # noqa: PLC0415

        return TextLora(config, image_shape, frozen)
    if config.family == "latent":
        from groupshap.diffusion.latent import LatentDiffusion  # noqa: PLC0415

        return LatentDiffusion(config, image_shape, frozen)
    from groupshap.diffusion.ddpm import PixelDDPM  # noqa: PLC0415

    return PixelDDPM(config, image_shape)


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


def memory_format(config: TrainConfig | SamplerConfig) -> torch.memory_format:
    """The order of a network's numbers in memory."""
    return torch.channels_last if config.channels_last else torch.preserve_format
