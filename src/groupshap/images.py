"""The one image convention: a batch of images is uint8, (n_images, channels, height, width), range [0, 255].

Everything that stores, measures or shows images uses it; only the diffusion families know another range.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["ImageArray", "check_images"]

ImageArray: TypeAlias = npt.NDArray[np.uint8]
"""(n_images, channels, height, width) uint8 in [0, 255]; channels is 1 (grey) or 3 (RGB)."""


def check_images(images: npt.NDArray[np.generic], name: str = "images") -> None:
    """Refuse anything that is not an :data:`ImageArray`.

    Raises:
        ValueError: wrong number of axes, channels or type; the message says what was expected and what came.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3) or images.dtype != np.uint8:
        raise ValueError(
            f"`{name}` must be uint8 of shape (n_images, 1 or 3, height, width), "
            f"got {images.dtype} {tuple(images.shape)}."
        )
