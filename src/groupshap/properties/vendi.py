"""Vendi score: the effective number of different images, without any reference. Higher is better.

The exponential of the entropy of the eigenvalues of a similarity matrix (Friedman & Dieng 2023, arXiv:2210.02410,
section 3); similarity is the cosine of features. n equal images count 1, n orthogonal ones n. It grows with the number
of images: compare equal numbers only. Noise is diverse too: read it beside a quality property.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from groupshap.images import ImageArray
from groupshap.properties.features import FeatureExtractor, normalised

if TYPE_CHECKING:
    from groupshap.properties.request import Request

__all__ = ["VendiScore", "vendi_score"]


def vendi_score(features: npt.NDArray[np.floating]) -> float:
    """exp(-Σ λ ln λ) of the eigenvalues λ of X X' / n, in [1, min(n, d)].

    Args:
        features: X, (n, d), rows of length 1.
    """
    n, d = features.shape
    features = features.astype(np.float64)
    # X X' (n, n) and X' X (d, d) have the same eigenvalues but for zeros, which count nothing: take the smaller one.
    smaller = features @ features.T if n <= d else features.T @ features
    values = np.linalg.eigvalsh(smaller / n)
    values = values[values > 0]
    return float(np.exp(-np.sum(values * np.log(values))))


class VendiScore:
    """See the module."""

    higher_is_better = True

    def __init__(self, extractor: FeatureExtractor) -> None:
        self.extractor = extractor
        self.name = f"vendi_{extractor.name}"

    @classmethod
    def from_request(cls, request: Request) -> Self:
        """Build from the extractor that all properties on these features share."""
        return cls(request.extractor)

    def __call__(self, images: ImageArray) -> float:
        """Score in [1, number of images] of images, uint8 NCHW in [0, 255]."""
        return vendi_score(normalised(self.extractor(images).features))
