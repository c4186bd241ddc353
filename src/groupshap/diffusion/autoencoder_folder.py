"""A diffusers folder with an autoencoder: what its config says, and what is wrong with it. Imports no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groupshap.errors import UserError

__all__ = [
    "AutoencoderFolder",
    "PretrainedError",
    "check_weights",
    "pickles_in",
    "read_autoencoder",
    "read_config",
]

_KINDS = ("AutoencoderKL", "VQModel")
_WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.safetensors.index.json")
_CONVERT = (
    "If there are pickles and you trust their author, convert them once: load the pipeline with diffusers, save it "
    "with save_pretrained(folder, safe_serialization=True), and give that folder."
)
_PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")


class PretrainedError(UserError, ValueError):
    """A folder with pretrained networks cannot be used."""


@dataclass(frozen=True)
class AutoencoderFolder:
    """An autoencoder, described by its config.

    Attributes:
        path: Absolute path of the folder with config.json and weights.
        kind: AutoencoderKL or VQModel.
        n_image_channels: Of the images that it is for.
        n_latent_channels: Of the latents.
        downscale: How many pixels one latent is wide.
        scale: What diffusers multiplies latents by.
        shift: What diffusers subtracts before that.
    """

    path: Path
    kind: str
    n_image_channels: int
    n_latent_channels: int
    downscale: int
    scale: float
    shift: float

    def latent_shape(self, image_shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """(channels, height, width) of the latents of images of one shape.

        Raises:
            ValueError: other channels than the autoencoder's, or a side that it cannot divide.
        """
        channels, height, width = image_shape
        if channels != self.n_image_channels or height % self.downscale or width % self.downscale:
            raise ValueError(
                f"The autoencoder in {self.path} takes images of {self.n_image_channels} channels whose sides are "
                f"multiples of {self.downscale} pixels, got {channels} channels, {width} x {height} pixels. Change "
                "`data_grouping.channels` or `data_grouping.image_size`."
            )
        return self.n_latent_channels, height // self.downscale, width // self.downscale


def read_autoencoder(folder: Path) -> AutoencoderFolder:
    """Read and check the config of an autoencoder; its weights are only looked for.

    Raises:
        PretrainedError: no folder, another kind of network, weights missing or pickled.
    """
    config = read_config(folder)
    kind = config.get("_class_name")
    if kind not in _KINDS:
        raise PretrainedError(
            f"{folder} holds a {kind}: expected one of {', '.join(_KINDS)}. Others are not supported as autoencoders."
        )
    check_weights(folder)
    default = 0.18215  # diffusers' default of both classes, where an old config does not say
    return AutoencoderFolder(
        path=folder.absolute(),
        kind=kind,
        n_image_channels=config.get("in_channels", 3),
        n_latent_channels=config.get("latent_channels", 4 if kind == "AutoencoderKL" else 3),
        downscale=2 ** (len(config.get("block_out_channels", [64])) - 1),
        scale=config.get("scaling_factor", default),
        shift=config.get("shift_factor") or 0.0,
    )


def read_config(folder: Path, name: str = "config.json") -> dict[str, Any]:
    """A config that diffusers wrote.

    Raises:
        PretrainedError: it is not there, or no JSON object.
    """
    path = folder / name
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PretrainedError(
            f"{path} cannot be read ({type(error).__name__}): expected the JSON config that diffusers' save_pretrained "
            "writes. Give the folder that it wrote."
        ) from error
    if not isinstance(config, dict):
        raise PretrainedError(f"{path} is no config of diffusers: expected a JSON object, got {type(config).__name__}.")
    return config


def check_weights(folder: Path) -> None:
    """Refuse weights that are missing or pickled: unpickling runs whatever code is in the file.

    Raises:
        PretrainedError: says which files are there, and how to convert them.
    """
    if any((folder / name).is_file() for name in _WEIGHTS):
        return
    pickles = pickles_in(folder)
    if pickles:
        raise PretrainedError(
            f"{folder} holds pickled weights only ({', '.join(pickles[:3])}), which may run any code when they are "
            f"read: expected {_WEIGHTS[0]}. {_CONVERT}"
        )
    raise PretrainedError(
        f"{folder} holds no weights: expected {_WEIGHTS[0]}. Pickles are never downloaded. {_CONVERT}"
    )


def pickles_in(folder: Path) -> list[str]:
    """Names of the files in a folder that are pickles by their ending, which are never read."""
    return sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLES)
