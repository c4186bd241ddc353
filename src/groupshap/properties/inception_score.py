"""Inception-score form on the classes of a network. Higher is better.

High when each image is clearly of one ImageNet class and the classes differ (Salimans et al. 2016, arXiv:1606.03498,
section 4). On faces, emoji or drawings the classes mean little: it measures how distinct and how varied the images look
to this network. All images form one split, so values with different numbers of images are not comparable. It is called
Inception Score with the weights that the literature used, and by the network's name otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt
from scipy.special import rel_entr, softmax

from groupshap.images import ImageArray
from groupshap.properties.errors import PropertyError
from groupshap.properties.features import FeatureExtractor

if TYPE_CHECKING:
    from groupshap.properties.request import Request

__all__ = ["InceptionScore", "inception_score"]


def inception_score(probabilities: npt.NDArray[np.float64]) -> float:
    """exp(mean_x KL(p(y|x) || p(y))) with p(y) = mean_x p(y|x); in [1, n_classes].

    Args:
        probabilities: p(y|x), (n_images, n_classes), rows that sum to 1.
    """
    marginal = probabilities.mean(axis=0)
    return float(np.exp(rel_entr(probabilities, marginal).sum(axis=1).mean()))  # 0 log 0 = 0


class InceptionScore:
    """See the module."""

    higher_is_better = True

    def __init__(self, extractor: FeatureExtractor) -> None:
        self.extractor = extractor
        self.name = "inception_score" if extractor.name == "inception" else f"inception_{extractor.name}"

    @classmethod
    def from_request(cls, request: Request) -> Self:
        """Build from the extractor that all properties on these features share."""
        return cls(request.extractor)

    def __call__(self, images: ImageArray) -> float:
        """Score in [1, n_classes] of images, uint8 NCHW in [0, 255]."""
        logits = self.extractor(images).logits
        if logits is None:
            raise PropertyError(f"property '{self.name}': the network '{self.extractor.name}' knows no classes.")
        return inception_score(softmax(logits.astype(np.float64), axis=1))
