"""CLIP and BLIP in our torch against transformers, on random weights; and refusals before anything is loaded."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from groupshap.properties.catalogue import EXTRACTOR_NAMES
from groupshap.properties.errors import PropertyError
from groupshap.properties.extractors import EXTRACTORS, BlipFeatures, ClipFeatures


def standardised(images):
    """16 px is the side: nothing is scaled."""
    means, deviations = torch.tensor([0.4815, 0.4578, 0.4082]), torch.tensor([0.2686, 0.2613, 0.2758])
    rgb = torch.from_numpy(images.repeat(4 - images.shape[1] if images.shape[1] == 1 else 1, axis=1)).float() / 255
    return (rgb - means[:, None, None]) / deviations[:, None, None]


def test_embeddings_are_those_of_transformers(towers, noise):
    images = noise(3, 1, 16, 16)
    with torch.no_grad():
        clip = towers.clip.visual_projection(towers.clip.vision_model(standardised(images)).pooler_output)
        blip = towers.blip(standardised(images)).pooler_output
    np.testing.assert_allclose(ClipFeatures(towers.clip_folder)(images).features, clip.numpy(), atol=2e-3)
    np.testing.assert_allclose(BlipFeatures(towers.blip_folder)(images).features, blip.numpy(), atol=2e-3)
    assert ClipFeatures(towers.clip_folder).n_features() == 16
    alone = ClipFeatures(towers.clip_folder / "model.safetensors")(images[2:]).features
    assert np.array_equal(alone, ClipFeatures(towers.clip_folder)(images).features[2:])


def test_without_config_heads_are_64_wide_and_activations_as_published(towers, tmp_path, noise):
    folder = shutil.copytree(towers.clip_folder, tmp_path / "clip")
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"] |= {"hidden_act": "quick_gelu", "num_attention_heads": 1}
    (folder / "config.json").write_text(json.dumps(config))
    assert ClipFeatures(folder).recipe() != ClipFeatures(towers.clip_folder).recipe()
    weights = {name: widened(value) for name, value in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors")
    found = ClipFeatures(folder)(noise(2, 3, 16, 16)).features
    (folder / "config.json").unlink()
    assert np.array_equal(ClipFeatures(folder)(noise(2, 3, 16, 16)).features, found)
    (folder / "config.json").write_text('{"vision_config": {"hidden_act": "swish"}}')
    with pytest.raises(PropertyError, match="`hidden_act` is 'swish', expected one of quick_gelu, gelu"):
        ClipFeatures(folder)(noise(2, 3, 16, 16))


def widened(value):
    """Twice as many of what there were 32 of."""
    for axis, side in enumerate(value.shape):
        if side == 32:
            value = torch.cat([value, value.flip(axis)], dim=axis)
    return value


def test_other_files_are_refused(tmp_path):
    assert "no file is at" in ClipFeatures(tmp_path / "nowhere.safetensors").problems()[0]
    assert "model.safetensors" in BlipFeatures(tmp_path).problems()[0]
    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    for cls in (ClipFeatures, BlipFeatures):
        assert f"`{cls.parameter}`: expected {cls.what}, got" in cls(tmp_path / "other.safetensors").problems()[0]
    half = {
        "vision_model.embeddings.patch_embedding.weight": torch.zeros(2, 3, 8, 8),
        "visual_projection.weight": torch.zeros(2, 2),
    }
    save_file(half, tmp_path / "half.safetensors")
    with pytest.raises(PropertyError, match=r"embeddings\.position_embedding"):
        ClipFeatures(tmp_path / "half.safetensors")(np.zeros((1, 3, 8, 8), np.uint8))


def test_the_catalogue_knows_all_extractors():
    assert tuple(EXTRACTORS) == EXTRACTOR_NAMES
