"""Colourfulness: how far the colours of an image lie from grey and from each other. A property without network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from groupshap.images import ImageArray

if TYPE_CHECKING:
    from groupshap.properties.request import Request

__all__ = ["Colourfulness", "ColourfulnessQuantile", "colourfulness", "colourfulness_of_each"]


def colourfulness_of_each(images: ImageArray) -> npt.NDArray[np.float64]:
    """Colourfulness (n_images,) of images, uint8 NCHW in [0, 255]; 0 for grey.

    σ_rgyb + 0.3 μ_rgyb, over opponent colours rg = R - G and yb = (R + G) / 2 - B; 15 is "slightly", 59 "quite", 109
    "extremely" colourful (Hasler & Süsstrunk 2003, Measuring colorfulness in natural images, section 7 and table 2).
    """
    values = np.empty(len(images))
    for number, image in enumerate(images):  # one by one: float copies of all would need eight times their memory
        red, green, blue = np.broadcast_to(image, (3, *image.shape[1:])).astype(np.float64)
        rg, yb = red - green, (red + green) / 2 - blue
        values[number] = np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean())
    return values


def colourfulness(images: ImageArray) -> float:
    """Mean of :func:`colourfulness_of_each`."""
    total = 0.0
    for value in colourfulness_of_each(images):  # in order: numpy's mean would round otherwise than older results
        total += value
    return float(total / len(images))


class Colourfulness:
    """See :func:`colourfulness`."""

    name = "colourfulness"
    higher_is_better = True

    def __call__(self, images: ImageArray) -> float:
        """Colourfulness of images, uint8 NCHW in [0, 255]; >= 0."""
        return colourfulness(images)


class ColourfulnessQuantile:
    """Quantile of the colourfulness of the images, by linear interpolation: what the best of them reach."""

    name = "colourfulness_quantile"
    higher_is_better = True

    def __init__(self, level: float = 0.9) -> None:
        self.level = level
        self.parameters = {"level": level}

    @classmethod
    def from_request(cls, request: Request) -> Self:
        """Build from the parameters."""
        return cls(request.config.score_quantile)

    def __call__(self, images: ImageArray) -> float:
        """Quantile of images, uint8 NCHW in [0, 255]; >= 0."""
        return float(np.quantile(colourfulness_of_each(images), self.level))
