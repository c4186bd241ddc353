from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from groupshap.properties.base import PropertyError, measure, properties_recipe, resolve_properties
from groupshap.properties.config import PropertiesConfig
from groupshap.properties.extractors import ClipFeatures
from groupshap.properties.prompt_score import PromptScore, clip_scores


def test_scores_by_hand():
    images, prompts = np.array([[1.0, 0], [1, 0], [3, 4]]), np.array([[2.0, 0], [-1, 0], [0, 1]])
    assert clip_scores(images, prompts) == pytest.approx([2.5, 0, 2])


def test_score_of_images_and_their_prompts(towers, noise):
    (score,) = resolve_properties(PropertiesConfig(names="prompt_score_clip", clip_weights=str(towers.clip_folder)))
    images, prompts = noise(4, 3, 16, 16), ["a", "bad cad", "a", "deaf " * 20]
    letters = "abcdefghijklmnopqr"
    tokens = [[36, letters.index("a") + 18, 37], [36, 1, 0, 3 + 18, 2, 0, 3 + 18, 37]]
    long = [letters.index(c) + 18 * (c == "f") for c in "deaf" * 3][:10]
    tokens = [tokens[0], tokens[1], tokens[0], [36, *long, 37]]
    with torch.no_grad():
        texts = [
            towers.clip.text_projection(towers.clip.text_model(input_ids=torch.tensor([row])).pooler_output)[0]
            for row in tokens
        ]
    expected = clip_scores(ClipFeatures(towers.clip_folder)(images).features, np.stack([t.numpy() for t in texts]))
    assert expected.max() > 0
    assert measure([score], images, prompts) == {"prompt_score_clip": pytest.approx(expected.mean(), abs=1e-5)}
    with pytest.raises(PropertyError, match="needs prompts, which only text-to-image models have; leave it out"):
        measure([score], images)
    with pytest.raises(PropertyError, match="one prompt per image, got 3 for 4 images"):
        measure([score], images, prompts[:3])


def test_the_tokenizer_is_needed_and_is_a_part_of_the_recipe(towers, tmp_path):
    folder = shutil.copytree(towers.clip_folder, tmp_path / "clip")
    chosen = PropertiesConfig(names="prompt_score_clip", clip_weights=str(folder))
    before = properties_recipe(chosen)
    (folder / "merges.txt").write_text("#version: 0.2\na b\n")
    assert properties_recipe(chosen) != before
    (folder / "merges.txt").unlink()
    assert "to be a folder with config.json and a tokenizer" in PromptScore(ClipFeatures(folder)).problems()[0]
