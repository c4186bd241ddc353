"""Aesthetic score: a linear function of CLIP's image embedding, learnt from people's ratings. Higher is better.

With LAION's head for ViT-L/14 it is the score of the paper's third experiment, about 1 to 10. What it calls beautiful
is what raters of web images liked. The head is a safetensors file with ``weight`` (1, d) and ``bias`` (1,), for LAION's
made from ``sa_0_4_vit_l_14_linear.pth``; it fits only the CLIP model that it was learnt on.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from groupshap.images import ImageArray
from groupshap.properties.errors import PropertyError
from groupshap.properties.extractors import ClipFeatures
from groupshap.properties.features import normalised
from groupshap.store import sha256_of_file

if TYPE_CHECKING:
    from groupshap.properties.request import Request

__all__ = ["Aesthetic", "AestheticQuantile", "linear_scores"]

FloatArray = npt.NDArray[np.float64]


def linear_scores(embeddings: npt.NDArray[np.floating], weight: FloatArray, bias: float) -> FloatArray:
    """W · e / |e| + b of each row e of embeddings (n, d); weight (d,)."""
    return normalised(embeddings) @ weight + bias


class Aesthetic:
    """Mean score of the images; see the module.

    Args:
        extractor: CLIP.
        head: Path of the head; None: not given.
    """

    name = "aesthetic_clip"
    higher_is_better = True

    def __init__(self, extractor: ClipFeatures, head: str | Path | None) -> None:
        self.extractor = extractor
        self.head = None if head is None else Path(head)

    @classmethod
    def from_request(cls, request: Request) -> Self:
        """Build from the parameters and the extractor that all properties on these features share."""
        return cls(request.extractor, request.config.aesthetic_head)

    @property
    def parameters(self) -> dict[str, Any]:
        """What the score depends on."""
        return {"head_sha256": sha256_of_file(self.head or "")}

    def problems(self) -> list[str]:
        """What is wrong with the head, or that it does not fit the embedding."""
        if self.head is None or not self.head.is_file():
            where = "nothing" if self.head is None else f"no file at {self.head}"
            return [f"property '{self.name}' needs `aesthetic_head`, safetensors of a linear head, got {where}"]
        try:
            weight, _ = self._head
        except PropertyError as error:
            return [str(error)]
        if not self.extractor.problems() and len(weight) != self.extractor.n_features():
            return [
                f"property '{self.name}': `aesthetic_head` takes embeddings of {len(weight)} numbers, but the model at "
                f"`clip_weights` gives {self.extractor.n_features()}; name the head of this model"
            ]
        return []

    @cached_property
    def _head(self) -> tuple[FloatArray, float]:
        from safetensors import SafetensorError  # noqa: PLC0415 - only where such a file is named
        from safetensors.numpy import load_file  # noqa: PLC0415

        try:
            head = load_file(str(self.head))
            return head["weight"].astype(np.float64).reshape(-1), float(head["bias"].item())
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise PropertyError(
                f"property '{self.name}': expected `weight` (1, d) and `bias` (1,) in {self.head}, got "
                f"{type(error).__name__}: {error}"
            ) from error

    def scores(self, images: ImageArray) -> FloatArray:
        """Scores (n_images,) of images, uint8 NCHW in [0, 255]."""
        return linear_scores(self.extractor(images).features, *self._head)

    def __call__(self, images: ImageArray) -> float:
        """Mean score of images, uint8 NCHW in [0, 255]."""
        return float(self.scores(images).mean())


class AestheticQuantile(Aesthetic):
    """Quantile of the scores, by linear interpolation: what the best images reach. The paper's is 0.9.

    Args:
        extractor: CLIP.
        head: Path of the head; None: not given.
        level: In (0, 1).
    """

    name = "aesthetic_quantile_clip"

    def __init__(self, extractor: ClipFeatures, head: str | Path | None, level: float = 0.9) -> None:
        super().__init__(extractor, head)
        self.level = level

    @classmethod
    def from_request(cls, request: Request) -> Self:
        """Build from the parameters and the extractor that all properties on these features share."""
        return cls(request.extractor, request.config.aesthetic_head, request.config.score_quantile)

    @property
    def parameters(self) -> dict[str, Any]:
        """What the quantile depends on."""
        return super().parameters | {"level": self.level}

    def __call__(self, images: ImageArray) -> float:
        """Quantile of the scores of images, uint8 NCHW in [0, 255]."""
        return float(np.quantile(self.scores(images), self.level))
