"""CLIP's vision transformer against torch's own layers, on random weights of published names."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from groupshap.baselines.clip import ClipEmbedding, ClipWeightsError

WIDTH, PATCH, N_LAYERS = 128, 8, 2
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 1, 16, 16), dtype=np.uint8)


def random_weights():
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(shape, generator=generator) / shape[-1] ** 0.5

    weights = {
        "vision_model.embeddings.class_embedding": normal(WIDTH),
        "vision_model.embeddings.patch_embedding.weight": normal(WIDTH, 3, PATCH, PATCH),
        "vision_model.embeddings.position_embedding.weight": normal(5, WIDTH),
        "vision_model.embeddings.position_ids": torch.arange(5),
        "visual_projection.weight": normal(32, WIDTH),
        "text_projection.weight": normal(32, WIDTH),
    }
    layers = [f"encoder.layers.{number}" for number in range(N_LAYERS)]
    norms = ["pre_layrnorm", "post_layernorm", *(f"{layer}.layer_norm{i}" for layer in layers for i in (1, 2))]
    weights |= {f"vision_model.{name}.{part}": normal(WIDTH) for name in norms for part in ("weight", "bias")}
    sizes = {f"self_attn.{part}_proj": (WIDTH, WIDTH) for part in ("q", "k", "v", "out")}
    sizes |= {"mlp.fc1": (4 * WIDTH, WIDTH), "mlp.fc2": (WIDTH, 4 * WIDTH)}
    for layer in layers:
        for name, (n_out, n_in) in sizes.items():
            weights[f"vision_model.{layer}.{name}.weight"] = normal(n_out, n_in)
            weights[f"vision_model.{layer}.{name}.bias"] = normal(n_out)
    return weights


def by_torch(weights, pixels):
    """The same from nn.TransformerEncoderLayer."""
    own = {name.removeprefix("vision_model."): value for name, value in weights.items()}

    def norm(x, name):
        return nn.functional.layer_norm(x, (WIDTH,), own[f"{name}.weight"], own[f"{name}.bias"])

    patches = nn.functional.unfold(pixels, PATCH, stride=PATCH).transpose(1, 2)
    patches = patches @ own["embeddings.patch_embedding.weight"].flatten(1).T
    summary = own["embeddings.class_embedding"].expand(len(pixels), 1, WIDTH)
    x = norm(torch.cat([summary, patches], dim=1) + own["embeddings.position_embedding.weight"], "pre_layrnorm")
    for number in range(N_LAYERS):
        at = f"encoder.layers.{number}"
        layer = nn.TransformerEncoderLayer(
            WIDTH,
            WIDTH // 64,
            4 * WIDTH,
            0.0,
            lambda y: y * torch.sigmoid(1.702 * y),
            batch_first=True,
            norm_first=True,
        ).eval()
        stacked = {
            f"self_attn.in_proj_{part}": torch.cat([own[f"{at}.self_attn.{i}_proj.{part}"] for i in "qkv"])
            for part in ("weight", "bias")
        }
        names = {"self_attn.out_proj": "self_attn.out_proj", "linear1": "mlp.fc1", "linear2": "mlp.fc2"}
        names |= {"norm1": "layer_norm1", "norm2": "layer_norm2"}
        renamed = {f"{a}.{part}": own[f"{at}.{b}.{part}"] for a, b in names.items() for part in ("weight", "bias")}
        layer.load_state_dict(stacked | renamed)
        x = layer(x)
    return norm(x[:, 0], "post_layernorm") @ own["visual_projection.weight"].T


def test_the_embedding_is_that_of_torchs_own_layers(tmp_path):
    weights = random_weights()
    save_file(weights, tmp_path / "clip.safetensors")
    found = ClipEmbedding(tmp_path / "clip.safetensors")(IMAGES)
    grey = torch.from_numpy(IMAGES.repeat(3, axis=1)).float() / 255  # 16 px is the side: nothing is scaled
    means, deviations = torch.tensor([0.4815, 0.4578, 0.4082]), torch.tensor([0.2686, 0.2613, 0.2758])
    with torch.no_grad():
        expected = by_torch(weights, (grey - means[:, None, None]) / deviations[:, None, None])
    np.testing.assert_allclose(found, expected.numpy(), atol=2e-3)
    assert found.shape == (3, 32)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ClipWeightsError, match="nowhere"):
        ClipEmbedding(tmp_path / "nowhere.safetensors")
    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ClipWeightsError, match="CLIP vision model with projection"):
        ClipEmbedding(tmp_path / "other.safetensors")
