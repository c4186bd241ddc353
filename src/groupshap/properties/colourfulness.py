"""Colourfulness: how far the colours of an image lie from grey and from each other. A property without network."""

from __future__ import annotations

import numpy as np

from groupshap.images import ImageArray

__all__ = ["Colourfulness", "colourfulness"]


def colourfulness(images: ImageArray) -> float:
    """Mean over images, uint8 NCHW in [0, 255], of the colourfulness of each; 0 for grey.

    σ_rgyb + 0.3 μ_rgyb, over opponent colours rg = R - G and yb = (R + G) / 2 - B; 15 is "slightly", 59 "quite", 109
    "extremely" colourful (Hasler & Süsstrunk 2003, Measuring colorfulness in natural images, section 7 and table 2).
    """
    total = 0.0
    for image in images:  # one by one: float copies of all images would need eight times their memory
        red, green, blue = np.broadcast_to(image, (3, *image.shape[1:])).astype(np.float64)
        rg, yb = red - green, (red + green) / 2 - blue
        total += np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean())
    return float(total / len(images))


class Colourfulness:
    """See :func:`colourfulness`."""

    name = "colourfulness"
    higher_is_better = True

    def __call__(self, images: ImageArray) -> float:
        """Colourfulness of images, uint8 NCHW in [0, 255]; >= 0."""
        return colourfulness(images)
