"""Small U-Nets of the kinds that the project trains, and a real noise-prediction loss for them."""

from __future__ import annotations

import torch
from diffusers import DDPMScheduler, UNet2DModel

PLAIN = {
    "sample_size": 16,
    "block_out_channels": (32, 64),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "UpBlock2D"),
    "norm_num_groups": 8,
    "add_attention": False,
}
ATTENTION = {
    "sample_size": 16,
    "block_out_channels": (32, 64, 64),
    "layers_per_block": 2,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    "norm_num_groups": 8,
    "attention_head_dim": 8,
}
GREY = {
    **PLAIN,
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": (16, 32),
    "norm_num_groups": 4,
    "add_attention": True,
}
RESNET_RESAMPLERS = {**ATTENTION, "downsample_type": "resnet", "upsample_type": "resnet"}
# google/ddpm-cifar10-32
CIFAR = {
    "sample_size": 32,
    "block_out_channels": (128, 256, 256, 256),
    "layers_per_block": 2,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": None,
    "norm_eps": 1e-6,
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
}
UNETS = {"plain": PLAIN, "attention": ATTENTION, "grey": GREY, "resnet_resamplers": RESNET_RESAMPLERS}


class NoiseLoss:
    """Noise-prediction loss on a fixed batch with fixed noise; remembers the timesteps it was asked for.

    ``halved_per_step``: scaled to the values 1, 1/2, 1/4, ... at timesteps 0, 1, 2, ...
    """

    def __init__(self, model: UNet2DModel, halved_per_step: bool = False):
        shape = (2, model.config.in_channels, model.config.sample_size, model.config.sample_size)
        generator = torch.Generator().manual_seed(3)
        self.images = torch.rand(shape, generator=generator) * 2 - 1
        self.noise = torch.randn(shape, generator=generator)
        self.scheduler = DDPMScheduler()
        self.halved_per_step = halved_per_step
        self.timesteps: list[int] = []

    def __call__(self, model, timestep):
        self.timesteps.append(timestep)
        times = torch.full((len(self.images),), timestep)
        predicted = model(self.scheduler.add_noise(self.images, self.noise, times), times).sample
        loss = ((predicted - self.noise) ** 2).mean()
        return 0.5**timestep * loss / loss.item() if self.halved_per_step else loss
