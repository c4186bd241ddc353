from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save_file

from groupshap.properties.aesthetic import Aesthetic, AestheticQuantile, linear_scores
from groupshap.properties.extractors import ClipFeatures


def test_scores_by_hand():
    embeddings = np.array([[3.0, 4], [0, 2]])
    assert linear_scores(embeddings, np.array([10.0, 5]), 1.0) == pytest.approx([10 * 0.6 + 5 * 0.8 + 1, 6])


def test_mean_and_quantile_of_a_head_on_clip(towers, tmp_path, noise):
    clip, images = ClipFeatures(towers.clip_folder), noise(11, 3, 16, 16)
    weight = np.linspace(-1, 1, 16, dtype=np.float32)[None]
    save_file({"weight": weight, "bias": np.array([5], np.float32)}, tmp_path / "head.safetensors")
    embeddings = clip(images).features.astype(float)
    scores = embeddings @ weight[0] / np.linalg.norm(embeddings, axis=1) + 5
    assert Aesthetic(clip, tmp_path / "head.safetensors")(images) == pytest.approx(scores.mean())
    # The 0.9 quantile of eleven values is the second largest.
    assert AestheticQuantile(clip, tmp_path / "head.safetensors")(images) == pytest.approx(np.sort(scores)[-2])
    assert Aesthetic(clip, tmp_path / "head.safetensors").problems() == []


def test_a_head_of_another_model_is_refused(towers, tmp_path):
    clip = ClipFeatures(towers.clip_folder)
    save_file(
        {"weight": np.zeros((1, 768), np.float32), "bias": np.zeros(1, np.float32)}, tmp_path / "laion.safetensors"
    )
    save_file({"kernel": np.zeros(2)}, tmp_path / "other.safetensors")
    for file, words in (
        (None, "needs `aesthetic_head`, safetensors of a linear head, got nothing"),
        ("nowhere", "got no file at"),
        ("other.safetensors", r"expected `weight` \(1, d\) and `bias` \(1,\) in .*other.safetensors, got KeyError"),
        ("laion.safetensors", "takes embeddings of 768 numbers, but the model at `clip_weights` gives 16"),
    ):
        (problem,) = Aesthetic(clip, file and tmp_path / file).problems()
        with pytest.raises(ValueError, match=words):
            raise ValueError(problem)
