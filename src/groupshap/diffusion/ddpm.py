"""Pixel space: diffusers' UNet2DModel, trained from scratch (Ho et al. 2020; v-prediction: Salimans & Ho 2022)."""

from __future__ import annotations

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DModel
from torch import Tensor, nn

from groupshap.diffusion.base import ImageShape
from groupshap.diffusion.config import ModelConfig
from groupshap.images import ImageArray

__all__ = ["PixelDDPM"]


class PixelDDPM:
    """Denoising directly on pixels in [-1, 1].

    Args:
        config: Architecture and noise process.
        image_shape: (channels, height, width); height = width, a multiple of ``config.side_multiple``.

    Raises:
        ValueError: the images do not fit the architecture.
    """

    def __init__(self, config: ModelConfig, image_shape: ImageShape) -> None:
        _, height, width = image_shape
        if height != width or height % config.side_multiple:
            raise ValueError(
                f"A U-Net of {len(config.block_out_channels)} levels needs square images whose side is a multiple of "
                f"{config.side_multiple} pixels, got {width} x {height}. Change `data_grouping.image_size` or the "
                "number of `base_training.model.block_out_channels`."
            )
        self.config = config
        self._image_shape = image_shape
        self.noise = DDPMScheduler(
            num_train_timesteps=config.n_noise_levels,
            beta_start=config.beta_start,
            beta_end=config.beta_end,
            beta_schedule=config.noise_schedule,
            prediction_type=config.prediction,
            clip_sample=True,
            timestep_spacing="trailing",
        )

    @property
    def sample_shape(self) -> ImageShape:
        """Pixels: the shape of an image."""
        return self._image_shape

    def initialise(self, seed: int) -> UNet2DModel:
        """A U-Net with random weights; draws from its own generator, so the caller's randomness is untouched."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return UNet2DModel(**self._arguments()).train()

    def _arguments(self) -> dict[str, object]:
        """The config of the diffusers model."""
        config, levels = self.config, range(len(self.config.block_out_channels))
        kinds = ["Attn" if level in config.attention_levels else "" for level in levels]
        return {
            "sample_size": self._image_shape[1],
            "in_channels": self._image_shape[0],
            "out_channels": self._image_shape[0],
            "block_out_channels": config.block_out_channels,
            "layers_per_block": config.layers_per_block,
            "down_block_types": tuple(f"{kind}DownBlock2D" for kind in kinds),
            "up_block_types": tuple(f"{kind}UpBlock2D" for kind in reversed(kinds)),
            "add_attention": config.mid_attention,
            "attention_head_dim": config.attention_head_dim,
            "norm_num_groups": config.norm_num_groups,
            "dropout": config.dropout,
        }

    def trainable(self, model: nn.Module) -> list[nn.Parameter]:
        """All weights; with adapters, theirs alone."""
        return [parameter for parameter in model.parameters() if parameter.requires_grad]

    def encode(self, images: ImageArray) -> Tensor:
        """[0, 255] to [-1, 1]."""
        return torch.from_numpy(images.astype(np.float32)).div_(127.5).sub_(1.0)

    def predict(self, model: nn.Module, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """The network's output: the noise, or v."""
        return model(noisy, timesteps, return_dict=False)[0]

    def decode(self, samples: Tensor) -> ImageArray:
        """[-1, 1] to [0, 255], rounded to the nearest integer and clipped."""
        pixels = samples.detach().float().add(1.0).mul(127.5).round().clamp_(0.0, 255.0)
        return pixels.to(torch.uint8).cpu().numpy()
