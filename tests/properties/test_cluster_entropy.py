from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import adjusted_rand_score

from groupshap.properties.clusters import ClusterEntropy, ward_centroids
from groupshap.properties.diversity import nearest_centroid
from groupshap.properties.errors import PropertyError


def blobs(numbers, size=6):
    """Images (n, 3, 2, 2) of directions 0, 1, 2 ..., of random brightness, which normalising takes away."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, size, (len(numbers), 12), dtype=np.uint8)
    images[np.arange(len(numbers)), numbers] = rng.integers(60, 250, len(numbers))
    return images.reshape(-1, 3, 2, 2)


@pytest.mark.parametrize("method", ["kmeans", "ward"])
def test_shares_of_known_clusters(method, pixels):
    entropy = ClusterEntropy(pixels, 4, method)
    images = blobs(np.repeat([0, 1, 2, 3], 20))
    state = entropy.fit(images, None)
    assert all(
        np.array_equal(value, again)
        for value, again in zip(state.values(), entropy.fit(images, None).values(), strict=True)
    )
    np.testing.assert_array_less(np.linalg.norm(state["centroids"], axis=1), 1)
    entropy.restore(state)
    assert entropy(images) == pytest.approx(2)
    assert entropy(images[:20]) == 0
    assert entropy(blobs([0, 1, 2, 2])) == pytest.approx(1.5)


def test_ward_is_that_of_scikit_learn():
    points = np.random.default_rng(0).normal(size=(80, 5))
    ours = nearest_centroid(points, ward_centroids(points, 6))
    theirs = AgglomerativeClustering(6, linkage="ward").fit_predict(points)
    means = np.stack([points[theirs == number].mean(axis=0) for number in range(6)])
    assert adjusted_rand_score(ours, nearest_centroid(points, means)) == 1


def test_what_cannot_be_clustered_is_refused(pixels, monkeypatch):
    with pytest.raises(PropertyError, match=r"at least 3 different reference images \(`n_clusters`\), got 2"):
        ClusterEntropy(pixels, 3).fit(blobs([0, 1])[[0, 1, 1]], None)
    monkeypatch.setattr("groupshap.properties.clusters.N_IMAGES_OF_WARD", 3)
    with pytest.raises(PropertyError, match="takes at most 3 reference images, got 4; set `cluster_method` to kmeans"):
        ClusterEntropy(pixels, 3, "ward").fit(blobs([0, 1, 2, 2]), None)
