"""Reference images: files of a folder, and features kept once for all properties that compare with single images."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from groupshap.images import ImageArray
from groupshap.properties.features import FeatureExtractor
from groupshap.seeds import generator_for
from groupshap.store import sha256_of_file

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ReferenceFeatures", "folder_sha256", "image_files"]

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")


def image_files(folder: str | Path) -> list[Path]:
    """Image files of a folder and its subfolders, in order of their names; hidden ones are left out."""
    found = [
        file
        for file in Path(folder).rglob("*")
        if file.suffix.lower() in _SUFFIXES and not any(part[0] == "." for part in file.relative_to(folder).parts)
    ]
    return sorted(found, key=lambda file: file.relative_to(folder).as_posix())


def folder_sha256(folder: str | Path) -> str:
    """sha256 of the image files' names below the folder, and of their content."""
    digest = hashlib.sha256()
    for file in image_files(folder):
        digest.update(f"{file.relative_to(folder).as_posix()}\0{sha256_of_file(file)}\n".encode())
    return digest.hexdigest()


class ReferenceFeatures:
    """Features of the reference images, or of a random sample if there are more than the limit.

    Args:
        extractor: Which features.
        n_images_at_most: The limit; memory and time grow with it, for some properties with its square.
        seed: Of the sample.
    """

    compares_with_reference = True

    def __init__(self, extractor: FeatureExtractor, n_images_at_most: int = 10_000, seed: int = 0) -> None:
        self.extractor = extractor
        self.n_images_at_most, self.seed = n_images_at_most, seed
        self.name = f"reference-{extractor.name}"  # no property can be called so
        self.parameters = {"n_images_at_most": n_images_at_most, "seed": seed}
        self._features: npt.NDArray[np.float32] | None = None

    @property
    def features(self) -> npt.NDArray[np.float32]:
        """(n_images, d) float32, after ``restore``."""
        if self._features is None:
            raise RuntimeError(f"{self.name} was neither fitted nor restored.")
        return self._features

    def fit(self, images: ImageArray, image_table: pd.DataFrame | None = None) -> dict[str, npt.NDArray[Any]]:
        """Features of images, uint8 NCHW in [0, 255], in their order."""
        features = self.extractor(images).features
        if len(features) > self.n_images_at_most:
            rows = generator_for(self.seed, "reference-sample").permutation(len(features))[: self.n_images_at_most]
            features = features[np.sort(rows)]
        return {"features": features}

    def restore(self, state: dict[str, npt.NDArray[Any]]) -> None:
        """Take what ``fit`` returned."""
        self._features = state["features"]
