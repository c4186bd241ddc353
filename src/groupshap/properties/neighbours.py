"""Precision, recall, density and coverage: do generated and reference images lie among each other? Higher is better.

A set of images stands for the region that the balls around its members cover, each as large as the distance to the
member's k-th nearest neighbour in the same set.

* Precision: the share of generated images in the reference's region; recall: the share of reference images in the
  generated images' region (Kynkäänniemi et al. 2019, arXiv:1904.06991, eq. 1 and 2; k = 3 there).
* Density: in how many of the reference's balls a generated image lies, over k, so it may exceed 1. Coverage: the share
  of reference images whose ball holds a generated image (Naeem et al. 2020, arXiv:2002.09797, section 3; k = 5 there).
  One outlier with a huge ball does less harm to them.

All grow with the number of reference images relative to generated ones or the reverse: compare equal numbers only.
Recall sees few generated images as a small region.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from groupshap.images import ImageArray
from groupshap.properties.errors import require_images
from groupshap.properties.reference import ReferenceFeatures

if TYPE_CHECKING:
    import pandas as pd

    from groupshap.properties.request import Request

__all__ = ["Coverage", "Density", "Precision", "Recall", "balls_around", "coverage", "inside", "neighbour_radii"]

FloatArray = npt.NDArray[np.float64]
_ROWS = 512  # of the distance matrix at a time
_ROUNDING = 1e-12  # of squared distances, relative to the largest squared norm


def _squared_distances(x: npt.NDArray[np.floating], y: npt.NDArray[np.floating]) -> Iterator[tuple[int, FloatArray]]:
    """First row, and |a - b|² of the next rows of x (n, d) to all of y (m, d)."""
    y = y.astype(np.float64)
    centre = y.mean(axis=0)  # distances stay, and cancellation gets smaller
    y = y - centre
    y_norms = (y**2).sum(axis=1)
    for start in range(0, len(x), _ROWS):
        rows = x[start : start + _ROWS].astype(np.float64) - centre
        yield start, np.maximum((rows**2).sum(axis=1)[:, None] + y_norms - 2 * rows @ y.T, 0)


def neighbour_radii(features: npt.NDArray[np.floating], k: int) -> FloatArray:
    """Squared distance (n,) of each row of features (n, d) to its k-th nearest other row, n > k."""
    radii = np.empty(len(features))
    for start, distances in _squared_distances(features, features):
        rows = np.arange(len(distances))
        distances[rows, start + rows] = -1  # a row is its own nearest neighbour whatever the rounding
        radii[start : start + len(rows)] = np.partition(distances, k, axis=1)[:, k]
    return radii


def inside(
    points: npt.NDArray[np.floating], centres: npt.NDArray[np.floating], radii: FloatArray
) -> Iterator[tuple[int, npt.NDArray[np.bool_]]]:
    """First row, and whether the next rows of points (n, d) lie in the ball around each centre (m, d).

    Args:
        points: Features.
        centres: Features.
        radii: Squared radii (m,). The border belongs to the ball, up to rounding.
    """
    spread = max(float((part.astype(np.float64) ** 2).sum(axis=1).max()) for part in (points, centres))
    for start, distances in _squared_distances(points, centres):
        yield start, distances <= radii + _ROUNDING * spread


def balls_around(
    points: npt.NDArray[np.floating], centres: npt.NDArray[np.floating], radii: FloatArray
) -> npt.NDArray[np.int64]:
    """In how many balls each point lies, (n,) int64; arguments as for :func:`inside`."""
    return np.concatenate([rows.sum(axis=1) for _, rows in inside(points, centres, radii)])


def coverage(points: npt.NDArray[np.floating], centres: npt.NDArray[np.floating], radii: FloatArray) -> float:
    """Share of the balls that hold a point, in [0, 1]; arguments as for :func:`inside`."""
    holds = np.zeros(len(centres), dtype=bool)
    for _, rows in inside(points, centres, radii):
        holds |= rows.any(axis=0)
    return float(holds.mean())


class _Neighbours:
    """See the module; the state is the radii of the reference's balls.

    Args:
        reference: Reference features, shared with other properties.
        k: Which neighbour gives a ball its radius.
    """

    metric: ClassVar[str]
    higher_is_better = True
    compares_with_reference = True

    def __init__(self, reference: ReferenceFeatures, k: int) -> None:
        self.reference, self.extractor, self.parts, self.k = reference, reference.extractor, (reference,), k
        self.name = f"{self.metric}_{self.extractor.name}"
        self.n_reference_images_needed = k + 1
        self.parameters = {"reference": reference.parameters, "k": k}

    @classmethod
    def from_request(cls, request: Request) -> Self:
        """Build from the parameters and the reference that properties on these features share."""
        return cls(request.reference, request.config.precision_n_neighbours)

    def fit(self, images: ImageArray, image_table: pd.DataFrame) -> dict[str, npt.NDArray[Any]]:
        """The radii; the features are there already."""
        require_images(self.name, self.k + 1, self.reference.features, "reference images")
        return {"radii": neighbour_radii(self.reference.features, self.k)}

    def restore(self, state: dict[str, npt.NDArray[Any]]) -> None:
        """Take what ``fit`` returned."""
        self._radii = state["radii"]

    def _balls(self, images: ImageArray) -> npt.NDArray[np.int64]:
        return balls_around(self.extractor(images).features, self.reference.features, self._radii)


class Precision(_Neighbours):
    """See the module."""

    metric = "precision"

    def __call__(self, images: ImageArray) -> float:
        """Precision in [0, 1] of images, uint8 NCHW in [0, 255]."""
        return float((self._balls(images) > 0).mean())


class Recall(_Neighbours):
    """See the module."""

    metric = "recall"

    def __init__(self, reference: ReferenceFeatures, k: int) -> None:
        super().__init__(reference, k)
        self.n_images_needed = k + 1

    def fit(self, images: ImageArray, image_table: pd.DataFrame) -> dict[str, npt.NDArray[Any]]:
        """Only how many there are: the balls are around generated images."""
        return {"n_images": np.array([len(self.reference.features)])}

    def restore(self, state: dict[str, npt.NDArray[Any]]) -> None:
        """Nothing to take."""

    def __call__(self, images: ImageArray) -> float:
        """Recall in [0, 1] of images, uint8 NCHW in [0, 255], more than k."""
        require_images(self.name, self.k + 1, images)
        generated = self.extractor(images).features
        return float((balls_around(self.reference.features, generated, neighbour_radii(generated, self.k)) > 0).mean())


class _WithDensity(_Neighbours):
    @classmethod
    def from_request(cls, request: Request) -> Self:
        """Build from the parameters and the reference that properties on these features share."""
        return cls(request.reference, request.config.density_n_neighbours)


class Density(_WithDensity):
    """See the module."""

    metric = "density"

    def __call__(self, images: ImageArray) -> float:
        """Density >= 0 of images, uint8 NCHW in [0, 255]; 1 on average if they are like the reference."""
        return float(self._balls(images).mean() / self.k)


class Coverage(_WithDensity):
    """See the module."""

    metric = "coverage"

    def __call__(self, images: ImageArray) -> float:
        """Coverage in [0, 1] of images, uint8 NCHW in [0, 255]."""
        return coverage(self.extractor(images).features, self.reference.features, self._radii)
