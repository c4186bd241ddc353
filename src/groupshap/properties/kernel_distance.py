"""Kernel distance: squared maximum mean discrepancy between generated and reference features. Lower is better.

Bińkowski et al. 2018 (arXiv:1801.01401). Unlike the Fréchet distance it is unbiased for any number of images, and so
may be slightly negative for a perfect model. On features of Inception-v3 it is KID; on others never called so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from groupshap.images import ImageArray
from groupshap.properties.errors import require_images
from groupshap.properties.reference import ReferenceFeatures
from groupshap.seeds import generator_for

if TYPE_CHECKING:
    import pandas as pd

    from groupshap.properties.request import Request

__all__ = ["KernelDistance", "kernel_distance", "mean_kernel", "subset_kernel_distance"]

_ROWS = 512  # of the kernel matrix at a time


def mean_kernel(x: npt.NDArray[np.floating], y: npt.NDArray[np.floating] | None = None) -> float:
    """Mean of k(a, b) = (a·b / d + 1)³ over pairs: of x (n, d) and y (m, d), or of different rows of x without y.

    The kernel of Bińkowski et al. 2018, section 4; float64, never more than 512 rows of the matrix at once.
    """
    other = x if y is None else y
    other = other.astype(np.float64)
    total = 0.0
    for start in range(0, len(x), _ROWS):
        rows = x[start : start + _ROWS].astype(np.float64)
        kernel = (rows @ other.T / x.shape[1] + 1) ** 3
        if y is None:
            kernel[np.arange(len(rows)), start + np.arange(len(rows))] = 0
        total += kernel.sum()
    return total / (len(x) * (len(x) - 1) if y is None else len(x) * len(other))


def kernel_distance(
    x: npt.NDArray[np.floating], y: npt.NDArray[np.floating], y_with_itself: float | None = None
) -> float:
    """Unbiased estimate of MMD² between x (m, d) and y (n, d), m, n >= 2: Bińkowski et al. 2018, eq. 4.

    Args:
        x: Features.
        y: Other features.
        y_with_itself: ``mean_kernel(y)``, if it is known.
    """
    within_y = mean_kernel(y) if y_with_itself is None else y_with_itself
    return mean_kernel(x) + within_y - 2 * mean_kernel(x, y)


def subset_kernel_distance(
    x: npt.NDArray[np.floating], y: npt.NDArray[np.floating], n_subsets: int, n_images_per_subset: int, seed: int
) -> float:
    """Mean of :func:`kernel_distance` over random subsets of both, as KID is usually computed.

    Args:
        x: Features (m, d).
        y: Features (n, d).
        n_subsets: How many.
        n_images_per_subset: Rows of x and of y in each, drawn without replacement; at most m and n.
        seed: Subset i depends on (seed, i) alone.
    """
    total = 0.0
    for number in range(n_subsets):
        rng = generator_for(seed, "kernel-distance-subset", number)
        rows, other = (rng.choice(len(part), n_images_per_subset, replace=False) for part in (x, y))
        total += kernel_distance(x[rows], y[other])
    return total / n_subsets


class KernelDistance:
    """See the module; the state is the reference's own term.

    Args:
        reference: Reference features, shared with other properties.
        n_subsets: 0: all images at once, which is exact and has no randomness; otherwise so many random subsets.
        n_images_per_subset: Only with subsets.
        seed: Of the subsets.
    """

    higher_is_better = False
    compares_with_reference = True

    def __init__(
        self, reference: ReferenceFeatures, n_subsets: int = 0, n_images_per_subset: int = 1000, seed: int = 0
    ) -> None:
        self.reference, self.extractor, self.parts = reference, reference.extractor, (reference,)
        self.name = "kid" if self.extractor.name == "inception" else f"kernel_distance_{self.extractor.name}"
        self.n_subsets, self.n_images_per_subset, self.seed = n_subsets, n_images_per_subset, seed
        self.n_images_needed = self.n_reference_images_needed = n_images_per_subset if n_subsets else 2
        drawn = {"n_images_per_subset": n_images_per_subset, "seed": seed} if n_subsets else {}
        self.parameters: dict[str, Any] = {"reference": reference.parameters, "n_subsets": n_subsets, **drawn}

    @classmethod
    def from_request(cls, request: Request) -> Self:
        """Build from the parameters and the reference that properties on these features share."""
        config = request.config
        return cls(request.reference, config.kernel_n_subsets, config.kernel_n_images_per_subset, config.seed)

    def fit(self, images: ImageArray, image_table: pd.DataFrame) -> dict[str, npt.NDArray[Any]]:
        """The reference with itself; its features are there already."""
        require_images(self.name, self.n_images_needed, self.reference.features, "reference images")
        return {"with_itself": np.array([0.0 if self.n_subsets else mean_kernel(self.reference.features)])}

    def restore(self, state: dict[str, npt.NDArray[Any]]) -> None:
        """Take what ``fit`` returned."""
        self._with_itself = float(state["with_itself"].item())

    def __call__(self, images: ImageArray) -> float:
        """Distance of images, uint8 NCHW in [0, 255], from the reference; about 0 or more."""
        require_images(self.name, self.n_images_needed, images)
        x, y = self.extractor(images).features, self.reference.features
        if self.n_subsets:
            return subset_kernel_distance(x, y, self.n_subsets, self.n_images_per_subset, self.seed)
        return kernel_distance(x, y, self._with_itself)
