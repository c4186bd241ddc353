"""Generated images as a picture to look at."""

from __future__ import annotations

import textwrap

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from groupshap.images import ImageArray, check_images

__all__ = ["draw_grid"]


def draw_grid(images: ImageArray, title: str, n_columns: int = 12) -> Figure:
    """All images in rows of ``n_columns``, enlarged without smoothing.

    Args:
        images: (n_images, channels, height, width) uint8.
        title: Above the grid, in as many lines as it takes.
        n_columns: Images per row.

    Returns:
        A figure that belongs to no window.
    """
    check_images(images)
    sheet = _sheet(images, n_columns)
    height, width = sheet.shape[:2]
    side_inches = 8.0
    lines = textwrap.wrap(title, 110)
    title_inches = 0.2 * len(lines) + 0.15
    figure = Figure(figsize=(side_inches, side_inches * height / width + title_inches), dpi=120, facecolor="white")
    FigureCanvasAgg(figure)
    axis = figure.add_axes((0.01, 0.01, 0.98, 1 - title_inches / figure.get_figheight()))
    axis.imshow(sheet, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axis.axis("off")
    top = 1 - 0.1 / figure.get_figheight()
    figure.text(0.01, top, "\n".join(lines), fontsize=9, va="top")
    return figure


def _sheet(images: ImageArray, n_columns: int) -> ImageArray:
    """(height, width[, 3]) uint8: the images side by side with one white pixel between them."""
    n_rows = -(-len(images) // n_columns)
    blank = np.full((n_rows * n_columns - len(images), *images.shape[1:]), 255, np.uint8)
    padded = np.pad(np.concatenate([images, blank]), ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=255)
    _, channels, height, width = padded.shape
    tiled = padded.reshape(n_rows, n_columns, channels, height, width).transpose(0, 3, 1, 4, 2)
    sheet = tiled.reshape(n_rows * height, n_columns * width, channels)
    return sheet[..., 0] if channels == 1 else sheet
