from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import logm

from groupshap.properties.errors import PropertyError
from groupshap.properties.features import normalised
from groupshap.properties.vendi import VendiScore, vendi_score


def test_it_counts_different_images():
    assert vendi_score(np.eye(7)) == pytest.approx(7)
    assert vendi_score(np.eye(7)[[2] * 5]) == pytest.approx(1)
    assert vendi_score(np.eye(4)[[0, 0, 1, 2]]) == pytest.approx(2**1.5)  # shares 1/2, 1/4, 1/4: 1.5 bits
    cosine = 0.6  # eigenvalues (1 ± cosine) / 2
    shares = np.array([0.8, 0.2])
    two = np.array([[1, 0], [cosine, 0.8]])
    assert vendi_score(two) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))


@pytest.mark.parametrize(("n", "d"), [(5, 9), (9, 5)])
def test_it_is_the_entropy_of_a_density_matrix(n, d):
    """exp(-tr K/n log K/n) by the matrix logarithm; more rows than columns make K singular, up to a breath of noise."""
    rows = normalised(np.random.default_rng(0).normal(size=(n, d)))
    matrix = rows @ rows.T / n + 1e-13 * np.eye(n)
    assert vendi_score(rows) == pytest.approx(np.exp(-np.trace(matrix @ logm(matrix)).real), rel=1e-9)


def test_images_without_features_have_no_direction(pixels, noise):
    assert 1 < VendiScore(pixels)(noise(5, 3, 4, 4)) < 5
    with pytest.raises(PropertyError, match="2 images have zero features"):
        VendiScore(pixels)(np.zeros((2, 3, 4, 4), np.uint8))
