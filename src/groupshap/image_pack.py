"""All images of a run and whose they are, in one byte-stable file that workers open by path."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from groupshap.images import ImageArray, check_images
from groupshap.store import atomic_write

__all__ = ["ImagePack", "load_pack", "save_pack"]


@dataclass(frozen=True)
class ImagePack:
    """Images and their contributors.

    Attributes:
        images: (n_images, channels, height, width) uint8 in [0, 255].
        players: (n_images,) int64: the contributor of each image, 0..n_players - 1.
        used: (n_images,) bool: whether models may be trained on it (the planted defect ``unused``); None: all.
    """

    images: ImageArray
    players: npt.NDArray[np.int64]
    used: npt.NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        check_images(self.images)
        if self.players.shape != (len(self.images),) or self.players.dtype != np.int64:
            raise ValueError(
                f"`players` must be int64 of shape ({len(self.images)},), got {self.players.dtype} "
                f"{self.players.shape}."
            )

    @property
    def is_used(self) -> npt.NDArray[np.bool_]:
        """(n_images,) bool."""
        return np.ones(len(self.images), dtype=bool) if self.used is None else self.used

    def of(self, members: list[int]) -> ImageArray:
        """What a coalition is trained on, member after member: another contributor in the pack does not change it."""
        used = self.is_used
        return np.concatenate([self.images[:0], *(self.images[used & (self.players == player)] for player in members)])

    def of_everybody(self) -> ImageArray:
        """What the base model is trained on."""
        return self.images[self.is_used]

    def n_used(self) -> npt.NDArray[np.int64]:
        """(n_players,) int64: images of each contributor that models are trained on."""
        return np.bincount(self.players, weights=self.is_used).astype(np.int64)

    def digest(self, player: int, name: str) -> str:
        """sha256 (hex) of a contributor's name and images: what a coalition's model knows of them."""
        own = self.images[self.players == player]
        return hashlib.sha256(f"{name}\0{own.shape}".encode() + own.tobytes()).hexdigest()


def save_pack(path: Path, pack: ImagePack) -> None:
    """Write atomically; the same pack gives the same bytes (a zip such as npz holds the time of writing)."""
    tensors = {"images": np.ascontiguousarray(pack.images), "players": np.ascontiguousarray(pack.players)}
    if pack.used is not None:
        tensors["used"] = np.ascontiguousarray(pack.used)
    atomic_write(path, lambda file: save_file(tensors, file))


def load_pack(path: Path) -> ImagePack:
    """Read a pack.

    Raises:
        ValueError: the file is damaged or something else; says what makes it again.
    """
    try:
        tensors = load_file(path)
        return ImagePack(tensors["images"], tensors["players"], tensors.get("used"))
    except (SafetensorError, KeyError) as error:
        raise ValueError(
            f"{path} is no intact image pack ({type(error).__name__}: {error}). Make it again: "
            "kedro run --pipelines data_grouping."
        ) from error
