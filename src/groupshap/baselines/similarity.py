"""Which training images look like the generated ones: cosines, distances, nearest neighbours.

Every score of a training image is its mean over the generated images. Embeddings of training images pass through in
chunks and are never kept, so memory does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from groupshap.baselines.aggregation import FloatArray
from groupshap.images import ImageArray
from groupshap.progress import progress, quiet

__all__ = [
    "Embedding",
    "NearestImages",
    "distance_scores",
    "mean_cosines",
    "neighbour_scores",
    "pixels",
    "similarity_scores",
    "unit",
]

Embedding = Callable[[ImageArray], npt.NDArray[np.floating]]
"""Images (n, channels, height, width) uint8 to vectors (n, d), each of its own image alone."""

_N_PER_CHUNK = 256
_SAME_DISTANCE = 1e-9


def pixels(images: ImageArray) -> FloatArray:
    """(n, channels * height * width) float64 in [-1, 1]: the embedding behind pixel similarity."""
    return images.reshape(len(images), -1).astype(np.float64) / 127.5 - 1.0


def unit(vectors: npt.NDArray[np.floating]) -> FloatArray:
    """(n, d) float64 of length 1; a vector of zeros, which has no direction, stays zero: its cosines are 0."""
    vectors = vectors.astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths == 0, 1.0, lengths)


def mean_cosines(vectors: npt.NDArray[np.floating], generated: npt.NDArray[np.floating]) -> FloatArray:
    """(n,) in [-1, 1]: mean over generated (m, d) of the cosine with each of vectors (n, d)."""
    return unit(vectors) @ unit(generated).mean(axis=0)


def similarity_scores(embedding: Embedding, images: ImageArray, generated: ImageArray) -> FloatArray:
    """(n_images,): :func:`mean_cosines` of the embeddings."""
    direction = unit(embedding(generated)).mean(axis=0)
    return np.concatenate([unit(vectors) @ direction for _, vectors in _chunks(embedding, images, "similarity")])


def distance_scores(embedding: Embedding, images: ImageArray) -> FloatArray:
    """(n_images,) >= 0: Euclidean distance of each embedding to the mean of all: who stands out."""
    centre = sum(vectors.sum(axis=0, dtype=np.float64) for _, vectors in _chunks(embedding, images, "mean embedding"))
    centre = centre / len(images)
    distances = [np.linalg.norm(vectors - centre, axis=1) for _, vectors in _chunks(embedding, images, "distances")]
    return np.concatenate(distances)


def neighbour_scores(embedding: Embedding, images: ImageArray, generated: ImageArray, n_neighbours: int) -> FloatArray:
    """(n_images,) that sum to 1: GMValuator's value of each training image (Yang et al. 2023, arXiv:2304.10701).

    A generated image is shared among its nearest training images by softmax(-distance). The distance has the form of
    LPIPS (Zhang et al. 2018, eq. 1), the squared difference of unit-length features, without its spatial axes and
    without its learnt weights, which no package carries.
    """
    nearest = NearestImages(embedding(generated), n_neighbours)
    for rows, vectors in _chunks(embedding, images, "neighbours"):
        nearest.add(rows, vectors)
    return nearest.scores(len(images))


class NearestImages:
    """The nearest training images of each generated one, found chunk by chunk.

    Args:
        generated: (n_generated, d) embeddings.
        n_neighbours: Kept per generated image; images as far as the last of them are kept too, so that the order of the
            images decides nothing and duplicates share alike.
    """

    def __init__(self, generated: npt.NDArray[np.floating], n_neighbours: int) -> None:
        self._generated = unit(generated)
        self._n_neighbours = n_neighbours
        self._found = [(np.empty(0, dtype=np.int64), np.empty(0)) for _ in generated]

    def add(self, rows: npt.NDArray[np.int64], vectors: npt.NDArray[np.floating]) -> None:
        """Consider the training images ``rows`` with the embeddings (len(rows), d)."""
        distances = np.maximum(2.0 - 2.0 * self._generated @ unit(vectors).T, 0.0)
        for number, new in enumerate(distances):
            known_rows, known = self._found[number]
            self._found[number] = self._closest(np.concatenate([known_rows, rows]), np.concatenate([known, new]))

    def _closest(self, rows: npt.NDArray[np.int64], distances: FloatArray) -> tuple[npt.NDArray[np.int64], FloatArray]:
        if len(rows) <= self._n_neighbours:
            return rows, distances
        last = np.partition(distances, self._n_neighbours - 1)[self._n_neighbours - 1]
        close = distances <= last + _SAME_DISTANCE
        return rows[close], distances[close]

    def scores(self, n_images: int) -> FloatArray:
        """(n_images,): mean over the generated images of the share of each training image."""
        shares = np.zeros(n_images)
        for rows, distances in self._found:
            weights = np.exp(distances.min() - distances)
            shares[rows] += weights / weights.sum()
        return shares / len(self._found)


def _chunks(
    embedding: Embedding, images: ImageArray, label: str
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.floating]]]:
    """Rows and embeddings, ``_N_PER_CHUNK`` images at a time."""
    with progress(label, len(images), unit="image") as bar:
        for first in range(0, len(images), _N_PER_CHUNK):
            rows = np.arange(first, min(first + _N_PER_CHUNK, len(images)))
            with quiet():
                vectors = embedding(images[rows])
            yield rows, vectors
            bar.update(len(rows))
