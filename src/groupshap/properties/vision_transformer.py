"""Vision transformers of CLIP and BLIP in plain torch, from their published weights.

CLIP: Radford et al. 2021 (arXiv:2103.00020). BLIP: Li et al. 2022 (arXiv:2201.12086). Names are those that transformers
gives the weights. Both put a norm before attention and before the perceptron (Dosovitskiy et al. 2021,
arXiv:2010.11929, eq. 1 to 4); they differ in where else they norm and in what stands for the image at the end.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (torch's own habit)

__all__ = ["TowerSettings", "VisionTransformer", "blip_image_tower", "clip_image_tower", "scaled_pixels"]

_CHANNEL_MEANS = (0.48145466, 0.4578275, 0.40821073)
_CHANNEL_DEVIATIONS = (0.26862954, 0.26130258, 0.27577711)
_HEAD_WIDTH = 64  # of OpenAI's CLIP and Salesforce's BLIP transformers, for files that come without config.json

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "gelu": F.gelu,
}


@dataclass(frozen=True)
class TowerSettings:
    """What weights do not tell about themselves.

    Attributes:
        activation: Of the perceptrons.
        n_heads: Of attention; None: one for every 64 of the width.
        epsilon: Of the norms.
    """

    activation: str
    n_heads: int | None = None
    epsilon: float = 1e-5

    @classmethod
    def beside(cls, weights: Path, *, activation: str) -> TowerSettings:
        """From ``vision_config`` of config.json beside the weights, where there is one.

        Raises:
            ValueError: an activation that is not implemented.
        """
        file = weights.parent / "config.json"
        found: Mapping[str, Any] = json.loads(file.read_text("utf-8")) if file.is_file() else {}
        found = found.get("vision_config", found) or {}
        activation = found.get("hidden_act", activation)
        if activation not in ACTIVATIONS:
            raise ValueError(f"{file}: `hidden_act` is {activation!r}, expected one of {', '.join(ACTIVATIONS)}")
        return cls(activation, found.get("num_attention_heads"), found.get("layer_norm_eps", 1e-5))


class VisionTransformer:
    """The layers that CLIP and BLIP share, sizes read off the weights.

    Args:
        weights: Tensors by name, without the tower's own prefix, names of the layers as in CLIP.
        settings: The rest.
    """

    def __init__(self, weights: Mapping[str, Tensor], settings: TowerSettings) -> None:
        self.weights, self.settings = weights, settings
        self.n_layers = 1 + max(int(name.split(".")[2]) for name in weights if name.startswith("encoder.layers."))
        self.patch_px = int(weights["embeddings.patch_embedding.weight"].shape[-1])
        self.n_patches = len(weights["embeddings.position_embedding"]) - 1
        self.side_px = round(self.n_patches**0.5) * self.patch_px
        width = len(weights["embeddings.class_embedding"])
        self.n_heads = settings.n_heads or width // _HEAD_WIDTH

    def tokens(self, pixels: Tensor) -> Tensor:
        """(n, 1 + n_patches, width): the summary token, then the patches, of pixels (n, 3, side_px, side_px)."""
        kernel, bias = (self.weights.get(f"embeddings.patch_embedding.{part}") for part in ("weight", "bias"))
        patches = F.conv2d(pixels, kernel, bias, stride=self.patch_px).flatten(2).transpose(1, 2)
        summary = self.weights["embeddings.class_embedding"].expand(len(pixels), 1, -1)
        return torch.cat([summary, patches], dim=1) + self.weights["embeddings.position_embedding"]

    def encode(self, tokens: Tensor) -> Tensor:
        """(n, n_tokens, width) to the same, through all layers."""
        for number in range(self.n_layers):
            tokens = self._layer(tokens, f"encoder.layers.{number}")
        return tokens

    def norm(self, x: Tensor, name: str) -> Tensor:
        """Layer norm by the weights of this name."""
        weight = self.weights[f"{name}.weight"]
        return F.layer_norm(x, weight.shape, weight, self.weights[f"{name}.bias"], self.settings.epsilon)

    def _layer(self, tokens: Tensor, name: str) -> Tensor:
        """Attention, then perceptron, each after its norm and added."""
        normed = self.norm(tokens, f"{name}.layer_norm1")
        query, key, value = (
            self._linear(normed, f"{name}.self_attn.{part}_proj").unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
            for part in "qkv"
        )
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        tokens = tokens + self._linear(mixed, f"{name}.self_attn.out_proj")
        inner = ACTIVATIONS[self.settings.activation](
            self._linear(self.norm(tokens, f"{name}.layer_norm2"), f"{name}.mlp.fc1")
        )
        return tokens + self._linear(inner, f"{name}.mlp.fc2")

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])


def scaled_pixels(images: Tensor, side_px: int) -> Tensor:
    """(n, 3, side_px, side_px) float32 as in training: bicubic, then standardised per channel; of uint8 RGB."""
    scaled = F.interpolate(images.float() / 255, (side_px, side_px), mode="bicubic", antialias=True).clamp(0, 1)
    rows = (_CHANNEL_MEANS, _CHANNEL_DEVIATIONS)
    means, deviations = (torch.tensor(row, device=images.device)[:, None, None] for row in rows)
    return (scaled - means) / deviations


def clip_image_tower(weights: Path, device: str = "cpu") -> Callable[[Tensor], Tensor]:
    """CLIP's image embedding (n, d) of images (n, 3, height, width) uint8; not normalised.

    Raises:
        KeyError, ValueError: other weights; names the first that is missing.
        SafetensorError, OSError: no such file, or another format.
    """
    own = _read(weights, "vision_model.", device) | {
        "projection": _read(weights, "visual_projection.", device)["weight"]
    }
    own["embeddings.position_embedding"] = own["embeddings.position_embedding.weight"]
    tower = VisionTransformer(own, TowerSettings.beside(weights, activation="quick_gelu"))
    return partial(_clip, tower)


def _clip(tower: VisionTransformer, images: Tensor) -> Tensor:
    # The misspelling is that of the published names.
    tokens = tower.norm(tower.tokens(scaled_pixels(images, tower.side_px)), "pre_layrnorm")
    return tower.norm(tower.encode(tokens)[:, 0], "post_layernorm") @ tower.weights["projection"].T


def blip_image_tower(weights: Path, device: str = "cpu") -> Callable[[Tensor], Tensor]:
    """BLIP's pooled image vector (n, width) of images (n, 3, height, width) uint8; not normalised.

    Raises:
        KeyError, ValueError: other weights; names the first that is missing.
        SafetensorError, OSError: no such file, or another format.
    """
    own: dict[str, Tensor] = {}
    for name, value in _read(weights, "vision_model.", device).items():
        if ".self_attn.qkv." in name:
            own |= {name.replace(".qkv.", f".{part}_proj."): rows for part, rows in zip("qkv", value.chunk(3))}  # noqa: B905
        else:
            own[name.replace(".self_attn.projection.", ".self_attn.out_proj.")] = value
    for name in ("class_embedding", "position_embedding"):
        own[f"embeddings.{name}"] = own[f"embeddings.{name}"].squeeze(0)
    own["embeddings.class_embedding"] = own["embeddings.class_embedding"].flatten()
    tower = VisionTransformer(own, TowerSettings.beside(weights, activation="gelu"))
    return partial(_blip, tower)


def _blip(tower: VisionTransformer, images: Tensor) -> Tensor:
    tokens = tower.encode(tower.tokens(scaled_pixels(images, tower.side_px)))
    # Twice the same norm: so was it trained.
    return tower.norm(tower.norm(tokens[:, 0], "post_layernorm"), "post_layernorm")


def _read(weights: Path, prefix: str, device: str) -> dict[str, Tensor]:
    """The tensors whose names start so, as float32, without that start."""
    with safe_open(weights, framework="pt") as file:
        names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118 - not a dict
        if not names:
            raise KeyError(f"{prefix}*")
        return {name.removeprefix(prefix): file.get_tensor(name).float().to(device) for name in names}
