"""A pretrained diffusers pipeline: which folder a name means, what its configs say, what cannot be used.

Imports no torch, so that a folder that cannot be used is refused before anything else happens.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from groupshap.diffusion.autoencoder_folder import (
    AutoencoderFolder,
    PretrainedError,
    check_weights,
    read_autoencoder,
    read_config,
)
from groupshap.diffusion.config import ModelConfig

__all__ = ["PipelineFolder", "autoencoder_in", "local_folder", "read_pipeline", "resolve_folder"]

_HUB_ID = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@([\w.-]+))?")
_DOWNLOADED = ("*.json", "*.safetensors", "*.txt", "*.model")  # what we read: never pickles, never code
_AUTOENCODERS = ("vqvae", "vae")
_SCHEDULERS = ("DDPMScheduler", "DDIMScheduler", "PNDMScheduler")
"""Processes with the variance-preserving noise that ours has; they differ in how they are sampled from."""
_BLOCKS = (
    *("DownBlock2D", "AttnDownBlock2D", "ResnetDownsampleBlock2D"),
    *("UpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"),
)
_UNET_KEYS = (
    *("sample_size", "in_channels", "out_channels"),
    *("block_out_channels", "down_block_types", "up_block_types"),
)
_PLAIN = {
    "trained_betas": None,
    "thresholding": False,
    "rescale_betas_zero_snr": False,
    "clip_sample_range": 1.0,
    "sample_max_value": 1.0,
}
"""Scheduler settings that change the process or its sampling in a way that ours cannot, at their only usable values."""


@dataclass(frozen=True)
class PipelineFolder:
    """An unconditional pipeline that can be used.

    Attributes:
        path: Absolute path of the folder.
        unet: Exact config of its UNet2DModel.
        scheduler: Exact config of its scheduler.
        autoencoder: Of latent diffusion; None: it works on pixels.
    """

    path: Path
    unet: dict[str, Any]
    scheduler: dict[str, Any]
    autoencoder: AutoencoderFolder | None

    @property
    def sample_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of what its U-Net denoises."""
        return self.unet["in_channels"], self.unet["sample_size"], self.unet["sample_size"]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of its images."""
        if self.autoencoder is None:
            return self.sample_shape
        side = self.unet["sample_size"] * self.autoencoder.downscale
        return self.autoencoder.n_image_channels, side, side

    def model_config(self, latent_scale: float | None = None) -> ModelConfig:
        """The same model in our words; the exact config of its U-Net is part of it.

        Raises:
            PretrainedError: its values go beyond what we allow.
        """
        try:
            return ModelConfig(family="ddpm" if self.autoencoder is None else "latent", **self._settings(latent_scale))
        except ValidationError as error:
            raise PretrainedError(f"The pipeline in {self.path} is not supported: {error}") from error

    def _settings(self, latent_scale: float | None) -> dict[str, Any]:
        unet, scheduler = self.unet, self.scheduler
        kinds = unet["down_block_types"]
        return {
            "block_out_channels": unet["block_out_channels"],
            "layers_per_block": unet.get("layers_per_block", 2),
            "attention_levels": [level for level, kind in enumerate(kinds) if kind.startswith("Attn")],
            "mid_attention": unet.get("add_attention", True),
            "attention_head_dim": unet.get("attention_head_dim", 8),
            "norm_num_groups": unet.get("norm_num_groups", 32),
            "dropout": unet.get("dropout", 0.0),
            "prediction": scheduler.get("prediction_type", "epsilon"),
            "noise_schedule": scheduler.get("beta_schedule", "linear"),
            "beta_start": scheduler.get("beta_start", 1e-4),
            "beta_end": scheduler.get("beta_end", 0.02),
            "n_noise_levels": scheduler.get("num_train_timesteps", 1000),
            "latent_scale": latent_scale,
            "clip_sample": scheduler.get("clip_sample", scheduler["_class_name"] != "PNDMScheduler"),
            "unet": {key: value for key, value in unet.items() if not key.startswith("_")},
        }

    def check_images(self, image_shape: tuple[int, int, int]) -> None:
        """Refuse images of another size than the network's.

        Raises:
            PretrainedError: says which size it needs.
        """
        (channels, _, side), own = image_shape, self.image_shape
        if image_shape != own:
            why = "smaller images hold less than it draws, and " if side < own[1] else ""
            raise PretrainedError(
                f"`base_training.pretrained` {self.path} is for images of {own[0]} channels and {own[1]} pixels, got "
                f"{channels} channels and {side} pixels: {why}its network fits no other size. Set "
                f"`data_grouping.image_size={own[1]}` and `data_grouping.channels={own[0]}`."
            )


def resolve_folder(name: str) -> Path:
    """The folder that a setting means: a local one if it exists, else a download from the Hugging Face hub.

    Raises:
        PretrainedError: neither.
    """
    folder = local_folder(name)
    if folder is not None:
        return folder
    match = _HUB_ID.fullmatch(name)
    if match is None:
        raise PretrainedError(
            f"{name!r} is neither a folder nor a hub id: expected a folder that diffusers' save_pretrained wrote, or "
            "owner/name, or owner/name@revision."
        )
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - slow, and rarely needed
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError  # noqa: PLC0415

    try:
        return Path(snapshot_download(match[1], revision=match[2], allow_patterns=list(_DOWNLOADED)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise PretrainedError(
            f"{name!r} is no folder here, and could not be fetched from the Hugging Face hub ({type(error).__name__}). "
            "Check the id and the network, or download it elsewhere and give the folder."
        ) from error


def local_folder(name: str) -> Path | None:
    """The folder of this name on this machine, absolute; None: there is none."""
    path = Path(name).expanduser()
    return path.absolute() if path.is_dir() else None


def read_pipeline(folder: Path) -> PipelineFolder:
    """Read and check all configs of an unconditional pipeline; weights are only looked for.

    Raises:
        PretrainedError: a missing component, an unsupported network or scheduler, missing or pickled weights.
    """
    index = read_config(folder, "model_index.json")
    problems = [f"no `{name}`" for name in ("unet", "scheduler") if not (folder / name).is_dir()]
    if index.get("text_encoder") or (folder / "text_encoder").is_dir():
        problems.append("a text encoder, but only unconditional pipelines are supported here")
    if problems:
        raise PretrainedError(
            f"{folder} is no unconditional pipeline of diffusers ({index.get('_class_name')}): it has "
            f"{', '.join(problems)}."
        )
    unet, scheduler = read_config(folder / "unet"), read_config(folder / "scheduler", "scheduler_config.json")
    names = [name for name in _AUTOENCODERS if (folder / name).is_dir()]
    expected = [name for name in _AUTOENCODERS if index.get(name)]
    if expected and not names:
        raise PretrainedError(f"{folder} lacks the component `{expected[0]}` that its model_index.json names.")
    autoencoder = read_autoencoder(folder / names[0]) if names else None
    wrong = [*_unet_problems(unet), *_scheduler_problems(scheduler)]
    if autoencoder and unet.get("in_channels") != autoencoder.n_latent_channels:
        wrong.append(
            f"the U-Net takes {unet.get('in_channels')} channels, latents have {autoencoder.n_latent_channels}"
        )
    if wrong:
        raise PretrainedError(f"The pipeline in {folder} is not supported: {'; '.join(wrong)}.")
    check_weights(folder / "unet")
    return PipelineFolder(folder.absolute(), unet, scheduler, autoencoder)


def autoencoder_in(folder: Path) -> AutoencoderFolder:
    """The autoencoder that a folder is, or that a pipeline in the folder has.

    Raises:
        PretrainedError: there is none.
    """
    if (folder / "config.json").is_file():
        return read_autoencoder(folder)
    names = [name for name in _AUTOENCODERS if (folder / name).is_dir()]
    if not names:
        raise PretrainedError(
            f"{folder} holds no autoencoder: expected config.json and weights of an AutoencoderKL or VQModel, or a "
            f"pipeline with a folder {' or '.join(_AUTOENCODERS)}."
        )
    return read_autoencoder(folder / names[0])


def _unet_problems(unet: dict[str, Any]) -> list[str]:
    """Why a U-Net cannot be used."""
    if unet.get("_class_name") != "UNet2DModel":
        return [f"its network is a {unet.get('_class_name')}, expected a UNet2DModel"]
    lacking = [key for key in _UNET_KEYS if unet.get(key) is None]
    if lacking:
        return [f"its U-Net's config lacks {', '.join(lacking)}"]
    problems = []
    blocks = {*unet["down_block_types"], *unet["up_block_types"]} - set(_BLOCKS)
    if blocks:
        problems.append(f"its U-Net has blocks {sorted(blocks)}, expected some of {', '.join(_BLOCKS)}")
    if unet.get("class_embed_type") is not None or unet.get("num_class_embeds") is not None:
        problems.append("its U-Net is conditional on classes")
    if not isinstance(unet["sample_size"], int):
        problems.append(f"its U-Net's `sample_size` is {unet['sample_size']!r}, expected the side of a square")
    if unet["in_channels"] != unet["out_channels"]:
        problems.append(
            f"its U-Net gives {unet['out_channels']} channels for {unet['in_channels']}: a learned variance is "
            "not supported"
        )
    return problems


def _scheduler_problems(scheduler: dict[str, Any]) -> list[str]:
    """Why a noise process cannot be used."""
    name = scheduler.get("_class_name")
    if name not in _SCHEDULERS:
        return [f"its scheduler is {name}, expected one of {', '.join(_SCHEDULERS)}"]
    expected = {
        "prediction_type": ("epsilon", "v_prediction"),
        "beta_schedule": ("linear", "scaled_linear", "squaredcos_cap_v2"),
    }
    problems = [
        f"its scheduler's `{key}` is {scheduler[key]!r}, expected one of {', '.join(values)}"
        for key, values in expected.items()
        if key in scheduler and scheduler[key] not in values
    ]
    return problems + [
        f"its scheduler's `{key}` is {scheduler[key]!r}, expected {value!r}"
        for key, value in _PLAIN.items()
        if key in scheduler and scheduler[key] != value
    ]
