"""Fréchet distance between generated and reference images, in features of a network. Lower is better.

Both sets are described by mean and covariance of their features, as if these were Gaussian (Heusel et al. 2017,
arXiv:1706.08500, eq. 6). It is called FID on all features of Inception-v3 with the weights of the literature, and never
so otherwise.

* Computed in the first principal components of the *reference's* features (64 by default), but for FID. A few hundred
  images cannot fill a covariance of 1280 dimensions; what generated images do outside these components is not seen.
* Biased upwards with few images, even for a perfect model, and more so for a more varied one (Chong & Forsyth 2020,
  arXiv:1911.07023). Compare values of equal numbers of images only, as this project does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh

from groupshap.images import ImageArray
from groupshap.properties.errors import require_images
from groupshap.properties.features import FeatureExtractor

if TYPE_CHECKING:
    import pandas as pd

    from groupshap.properties.request import Request

__all__ = [
    "FrechetDistance",
    "FrechetInceptionDistance",
    "frechet_distance",
    "frechet_distance_of_features",
    "mean_and_covariance",
]

FloatArray = npt.NDArray[np.float64]


def frechet_distance(mean1: FloatArray, covariance1: FloatArray, mean2: FloatArray, covariance2: FloatArray) -> float:
    """Squared 2-Wasserstein distance of two Gaussians; means (d,), covariances (d, d), perhaps singular.

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1^½ S2 S1^½)^½)   (Dowson & Landau 1982, eq. 16)

    Raises:
        ValueError: shapes that do not fit.
    """
    d = len(mean1)
    shapes = [np.shape(array) for array in (mean1, covariance1, mean2, covariance2)]
    if shapes != [(d,), (d, d), (d,), (d, d)]:
        raise ValueError(f"expected means (d,) and covariances (d, d) of one d, got the shapes {shapes}.")
    # The trace of that root is the sum of the singular values of S1^½ S2^½. Unlike the root of eigenvalues it does not
    # turn rounding of 1e-16 into 1e-8 where a covariance is singular, and nothing becomes complex.
    overlap = np.linalg.svd(_root(covariance1) @ _root(covariance2), compute_uv=False).sum()
    distance = np.sum((mean1 - mean2) ** 2) + np.trace(covariance1) + np.trace(covariance2) - 2 * overlap
    return max(0.0, float(distance))  # equal arguments may round to -1e-15


def frechet_distance_of_features(mean: FloatArray, root: FloatArray, features: npt.NDArray[np.floating]) -> float:
    """:func:`frechet_distance` to the mean and covariance of features (n, d), n >= 2, fast where n < d.

    S2 = Y' Y for the centred features Y / √(n-1), and S1^½ Y' (d, n) has the singular values of S1^½ S2^½ (d, d).

    Args:
        mean: (d,).
        root: S1^½, (d, d), symmetric.
        features: (n, d).
    """
    features = features.astype(np.float64)
    n, d = features.shape
    other_mean = features.mean(axis=0)
    y = (features - other_mean) / np.sqrt(n - 1)
    if n > d:
        y = _root(y.T @ y)
    overlap = np.linalg.svd(root @ y.T, compute_uv=False).sum()
    return max(0.0, float(np.sum((mean - other_mean) ** 2) + np.sum(root**2) + np.sum(y**2) - 2 * overlap))


def _root(covariance: FloatArray) -> FloatArray:
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def mean_and_covariance(features: npt.NDArray[np.floating]) -> tuple[FloatArray, FloatArray]:
    """Mean (d,) and unbiased covariance (d, d), float64, of features (n, d) with n >= 2."""
    features = features.astype(np.float64)
    return features.mean(axis=0), np.atleast_2d(np.cov(features, rowvar=False))


class FrechetDistance:
    """See the module; the state is the reference's mean, components and variances along them."""

    higher_is_better = False
    compares_with_reference = True
    n_images_needed = n_reference_images_needed = 2

    def __init__(self, extractor: FeatureExtractor, n_components: int = 64) -> None:
        self.extractor = extractor
        self.name = f"frechet_{extractor.name}"
        self.n_components = n_components
        self.parameters = {"n_components": n_components}

    @classmethod
    def from_request(cls, request: Request) -> Self:
        """Build from the parameters and the extractor that all properties on these features share."""
        return cls(request.extractor, request.config.n_frechet_components)

    def fit(self, images: ImageArray, image_table: pd.DataFrame) -> dict[str, npt.NDArray[Any]]:
        """Principal components of the features of images, uint8 NCHW; at most (number of images - 1) of them."""
        require_images(self.name, 2, images, "reference images for a covariance")
        mean, covariance = mean_and_covariance(self.extractor(images).features)
        n_components = min(self.n_components, len(images) - 1, len(mean))
        variances, vectors = eigh(covariance, subset_by_index=[len(mean) - n_components, len(mean) - 1])
        return {
            "mean": mean,
            "components": np.ascontiguousarray(vectors.T[::-1]),  # (n_components, d), largest variance first
            "variances": np.maximum(variances[::-1], 0),
        }

    def restore(self, state: dict[str, npt.NDArray[Any]]) -> None:
        """Take what ``fit`` returned."""
        self._mean, self._components, self._variances = (state[key] for key in ("mean", "components", "variances"))

    def describe(self) -> str:
        """How many components were kept."""
        return f"in the first {len(self._components)} principal components of the reference's features"

    def __call__(self, images: ImageArray) -> float:
        """Distance of images, uint8 NCHW in [0, 255], at least two, from the reference; >= 0."""
        require_images(self.name, 2, images, "images for a covariance")
        projected = (self.extractor(images).features - self._mean) @ self._components.T
        mean, covariance = mean_and_covariance(projected)
        return frechet_distance(np.zeros_like(mean), np.diag(self._variances), mean, covariance)


class FrechetInceptionDistance:
    """FID: all 2048 features of Inception-v3, no components; the state is the reference's mean and root of covariance.

    With fewer than 2048 images covariances are singular, which the formula bears; the bias of few images is large.
    Published numbers use 10,000 to 50,000 generated images.
    """

    name = "fid"
    higher_is_better = False
    compares_with_reference = True
    n_images_needed = n_reference_images_needed = 2

    def __init__(self, extractor: FeatureExtractor) -> None:
        self.extractor = extractor

    @classmethod
    def from_request(cls, request: Request) -> Self:
        """Build from the extractor that all properties on these features share."""
        return cls(request.extractor)

    def fit(self, images: ImageArray, image_table: pd.DataFrame) -> dict[str, npt.NDArray[Any]]:
        """Mean and root of the covariance of the features of images, uint8 NCHW."""
        require_images(self.name, 2, images, "reference images for a covariance")
        mean, covariance = mean_and_covariance(self.extractor(images).features)
        return {"mean": mean, "root": _root(covariance)}

    def restore(self, state: dict[str, npt.NDArray[Any]]) -> None:
        """Take what ``fit`` returned."""
        self._mean, self._root = state["mean"], state["root"]

    def __call__(self, images: ImageArray) -> float:
        """FID of images, uint8 NCHW in [0, 255], at least two; >= 0."""
        require_images(self.name, 2, images, "images for a covariance")
        return frechet_distance_of_features(self._mean, self._root, self.extractor(images).features)
