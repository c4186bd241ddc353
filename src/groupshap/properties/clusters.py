"""Cluster entropy: how evenly generated images fall into clusters of the reference, in bits. Higher is better.

The diversity of the paper (its section on CelebA-HQ), with two repairs: features are brought to length 1, so that
Ward's criterion and means are those of a Euclidean space, and clusters are fitted once, to the reference images, and
stored.
Every image counts for the cluster with the nearest centroid; also noise lands in some cluster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import numpy.typing as npt

from groupshap.images import ImageArray
from groupshap.properties.diversity import entropy_bits, kmeans_centroids, nearest_centroid
from groupshap.properties.errors import PropertyError, require_images
from groupshap.properties.features import FeatureExtractor, normalised

if TYPE_CHECKING:
    import pandas as pd

    from groupshap.properties.request import Request

__all__ = ["N_IMAGES_OF_WARD", "ClusterEntropy", "ward_centroids"]

FloatArray = npt.NDArray[np.float64]

N_IMAGES_OF_WARD = 20_000
"""At most: Ward's method keeps all distances, 1.6 GB for so many."""


def ward_centroids(points: FloatArray, n_clusters: int) -> FloatArray:
    """Centroids (n_clusters, d) of the clusters of points (n, d) by Ward's minimum variance (1963)."""
    from scipy.cluster.hierarchy import cut_tree, linkage  # noqa: PLC0415 - workers do not need it

    members = cut_tree(linkage(points, method="ward"), n_clusters=n_clusters)[:, 0]
    return np.stack([points[members == number].mean(axis=0) for number in range(n_clusters)])


class ClusterEntropy:
    """See the module; the state is the centroids.

    Args:
        extractor: Of which features.
        n_clusters: At most as many as there are different reference images.
        method: ``kmeans`` or ``ward``.
        seed: Start of k-means.
    """

    higher_is_better = True
    compares_with_reference = True

    def __init__(
        self,
        extractor: FeatureExtractor,
        n_clusters: int = 10,
        method: Literal["kmeans", "ward"] = "kmeans",
        seed: int = 0,
    ) -> None:
        self.extractor, self.n_clusters, self.method, self.seed = extractor, n_clusters, method, seed
        self.name = f"cluster_entropy_{extractor.name}"
        self.n_reference_images_needed = n_clusters
        self.parameters = {"n_clusters": n_clusters, "method": method}
        if method == "kmeans":
            self.parameters["seed"] = seed

    @classmethod
    def from_request(cls, request: Request) -> Self:
        """Build from the parameters and the extractor that all properties on these features share."""
        config = request.config
        return cls(request.extractor, config.n_clusters, config.cluster_method, config.seed)

    def fit(self, images: ImageArray, image_table: pd.DataFrame) -> dict[str, npt.NDArray[Any]]:
        """Clusters of images, uint8 NCHW in [0, 255].

        Raises:
            PropertyError: fewer different images than clusters, or too many images for Ward.
        """
        different = {image.tobytes() for image in images}
        require_images(self.name, self.n_clusters, different, "different reference images (`n_clusters`)")
        if self.method == "kmeans":
            return {"centroids": kmeans_centroids(self._points(images), self.n_clusters, self.seed)}
        if len(images) > N_IMAGES_OF_WARD:
            raise PropertyError(
                f"property '{self.name}': Ward's method takes at most {N_IMAGES_OF_WARD} reference images, got "
                f"{len(images)}; set `cluster_method` to kmeans."
            )
        return {"centroids": ward_centroids(self._points(images), self.n_clusters)}

    def restore(self, state: dict[str, npt.NDArray[Any]]) -> None:
        """Take what ``fit`` returned."""
        self._centroids = state["centroids"]

    def __call__(self, images: ImageArray) -> float:
        """Entropy in [0, log2 n_clusters] bits of images, uint8 NCHW in [0, 255]."""
        return entropy_bits(np.bincount(nearest_centroid(self._points(images), self._centroids)))

    def _points(self, images: ImageArray) -> FloatArray:
        return normalised(self.extractor(images).features)
