"""Diversity: entropy, in bits, of the shares that clusters have among the generated images. Higher is better.

Every image counts for exactly one cluster, the most probable: the paper's rule for CelebA-HQ. With shares summed from
probabilities instead, a blurry image, which could be anything, would count as diverse.

Clusters are the labels of a column (for the avatars three skin tones, so at most log2 3 = 1.58 bits), recognised by
:mod:`groupshap.properties.labels`; or, without labels, k-means clusters of EfficientNet-Lite0 features, fitted once on
the reference images. An image always lands in some cluster, also pure noise: read diversity beside a quality property.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from groupshap.images import ImageArray
from groupshap.properties.about import as_array, from_array
from groupshap.properties.errors import PropertyError
from groupshap.properties.features import FeatureExtractor
from groupshap.properties.label_column import find_column, label_codes
from groupshap.properties.labels import colour_embedding, fit_linear, held_out_accuracy, recognise

if TYPE_CHECKING:
    import pandas as pd

    from groupshap.properties.request import Request

__all__ = ["DiversityEntropy", "entropy_bits", "kmeans_centroids", "nearest_centroid"]

_SETTING = "diversity_label_column"


def entropy_bits(counts: npt.NDArray[np.int64]) -> float:
    """-Σ p log2 p of the shares p = counts / Σ counts; counts (n_clusters,), 0 log 0 = 0; in [0, log2 n_clusters]."""
    shares = counts[counts > 0] / counts.sum()
    return max(0.0, float(-np.sum(shares * np.log2(shares))))  # one cluster gives -0.0


def kmeans_centroids(points: npt.NDArray[np.float64], n_clusters: int, seed: int) -> npt.NDArray[np.float64]:
    """Centroids (n_clusters, d) of points (n, d) by k-means++, the best of four starts."""
    from sklearn.cluster import KMeans  # noqa: PLC0415  (1 s, and workers do not need it)

    return KMeans(n_clusters, n_init=4, random_state=seed).fit(points).cluster_centers_


def nearest_centroid(features: npt.NDArray[np.floating], centroids: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Index (n,) of the centroid (n_clusters, d) closest to each of features (n, d)."""
    # |x - c|^2 without |x|^2, which is the same for all centroids
    return np.argmin((centroids**2).sum(axis=1) - 2 * features.astype(np.float64) @ centroids.T, axis=1)


class DiversityEntropy:
    """See the module; the state is a linear classifier or centroids, and a text that says which.

    Args:
        extractor: Used only without labels.
        label_column: A column of the image table, ``auto`` (``skin_tone`` where it exists with at least two labels,
            otherwise k-means) or ``none`` (k-means).
        n_clusters: Only without labels; at most as many as there are different images.
        seed: Start of k-means, choice of the held-out images.
    """

    name = "diversity_entropy"
    higher_is_better = True

    def __init__(
        self, extractor: FeatureExtractor, label_column: str = "auto", n_clusters: int = 10, seed: int = 0
    ) -> None:
        self.extractor = extractor
        self.label_column, self.n_clusters, self.seed = label_column, n_clusters, seed
        # Format 1 stored the weights of three or more labels in an order in which they could not be read back.
        self.parameters = {"format": 2, "label_column": label_column, "n_clusters": n_clusters, "seed": seed}

    @classmethod
    def from_request(cls, request: Request) -> Self:
        """Build from the parameters and the extractor that all properties share."""
        config = request.config
        return cls(request.extractor, config.diversity_label_column, config.n_clusters, config.seed)

    def fit(self, images: ImageArray, image_table: pd.DataFrame) -> dict[str, npt.NDArray[Any]]:
        """Learn the clusters from the reference images, uint8 NCHW in [0, 255].

        Raises:
            PropertyError: no such column, fewer than two labels, labels that are almost all different, or fewer than
                two different images.
        """
        column = self._column(image_table)
        if column is None:
            return self._fit_clusters(images)
        return self._fit_labels(images, image_table[column], column)

    def table_problems(self, image_table: pd.DataFrame) -> list[str]:
        """What the image table lacks."""
        try:
            self._column(image_table)
        except PropertyError as error:
            return [str(error)]
        return []

    def _column(self, image_table: pd.DataFrame) -> str | None:
        return find_column(self.label_column, image_table, self.name, _SETTING)

    def _fit_labels(self, images: ImageArray, column: pd.Series, name: str) -> dict[str, npt.NDArray[Any]]:
        has_label, labels, codes = label_codes(column, name, self.name, _SETTING)
        embedded = colour_embedding(images[has_label])
        accuracy = held_out_accuracy(embedded, codes, self.seed)
        weights, biases = fit_linear(embedded, codes)
        about = {"column": name, "labels": labels, "held_out_accuracy": accuracy}
        return {"weights": weights, "biases": biases, "about": as_array(about)}

    def _fit_clusters(self, images: ImageArray) -> dict[str, npt.NDArray[Any]]:
        n_different = len({image.tobytes() for image in images})
        if n_different < 2:
            raise PropertyError(f"property '{self.name}' needs at least two different images, got {len(images)} equal.")
        points = self.extractor(images).features.astype(np.float64)
        centroids = kmeans_centroids(points, min(self.n_clusters, n_different), self.seed)
        return {"centroids": centroids, "about": as_array({"column": None})}

    def restore(self, state: dict[str, npt.NDArray[Any]]) -> None:
        """Take what ``fit`` returned."""
        self._about = from_array(state["about"])
        self._weights, self._biases, self._centroids = (state.get(key) for key in ("weights", "biases", "centroids"))

    def describe(self) -> str:
        """What the clusters are."""
        if self._about["column"] is None:
            return f"{len(self._centroids)} k-means clusters of EfficientNet-Lite0 features"
        labels, accuracy = self._about["labels"], self._about["held_out_accuracy"]
        known = "" if accuracy is None else f", recognised in {accuracy:.1%} of held-out images"
        named = ", ".join(labels[:10]) + (f" and {len(labels) - 10} more" if len(labels) > 10 else "")
        return f"labels of column '{self._about['column']}' ({named}){known}"

    def __call__(self, images: ImageArray) -> float:
        """Entropy in [0, log2 n_clusters] bits of images, uint8 NCHW in [0, 255]."""
        if self._centroids is None:
            clusters = recognise(images, self._weights, self._biases)
        else:
            clusters = nearest_centroid(self.extractor(images).features, self._centroids)
        return entropy_bits(np.bincount(clusters))
