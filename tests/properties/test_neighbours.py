from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from groupshap.properties.base import fit_properties, measure
from groupshap.properties.errors import PropertyError
from groupshap.properties.neighbours import Coverage, Density, Precision, Recall, balls_around, neighbour_radii
from groupshap.properties.reference import ReferenceFeatures


def by_scikit_learn(reference, generated, k):
    """Precision, recall, density, coverage, from neighbours found one by one."""

    def radii(x):
        return NearestNeighbors(n_neighbors=k + 1, algorithm="brute").fit(x).kneighbors(x)[0][:, -1]

    distances = np.linalg.norm(generated[:, None] - reference, axis=2)
    in_real, in_fake = distances <= radii(reference), radii(generated) >= distances.T
    return (
        in_real.any(axis=1).mean(),
        in_fake.any(axis=1).mean(),
        in_real.sum() / k / len(generated),
        in_real.any(axis=0).mean(),
    )


def test_a_line_by_hand():
    """Centres 0, 1, 3 with the radii 1, 1, 2 of their nearest neighbours; the border at 5 belongs to the ball."""
    centres = np.array([[0.0], [1.0], [3.0]])
    radii = neighbour_radii(centres, 1)
    assert radii == pytest.approx([1, 1, 4])
    assert balls_around(np.array([[0.5], [-1.0], [5.0], [5.1], [1.0]]), centres, radii).tolist() == [2, 1, 1, 0, 3]


def test_scikit_learn_agrees(pixels, noise):
    images = noise(900, 1, 1, 3)
    reference, generated = images[:600], images[600:] // 2 + 20
    kinds = (Precision, Recall, Density, Coverage)
    shared = ReferenceFeatures(pixels)
    properties = [kind(shared, 3) for kind in kinds]
    fit_properties(properties, reference, range(600))
    expected = by_scikit_learn(reference.reshape(600, 3).astype(float), generated.reshape(300, 3).astype(float), 3)
    assert list(measure(properties, generated).values()) == pytest.approx(expected, abs=1e-12)


def test_copies_are_precise_but_cover_little(pixels, noise):
    """Equal images are neighbours at distance 0: rounding must not throw them out of each other's balls."""
    images = noise(40, 3, 16, 16)
    shared = ReferenceFeatures(pixels)
    properties = [kind(shared, 2) for kind in (Precision, Recall, Density, Coverage)]
    fit_properties(properties, np.repeat(images, 3, axis=0), range(120))
    found = measure(properties, np.repeat(images[:10], 3, axis=0))
    assert found["precision_pixels"] == found["density_pixels"] * 2 / 3 == 1
    assert found["coverage_pixels"] == found["recall_pixels"] == 0.25


def test_too_few_images_are_refused(pixels, noise):
    recall = Recall(ReferenceFeatures(pixels), 5)
    fit_properties([recall], noise(9, 3, 4, 4), range(9))
    with pytest.raises(PropertyError, match="'recall_pixels' needs at least 6 generated images, got 5"):
        measure([recall], noise(5, 3, 4, 4))
    with pytest.raises(PropertyError, match="'density_pixels' needs at least 6 reference images, got 5"):
        fit_properties([Density(ReferenceFeatures(pixels), 5)], noise(5, 3, 4, 4), range(5))
