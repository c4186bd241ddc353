"""Image embeddings of CLIP (Radford et al. 2021, arXiv:2103.00020) from a weights file of your own.

Nothing is downloaded. The file is a safetensors state dict with the names that transformers gives a CLIP model or its
vision part with projection, such as ``model.safetensors`` of ``openai/clip-vit-base-patch32``; it may hold the text
part too.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (torch's own habit)

from groupshap.errors import UserError
from groupshap.images import ImageArray

__all__ = ["ClipEmbedding", "ClipWeightsError"]

_CHANNEL_MEANS = (0.48145466, 0.4578275, 0.40821073)
_CHANNEL_DEVIATIONS = (0.26862954, 0.26130258, 0.27577711)
_HEAD_WIDTH = 64  # of every published CLIP vision transformer
_BATCH = 32


class ClipWeightsError(UserError, ValueError):
    """The file does not hold the weights of a CLIP vision model."""


class ClipEmbedding:
    """Vectors (n_images, d) float32 of images, uint8 in [0, 255]; sizes are read off the weights.

    Args:
        weights: See the module.

    Raises:
        ClipWeightsError: no such file, or other weights; names the first that is missing.
    """

    def __init__(self, weights: str | Path) -> None:
        try:
            with safe_open(weights, framework="pt") as file:
                names = [name for name in file.keys() if name.startswith("vis")]  # noqa: SIM118 - not a dict
                self._weights = {name: file.get_tensor(name).float() for name in names}
            self._n_layers = 1 + max(int(name.split(".")[3]) for name in names if ".encoder.layers." in name)
            self._positions = self["vision_model.embeddings.position_embedding.weight"]
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise ClipWeightsError(
                f"`clip_weights`: expected safetensors of a CLIP vision model with projection at {weights}, got "
                f"{type(error).__name__}: {error}."
            ) from error

    def __getitem__(self, name: str) -> Tensor:
        return self._weights[name]

    def __call__(self, images: ImageArray) -> npt.NDArray[np.float32]:
        """Embeddings of images (n, 1 or 3, height, width); grey is repeated."""
        parts = [self._embed(images[first : first + _BATCH]) for first in range(0, len(images), _BATCH)]
        return np.concatenate(parts)

    @torch.inference_mode()
    def _embed(self, images: ImageArray) -> npt.NDArray[np.float32]:
        tokens = self._tokens(self._pixels(images))
        for number in range(self._n_layers):
            tokens = self._layer(tokens, f"vision_model.encoder.layers.{number}")
        summary = self._norm(tokens[:, 0], "vision_model.post_layernorm")
        return (summary @ self["visual_projection.weight"].T).numpy()

    def _pixels(self, images: ImageArray) -> Tensor:
        """(n, 3, side, side) as in training: bicubic, then standardised per channel."""
        rgb = np.broadcast_to(images, (len(images), 3, *images.shape[2:])).astype(np.float32) / 255
        side = (
            round((len(self._positions) - 1) ** 0.5) * self["vision_model.embeddings.patch_embedding.weight"].shape[-1]
        )
        scaled = F.interpolate(torch.from_numpy(rgb), (side, side), mode="bicubic", antialias=True).clamp(0, 1)
        means, deviations = (torch.tensor(row)[:, None, None] for row in (_CHANNEL_MEANS, _CHANNEL_DEVIATIONS))
        return (scaled - means) / deviations

    def _tokens(self, x: Tensor) -> Tensor:
        """(n, 1 + n_patches, width): the summary token, then the patches, with their positions."""
        kernel = self["vision_model.embeddings.patch_embedding.weight"]
        patches = F.conv2d(x, kernel, stride=kernel.shape[-1]).flatten(2).transpose(1, 2)
        summary = self["vision_model.embeddings.class_embedding"].expand(len(x), 1, -1)
        # The misspelling is that of the published names.
        return self._norm(torch.cat([summary, patches], dim=1) + self._positions, "vision_model.pre_layrnorm")

    def _layer(self, tokens: Tensor, name: str) -> Tensor:
        """(n, n_tokens, width) to the same: attention, then perceptron, each after its norm and added."""
        normed = self._norm(tokens, f"{name}.layer_norm1")
        query, key, value = (
            self._linear(normed, f"{name}.self_attn.{part}_proj").unflatten(-1, (-1, _HEAD_WIDTH)).transpose(1, 2)
            for part in "qkv"
        )
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        tokens = tokens + self._linear(mixed, f"{name}.self_attn.out_proj")
        inner = self._linear(self._norm(tokens, f"{name}.layer_norm2"), f"{name}.mlp.fc1")
        return tokens + self._linear(inner * torch.sigmoid(1.702 * inner), f"{name}.mlp.fc2")

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self[f"{name}.weight"], self[f"{name}.bias"])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        weight = self[f"{name}.weight"]
        return F.layer_norm(x, weight.shape, weight, self[f"{name}.bias"])
