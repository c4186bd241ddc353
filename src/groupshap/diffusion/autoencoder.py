"""A small autoencoder of one's own: AutoencoderKL, trained to reconstruct (Kingma & Welling 2014; Rombach et al. 2022).

What differs from the published ones: no adversarial and no perceptual loss, which need networks of their own.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional

from groupshap.diffusion.base import Encoded, ImageShape
from groupshap.diffusion.config import AutoencoderConfig
from groupshap.diffusion.frozen_autoencoder import in_fixed_batches, latents_of

__all__ = ["Reconstruction", "build_autoencoder", "standardise"]


def build_autoencoder(config: AutoencoderConfig, image_shape: ImageShape, seed: int) -> AutoencoderKL:
    """An untrained one; draws from its own generator.

    Raises:
        ValueError: a side that its levels cannot halve.
    """
    channels, height, width = image_shape
    if height % config.downscale or width % config.downscale:
        raise ValueError(
            f"`base_training.autoencoder.block_out_channels` has {len(config.block_out_channels)} levels, which need "
            f"images whose side is a multiple of {config.downscale} pixels, got {width} x {height}."
        )
    kinds = len(config.block_out_channels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoencoderKL(
            in_channels=channels,
            out_channels=channels,
            sample_size=height,
            block_out_channels=config.block_out_channels,
            down_block_types=("DownEncoderBlock2D",) * kinds,
            up_block_types=("UpDecoderBlock2D",) * kinds,
            layers_per_block=config.layers_per_block,
            latent_channels=config.latent_channels,
            norm_num_groups=config.norm_num_groups,
            mid_block_add_attention=config.mid_attention,
        )


class Reconstruction:
    """The objective of an autoencoder: mean squared error, and a weak pull of the latents towards a standard normal.

    Args:
        kl_weight: Of the divergence per latent number.
    """

    def __init__(self, kl_weight: float) -> None:
        self._kl_weight = kl_weight

    def trainable(self, model: nn.Module) -> list[nn.Parameter]:
        """All weights."""
        return list(model.parameters())

    def loss(self, model: nn.Module, batch: Encoded, generator: torch.Generator) -> Tensor:
        """E[(x - D(z))^2] + w KL(q(z|x) ‖ N(0, 1)) / dim z, with z drawn from q (Kingma & Welling 2014, eq. 10)."""
        posterior = model.encode(batch.clean).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator).to(batch.clean.device)
        reconstructed = model.decode(posterior.mean + posterior.std * noise).sample
        divergence = 0.5 * (posterior.mean.square() + posterior.var - 1.0 - posterior.logvar).mean()
        return functional.mse_loss(reconstructed.float(), batch.clean) + self._kl_weight * divergence


def standardise(model: AutoencoderKL, pixels: Tensor, device: torch.device) -> AutoencoderKL:
    """Write mean and 1 / standard deviation of these images' latents into the config, as diffusers' pipelines do."""
    latents = in_fixed_batches(lambda batch: latents_of(model, batch), pixels, device).double()
    model.register_to_config(scaling_factor=1.0 / float(latents.std()), shift_factor=float(latents.mean()))
    return model
