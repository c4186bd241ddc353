from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from torchmetrics.image.fid import FrechetInceptionDistance as TorchmetricsFid

from groupshap.properties.errors import PropertyError
from groupshap.properties.frechet import (
    FrechetDistance,
    FrechetInceptionDistance,
    frechet_distance,
    mean_and_covariance,
)


def rotation(rng, d):
    return np.linalg.qr(rng.normal(size=(d, d)))[0]


@settings(max_examples=30, deadline=None)
@given(d=st.integers(1, 12), rank1=st.integers(0, 12), rank2=st.integers(0, 12), seed=st.integers(0, 99))
def test_commuting_gaussians(d, rank1, rank2, seed):
    """|m1 - m2|^2 + sum (sqrt a - sqrt b)^2, for variances a, b along the same axes; some may be 0."""
    rng = np.random.default_rng(seed)
    axes, mean1, mean2 = rotation(rng, d), rng.normal(size=d), rng.normal(size=d)
    a, b = rng.uniform(0.1, 9, d) * (np.arange(d) < rank1), rng.uniform(0.1, 9, d) * (np.arange(d) < rank2)
    got = frechet_distance(mean1, axes * a @ axes.T, mean2, axes * b @ axes.T)
    assert got == pytest.approx(np.sum((mean1 - mean2) ** 2) + np.sum((np.sqrt(a) - np.sqrt(b)) ** 2), abs=1e-6)


def test_gaussians_on_two_lines():
    """Covariances u u' and w w': |u|^2 + |w|^2 - 2 |u'w|; the product of the two has no real square root in floats."""
    u, w = np.random.default_rng(0).normal(size=(2, 20))
    zero = np.zeros(20)
    expected = u @ u + w @ w - 2 * abs(u @ w)
    assert frechet_distance(zero, np.outer(u, u), zero, np.outer(w, w)) == pytest.approx(expected, abs=1e-6)


def test_a_singular_distribution_has_no_distance_from_itself():
    mean, covariance = mean_and_covariance(np.random.default_rng(0).normal(size=(10, 64)))
    assert 0 <= frechet_distance(mean, covariance, mean, covariance) < 1e-10


def test_shapes_must_fit():
    with pytest.raises(ValueError, match=r"one d, got the shapes \[\(2,\), \(2, 2\), \(3,\), \(3, 3\)\]"):
        frechet_distance(np.zeros(2), np.eye(2), np.zeros(3), np.eye(3))


def test_torchmetrics_agrees(pixels):
    class Pixels(torch.nn.Module):
        num_features = 12

        def forward(self, images):
            return images.flatten(1).double()

    rng = np.random.default_rng(0)
    real = rng.integers(0, 256, (60, 3, 2, 2), dtype=np.uint8)
    fake = rng.integers(50, 200, (40, 3, 2, 2), dtype=np.uint8)
    metric = TorchmetricsFid(feature=Pixels(), input_img_size=(3, 2, 2)).set_dtype(torch.float64)
    metric.update(torch.from_numpy(real), real=True)
    metric.update(torch.from_numpy(fake), real=False)
    ours = frechet_distance(*mean_and_covariance(real.reshape(60, -1)), *mean_and_covariance(fake.reshape(40, -1)))
    assert ours == pytest.approx(float(metric.compute()), rel=1e-6)
    fid = FrechetInceptionDistance(pixels)
    fid.restore(fid.fit(real, None))
    assert fid(fake) == pytest.approx(ours)
    few = mean_and_covariance(fake[:5].reshape(5, -1))  # fewer images than features
    assert fid(fake[:5]) == pytest.approx(frechet_distance(*mean_and_covariance(real.reshape(60, -1)), *few))


def test_it_orders_images_by_how_far_they_are_from_the_reference(digits, extractor):
    images, table = digits
    distance = FrechetDistance(extractor, n_components=16)
    distance.restore(distance.fit(images[:250], table[:250]))
    held_out = images[400:520]
    blurred = gaussian_filter(held_out.astype(float), (0, 0, 0.7, 0.7)).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, held_out.shape, dtype=np.uint8)
    few_kinds = images[400:][table["digit"][400:] < 3][:120]
    same, missing, blurry, random = (distance(x) for x in (held_out, few_kinds, blurred, noise))
    assert same < missing < random
    assert 2 * same < blurry < random


def test_few_images_have_fewer_components(extractor, noise):
    distance = FrechetDistance(extractor)
    images = noise(6, 3, 16, 16)
    state = distance.fit(images, None)
    distance.restore(state)
    assert state["components"].shape == (5, 1280)
    assert np.all(np.diff(state["variances"]) <= 0)
    assert distance(images) == pytest.approx(0, abs=1e-3)
    with pytest.raises(PropertyError, match="'frechet_efficientnet' needs at least 2 images for a covariance"):
        distance(images[:1])
