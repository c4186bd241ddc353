"""Images as data URIs, small enough that hundreds of them fit into one page."""

from __future__ import annotations

import base64
import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from groupshap.images import ImageArray, check_images

__all__ = ["SIDE_PX_MAX", "data_uri", "data_uris", "spread"]

SIDE_PX_MAX = 128
"""Longer images are scaled down: the page shows thumbnails."""
PNG_SIDE_PX_MAX = 32
"""Up to here a PNG is small and shows every pixel as it is; larger images are WebP with loss."""


def data_uris(images: ImageArray, side_px_max: int = SIDE_PX_MAX) -> list[str]:
    """One ``data:image/...`` per image.

    Args:
        images: (n_images, channels, height, width) uint8.
        side_px_max: longer sides are scaled down to this.
    """
    check_images(images)
    return [data_uri(image, side_px_max) for image in images]


def data_uri(image: npt.NDArray[np.uint8], side_px_max: int = SIDE_PX_MAX) -> str:
    """(channels, height, width) uint8 as PNG (small) or WebP (scaled down)."""
    picture = Image.fromarray(image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))
    kind, options = ("png", {"optimize": True})
    if max(picture.size) > PNG_SIDE_PX_MAX:
        picture.thumbnail((side_px_max, side_px_max), Image.Resampling.LANCZOS)
        kind, options = ("webp", {"quality": 80, "method": 4})
    buffer = io.BytesIO()
    picture.save(buffer, format=kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def spread(n_available: int, n_wanted: int) -> list[int]:
    """At most ``n_wanted`` positions, spread evenly over what there is."""
    return sorted({int(position) for position in np.linspace(0, n_available - 1, min(n_wanted, n_available)).round()})
