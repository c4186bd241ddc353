from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file

from groupshap.grouping.assemble import group_images
from groupshap.grouping.config import DataGroupingConfig
from groupshap.grouping.sources import SOURCES, avatars
from groupshap.properties.base import fit_properties, restore_properties
from groupshap.properties.diversity import DiversityEntropy, entropy_bits, nearest_centroid
from groupshap.properties.errors import PropertyError
from groupshap.properties.labels import colour_embedding, fit_labels, recognise


def fitted(diversity: DiversityEntropy, images, table) -> DiversityEntropy:
    diversity.restore(diversity.fit(images, table))
    return diversity


def test_entropy_of_known_shares():
    assert entropy_bits(np.full(8, 5)) == pytest.approx(3)
    assert str(entropy_bits(np.array([9, 0, 0]))) == "0.0"  # not -0.0
    assert entropy_bits(np.array([2, 1, 1, 0])) == pytest.approx(1.5)


def test_nearest_centroid_is_that_of_the_plain_distances():
    rng = np.random.default_rng(0)
    points, centroids = rng.normal(size=(50, 6)), rng.normal(size=(5, 6))
    plain = np.linalg.norm(points[:, None] - centroids, axis=2).argmin(axis=1)
    assert np.array_equal(nearest_centroid(points, centroids), plain)


def test_labels_of_a_column_are_the_clusters(digits, extractor, tmp_path):
    images, table = digits
    diversity = DiversityEntropy(extractor, "digit")
    state = fit_properties([diversity], images[:800], table[:800])
    save_file(state, tmp_path / "state.safetensors")  # as workers get it
    restore_properties([diversity], load_file(tmp_path / "state.safetensors"))
    rest, labels = images[800:], table["digit"][800:].to_numpy()
    assert diversity(rest) == pytest.approx(np.log2(10), abs=0.02)
    assert diversity(rest[labels == 0]) < 0.2
    assert diversity(rest[(labels == 0) | (labels == 6)]) == pytest.approx(1, abs=0.2)
    assert diversity.describe().startswith("labels of column 'digit' (0, 1, 2, 3, 4, 5, 6, 7, 8, 9), recognised in 9")


def test_two_labels_and_missing_ones(digits, extractor):
    images, table = digits
    column = table["digit"].map({0: "zero", 1: "one"})  # the others: missing
    diversity = fitted(DiversityEntropy(extractor, "kind"), images, pd.DataFrame({"kind": column}))
    zeros, ones = (images[table["digit"] == digit][:50] for digit in (0, 1))
    assert diversity(np.concatenate([zeros, ones])) == pytest.approx(1, abs=0.01)
    assert diversity(zeros) == 0
    is_one = (table["digit"] == 1)[:200].astype(int).to_numpy()
    assert np.mean(recognise(images[:200], *fit_labels(images[:200], is_one)) == is_one) > 0.95


def test_skin_tones_of_the_avatars(tmp_path, extractor, monkeypatch):
    """With 12 images of each of three designers; with 192 of all ten it is 0.95."""
    monkeypatch.setattr(avatars, "STYLES", ("micah", "personas", "toon-head"))  # a style takes a second to be read
    config = DataGroupingConfig(n_images_per_contributor=24)
    data = group_images(SOURCES["avatars"](config, tmp_path), config)
    fit_on, rest = np.arange(len(data.images)) % 2 == 0, np.arange(len(data.images)) % 2 == 1
    tones = data.image_table["skin_tone"].to_numpy()
    labels, codes = np.unique(tones, return_inverse=True)
    recognised = recognise(data.images[rest], *fit_labels(data.images[fit_on], codes[fit_on]))
    assert np.mean(labels[recognised] == tones[rest]) > 0.75
    diversity = fitted(DiversityEntropy(extractor), data.images, data.image_table)
    assert diversity.describe().startswith("labels of column 'skin_tone' (dark, light, mid), recognised in")
    assert diversity(data.images) == pytest.approx(entropy_bits(np.bincount(codes)), abs=0.05)
    assert diversity(data.images[tones == "dark"]) < 0.1


def test_without_labels_clusters_of_features(digits, extractor):
    images, table = digits
    with_one_tone = table[:200].assign(skin_tone="light")  # nothing to tell apart
    diversity = DiversityEntropy(extractor, "auto", n_clusters=4)
    state = diversity.fit(images[:200], with_one_tone)
    assert all(np.array_equal(state[key], again) for key, again in diversity.fit(images[:200], table[:200]).items())
    diversity.restore(state)
    assert state["centroids"].shape == (4, 1280)
    assert 1 < diversity(images[:200]) <= 2
    assert diversity(images[:1]) == 0
    assert diversity.describe() == "4 k-means clusters of EfficientNet-Lite0 features"


def test_fewer_images_than_clusters(digits, extractor):
    images, table = digits
    state = DiversityEntropy(extractor, "none").fit(images[[0, 1, 1]], table[:3])
    assert len(state["centroids"]) == 2
    with pytest.raises(PropertyError, match="two different images, got 2 equal"):
        DiversityEntropy(extractor, "none").fit(images[[0, 0]], table[:2])


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("tone", "expected a column 'tone' .* got the columns digit, image_id, same"),
        ("image_id", "got 1797 in 'image_id' for 1797 images"),
        ("same", "at least two labels .* got 1 in 'same'"),
    ],
)
def test_useless_columns_are_refused(column, words, digits, extractor):
    images, table = digits
    table = table.assign(image_id=np.arange(len(table)), same="x")
    with pytest.raises(PropertyError, match=words):
        DiversityEntropy(extractor, column).fit(images, table)


def test_embedding_averages_large_images_and_keeps_shares(noise):
    blocks = noise(3, 3, 16, 16)
    large = np.repeat(np.repeat(blocks, 3, axis=2), 3, axis=3)
    np.testing.assert_allclose(colour_embedding(large), colour_embedding(blocks), atol=1e-12)
    odd = colour_embedding(np.full((1, 1, 21, 37), 102, dtype=np.uint8))  # 102 / 255 is the third of six grey levels
    assert odd.shape == (1, 6 + 16 * 16)
    np.testing.assert_allclose(odd[0, :6], [0, 0, 1, 0, 0, 0], atol=1e-7)
    np.testing.assert_allclose(odd[0, 6:], 0.4)


def test_images_of_another_kind_are_refused(digits, noise):
    images, table = digits
    learnt = fit_labels(images[:100], table["digit"][:100].to_numpy())
    with pytest.raises(ValueError, match="must have the channels and the size of the reference"):
        recognise(noise(2, 3, 8, 8), *learnt)
