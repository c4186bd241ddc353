"""An unconditional U-Net and its noise process: what pixel and latent diffusion share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import DDPMScheduler, UNet2DModel
from torch import Tensor, nn

from groupshap.diffusion.base import ImageShape
from groupshap.diffusion.config import ModelConfig

__all__ = ["UNetDenoiser"]


class UNetDenoiser:
    """Diffusers' UNet2DModel on samples of one shape; families say what samples are.

    Args:
        config: Architecture and noise process.
        sample_shape: (channels, height, width) of what is denoised.
        clips_sample: Whether clean samples lie in [-1, 1], so that solvers may clip to it, unless the config says.

    Raises:
        ValueError: the samples do not fit the architecture.
    """

    pruned_by = "channels"

    def __init__(self, config: ModelConfig, sample_shape: ImageShape, clips_sample: bool) -> None:
        _check_shape(config, sample_shape)
        self.config = config
        self._sample_shape = sample_shape
        self.noise = DDPMScheduler(
            num_train_timesteps=config.n_noise_levels,
            beta_start=config.beta_start,
            beta_end=config.beta_end,
            beta_schedule=config.noise_schedule,
            prediction_type=config.prediction,
            clip_sample=clips_sample if config.clip_sample is None else config.clip_sample,
            timestep_spacing="trailing",
        )

    @property
    def sample_shape(self) -> ImageShape:
        """(channels, height, width) of what is denoised."""
        return self._sample_shape

    def initialise(self, seed: int) -> UNet2DModel:
        """A U-Net with random weights; draws from its own generator, so the caller's randomness is untouched."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return UNet2DModel.from_config(self.config.unet or self._arguments()).train()

    def _arguments(self) -> dict[str, object]:
        """The config of the diffusers model."""
        config, levels = self.config, range(len(self.config.block_out_channels))
        kinds = ["Attn" if level in config.attention_levels else "" for level in levels]
        return {
            "sample_size": self._sample_shape[1],
            "in_channels": self._sample_shape[0],
            "out_channels": self._sample_shape[0],
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

    def conditions_for(self, prompts: Sequence[str] | None) -> None:
        """Unconditional: prompts change nothing."""

    def predict(
        self,
        model: nn.Module,
        noisy: Tensor,
        timesteps: Tensor,
        conditions: Tensor | None = None,
        guidance_scale: float = 1.0,
    ) -> Tensor:
        """The network's output: the noise, or v."""
        return model(noisy, timesteps, return_dict=False)[0]


def _check_shape(config: ModelConfig, sample_shape: ImageShape) -> None:
    channels, height, width = sample_shape
    if height != width or height % config.side_multiple:
        raise ValueError(
            f"A U-Net of {len(config.block_out_channels)} levels needs square samples whose side is a multiple of "
            f"{config.side_multiple}, got {width} x {height}. Change `data_grouping.image_size` or the "
            "number of `base_training.model.block_out_channels`."
        )
    if config.unet is not None and (config.unet["in_channels"], config.unet["sample_size"]) != (channels, height):
        raise ValueError(
            f"The pretrained U-Net is for samples of {config.unet['in_channels']} channels and side "
            f"{config.unet['sample_size']}, got {channels} channels and side {height}."
        )
