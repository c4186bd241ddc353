"""All images of a run and whose they are, in one byte-stable file that workers open by path."""

from __future__ import annotations

import hashlib
import json
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
        prompts: What a model with prompts is told about each image; None: nothing.
    """

    images: ImageArray
    players: npt.NDArray[np.int64]
    used: npt.NDArray[np.bool_] | None = None
    prompts: list[str] | None = None

    def __post_init__(self) -> None:
        check_images(self.images)
        if self.players.shape != (len(self.images),) or self.players.dtype != np.int64:
            raise ValueError(
                f"`players` must be int64 of shape ({len(self.images)},), got {self.players.dtype} "
                f"{self.players.shape}."
            )
        if self.prompts is not None and len(self.prompts) != len(self.images):
            raise ValueError(f"`prompts` must be one per image, got {len(self.prompts)} for {len(self.images)} images.")

    @property
    def is_used(self) -> npt.NDArray[np.bool_]:
        """(n_images,) bool."""
        return np.ones(len(self.images), dtype=bool) if self.used is None else self.used

    def rows_of(self, members: list[int]) -> npt.NDArray[np.int64]:
        """(n,) int64: what a coalition is trained on, member after member: others in the pack do not change it."""
        rows = [player_rows[self.is_used[player_rows]] for player_rows in map(self.all_rows_of, members)]
        return np.concatenate([np.empty(0, np.int64), *rows])

    def all_rows_of(self, player: int) -> npt.NDArray[np.int64]:
        """(n,) int64: a contributor's images, whether models are trained on them or not."""
        return np.flatnonzero(self.players == player)

    def rows_of_everybody(self) -> npt.NDArray[np.int64]:
        """(n,) int64: what the base model is trained on."""
        return np.flatnonzero(self.is_used)

    def of(self, members: list[int]) -> ImageArray:
        """The images that a coalition is trained on."""
        return self.images[self.rows_of(members)]

    def prompts_of(self, rows: npt.NDArray[np.int64]) -> list[str] | None:
        """The prompts of some rows; None: there are none."""
        return None if self.prompts is None else [self.prompts[row] for row in rows]

    def n_used(self) -> npt.NDArray[np.int64]:
        """(n_players,) int64: images of each contributor that models are trained on."""
        return np.bincount(self.players, weights=self.is_used).astype(np.int64)

    def digest(self, player: int, name: str) -> str:
        """sha256 (hex) of a contributor's name, images and prompts: what a coalition's model knows of them."""
        rows = self.all_rows_of(player)
        own, prompts = self.images[rows], self.prompts_of(rows)
        told = b"" if prompts is None else json.dumps(prompts).encode()
        return hashlib.sha256(f"{name}\0{own.shape}".encode() + own.tobytes() + told).hexdigest()


def save_pack(path: Path, pack: ImagePack) -> None:
    """Write atomically; the same pack gives the same bytes (a zip such as npz holds the time of writing)."""
    tensors = {"images": np.ascontiguousarray(pack.images), "players": np.ascontiguousarray(pack.players)}
    if pack.used is not None:
        tensors["used"] = np.ascontiguousarray(pack.used)
    if pack.prompts is not None:
        tensors["prompts"] = np.frombuffer(json.dumps(pack.prompts).encode(), dtype=np.uint8)
    atomic_write(path, lambda file: save_file(tensors, file))


def load_pack(path: Path) -> ImagePack:
    """Read a pack.

    Raises:
        ValueError: the file is damaged or something else; says what makes it again.
    """
    try:
        tensors = load_file(path)
        prompts = json.loads(tensors["prompts"].tobytes()) if "prompts" in tensors else None
        return ImagePack(tensors["images"], tensors["players"], tensors.get("used"), prompts)
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path} is no intact image pack ({type(error).__name__}: {error}). Make it again: "
            "kedro run --pipelines data_grouping."
        ) from error
