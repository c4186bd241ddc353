"""Small images and networks for the tests of properties."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits

from groupshap.properties.features import EfficientNetFeatures, Features


@pytest.fixture(scope="session")
def digits():
    """1,797 grey images (n, 1, 8, 8) uint8 and their table with the column ``digit``."""
    data = load_digits()
    images = np.rint(data.images * (255 / 16)).astype(np.uint8)[:, None]
    return images, pd.DataFrame({"digit": data.target})


@pytest.fixture(scope="session")
def extractor():
    """The packaged network at a size that is quick."""
    return EfficientNetFeatures(image_size_px=32)


class Pixels(EfficientNetFeatures):
    """Pixels as features: what a property makes of features can be worked out by hand."""

    name = "pixels"

    def _features_of(self, images):
        return Features(images.reshape(len(images), -1).astype(np.float32), None)


@pytest.fixture
def pixels():
    """An extractor without network."""
    return Pixels()


@pytest.fixture
def noise():
    """Random images: ``noise(shape)``."""
    return lambda *shape: np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


_SIZE = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 2}
_VISION = {"image_size": 16, "patch_size": 8, **_SIZE}


@pytest.fixture(scope="session")
def towers(tmp_path_factory):
    """Tiny random CLIP and BLIP models of transformers, and the folders where it saved them."""
    from transformers import BlipVisionConfig, BlipVisionModel, CLIPConfig, CLIPModel

    tokens = {
        "vocab_size": 40,
        "max_position_embeddings": 12,
        "bos_token_id": 36,
        "eos_token_id": 37,
        "pad_token_id": 37,
    }
    vision = {**_VISION, "hidden_act": "gelu"}
    clip = CLIPModel(CLIPConfig(text_config={**tokens, **_SIZE}, vision_config=vision, projection_dim=16)).eval()
    blip = torch.nn.ModuleDict({"vision_model": BlipVisionModel(BlipVisionConfig(**_VISION))}).eval()
    generator = torch.Generator().manual_seed(0)
    for value in [*clip.parameters(), *blip.parameters()]:
        value.data = torch.randn(value.shape, generator=generator) * 0.3
    folder = tmp_path_factory.mktemp("towers")
    clip.save_pretrained(folder / "clip")
    letters = "abcdefghijklmnopqr"
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "clip" / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "clip" / "merges.txt").write_text("#version: 0.2\n")
    (folder / "blip").mkdir()
    save_file(blip.state_dict(), folder / "blip" / "model.safetensors")
    (folder / "blip" / "config.json").write_text(json.dumps({"vision_config": _VISION}))
    return SimpleNamespace(
        clip=clip, blip=blip["vision_model"], clip_folder=folder / "clip", blip_folder=folder / "blip"
    )
