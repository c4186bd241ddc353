from __future__ import annotations

import numpy as np
import pytest
import torch
from torchmetrics.image.kid import KernelInceptionDistance

from groupshap.properties.base import fit_properties
from groupshap.properties.errors import PropertyError
from groupshap.properties.kernel_distance import KernelDistance, kernel_distance, subset_kernel_distance
from groupshap.properties.reference import ReferenceFeatures


def test_two_by_two_by_hand():
    """d = 1: k(a, b) = (ab + 1)³; within x: 1, within y: 27, between: 1, 1, 8, 27 -> mean 37 / 4."""
    assert kernel_distance(np.array([[0.0], [1.0]]), np.array([[1.0], [2.0]])) == pytest.approx(1 + 27 - 2 * 37 / 4)


def test_torchmetrics_agrees(noise):
    class Pixels(torch.nn.Module):
        num_features = 12

        def forward(self, images):
            return images.flatten(1).double()

    real, fake = noise(600, 3, 2, 2), noise(600, 3, 2, 2)[::-1] // 2
    metric = KernelInceptionDistance(feature=Pixels(), subsets=1, subset_size=600).set_dtype(torch.float64)
    metric.update(torch.from_numpy(real), real=True)
    metric.update(torch.from_numpy(fake.copy()), real=False)
    ours = kernel_distance(fake.reshape(600, -1).astype(np.float32), real.reshape(600, -1).astype(np.float32))
    assert ours == pytest.approx(float(metric.compute()[0]), rel=1e-6)


def test_subsets_have_the_same_mean_and_need_no_luck():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 3)), rng.normal(0.5, 1, size=(80, 3))
    means = [subset_kernel_distance(x, y, 400, 20, seed) for seed in (0, 0, 1)]
    assert means[0] == means[1] != means[2]
    assert means[0] == pytest.approx(kernel_distance(x, y), rel=0.1)
    assert subset_kernel_distance(x, y[:60], 1, 60, 0) == pytest.approx(kernel_distance(x, y[:60]), rel=1e-12)


def test_the_property_is_unbiased_and_says_what_it_needs(pixels, digits):
    images, table = digits
    order = np.random.default_rng(0).permutation(len(images))
    images, table = images[order], table.iloc[order]
    reference = ReferenceFeatures(pixels, n_images_at_most=500)
    distance = KernelDistance(reference)
    state = fit_properties([distance], images[:900], table[:900])
    assert distance.name == "kernel_distance_pixels"
    assert state["reference-pixels.features"].shape == (500, 64)
    parts = [distance(part) for part in np.array_split(images[900:], 8)]
    few_kinds = distance(images[900:][(table["digit"] < 3)[900:]])
    assert abs(np.mean(parts)) < 0.02 * few_kinds
    assert KernelDistance(reference, 5, 50).parameters != distance.parameters
    with pytest.raises(PropertyError, match="'kernel_distance_pixels' needs at least 501 reference images, got 500"):
        KernelDistance(reference, 5, 501).fit(images, table)
