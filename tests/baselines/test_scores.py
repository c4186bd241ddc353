"""Aggregation, similarities and neighbours on cases that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from groupshap.baselines import similarity
from groupshap.baselines.aggregation import by_contributor
from groupshap.baselines.similarity import distance_scores, mean_cosines, neighbour_scores, pixels, similarity_scores

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (40, 3, 4, 4), dtype=np.uint8)
GENERATED = RNG.integers(0, 256, (7, 3, 4, 4), dtype=np.uint8)


def test_sum_mean_and_max_are_of_each_contributors_own_images():
    scores, players = np.array([1.0, 5.0, -2.0, 4.0]), np.array([1, 0, 1, 1])
    found = by_contributor(scores, players, 2)
    assert {name: row.tolist() for name, row in found.items()} == {"sum": [5, 3], "mean": [5, 1], "max": [5, 4]}


def test_the_order_of_the_images_changes_no_bit_of_a_sum():
    scores, players = RNG.standard_normal(500), RNG.integers(0, 4, 500)
    order = RNG.permutation(500)
    once, again = by_contributor(scores, players, 4), by_contributor(scores[order], players[order], 4)
    assert all((once[name] == again[name]).all() for name in once)


def test_contributors_without_images_and_scores_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="each of 3 contributors"):
        by_contributor(np.ones(4), np.array([0, 0, 2, 2]), 3)
    with pytest.raises(ValueError, match="1 that are not finite"):
        by_contributor(np.array([1.0, np.nan]), np.array([0, 1]), 2)


def test_pixel_similarity_is_the_mean_cosine_of_all_pairs():
    x, y = pixels(IMAGES), pixels(GENERATED)
    assert (x.min(), x.max()) == (-1, 1)
    cosines = [[np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b) for b in y] for a in x]
    np.testing.assert_allclose(mean_cosines(x, y), np.mean(cosines, axis=1), rtol=1e-12)
    np.testing.assert_allclose(similarity_scores(pixels, IMAGES, GENERATED), np.mean(cosines, axis=1), rtol=1e-12)


def test_the_distance_is_to_the_mean_of_all_embeddings():
    x = pixels(IMAGES)
    np.testing.assert_allclose(distance_scores(pixels, IMAGES), np.linalg.norm(x - x.mean(axis=0), axis=1))


def neighbours_at_once(n_neighbours):
    x, y = similarity.unit(pixels(IMAGES)), similarity.unit(pixels(GENERATED))
    distances = ((y[:, None] - x[None]) ** 2).sum(axis=2)
    scores = np.zeros(len(x))
    for row in distances:
        nearest = np.argsort(row)[:n_neighbours]
        scores[nearest] += np.exp(-row[nearest]) / np.exp(-row[nearest]).sum() / len(y)
    return scores


@pytest.mark.parametrize("n_neighbours", [1, 5, 1000])
@pytest.mark.parametrize("n_per_chunk", [3, 256])
def test_neighbours_found_in_chunks_are_those_found_at_once(n_neighbours, n_per_chunk, monkeypatch):
    monkeypatch.setattr(similarity, "_N_PER_CHUNK", n_per_chunk)
    found = neighbour_scores(pixels, IMAGES, GENERATED, n_neighbours)
    np.testing.assert_allclose(found, neighbours_at_once(n_neighbours), atol=1e-12)
    assert found.sum() == pytest.approx(1)


def test_a_duplicate_of_the_last_neighbour_shares_with_it():
    nearest = np.argmax(neighbours_at_once(1))
    found = neighbour_scores(pixels, np.concatenate([IMAGES, IMAGES[[nearest]]]), GENERATED, 1)
    assert found[nearest] == pytest.approx(found[-1])
    assert found[nearest] == pytest.approx(neighbours_at_once(1)[nearest] / 2)
