"""The contact sheet: one row of pictures per contributor, to see at a glance what the data are."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from groupshap.grouping.checks import elided
from groupshap.images import ImageArray

__all__ = ["draw_contact_sheet"]

N_CHARACTERS = 26


def draw_contact_sheet(
    images: ImageArray,
    players: npt.NDArray[np.int64],
    contributors: pd.DataFrame,
    n_columns: int = 10,
    n_rows_max: int = 24,
) -> Figure:
    """Draw the first contributors, one row each, with images spread evenly over what they have.

    Names are shortened in the middle; planted defects are named. What is not shown is counted below.

    Args:
        images: (n_images, channels, height, width) uint8.
        players: (n_images,) the player of each image.
        contributors: one row per player, as in :class:`~groupshap.grouping.data.GroupedImages`.
        n_columns: images per contributor, at most.
        n_rows_max: contributors shown, at most.

    Returns:
        A figure that belongs to no window and can be saved as it is.
    """
    shown = contributors.head(n_rows_max)
    n_rows = len(shown)
    figure = Figure(figsize=(2.6 + 0.6 * n_columns, 0.62 * n_rows + 0.75), dpi=110, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(n_rows, 1, squeeze=False)[:, 0]
    figure.subplots_adjust(
        left=2.6 / figure.get_figwidth(),
        right=0.99,
        top=1 - 0.4 / figure.get_figheight(),
        bottom=0.35 / figure.get_figheight(),
        hspace=0.06,
    )
    for axis, contributor in zip(axes, shown.itertuples(), strict=True):
        own = images[players == contributor.player]
        axis.imshow(_strip(own, n_columns), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axis.set_anchor("W")
        axis.axis("off")
        label = f"{contributor.player}  {elided(contributor.contributor, N_CHARACTERS)}\n{contributor.n_images} images"
        if contributor.defect:
            label += f"\n{elided(contributor.defect, N_CHARACTERS + 14)}"
        # Names are data: a "$" in one must not start a formula.
        axis.text(-0.015, 0.5, label, transform=axis.transAxes, ha="right", va="center", fontsize=7.5, parse_math=False)
    figure.text(0.01, 1 - 0.25 / figure.get_figheight(), _title(images, len(contributors)), fontsize=9, va="center")
    if n_rows < len(contributors):
        note = f"{len(contributors) - n_rows} more contributors are not shown."
        figure.text(0.01, 0.15 / figure.get_figheight(), note, fontsize=8, va="center")
    _draw_quietly(figure)
    return figure


def _title(images: ImageArray, n_players: int) -> str:
    n_images, channels, height, width = images.shape
    colour = "RGB" if channels == 3 else "grey"
    return f"{n_images} images, {width} x {height} {colour}, of {n_players} contributors"


def _strip(images: ImageArray, n_columns: int) -> npt.NDArray[np.uint8]:
    """Some of the images side by side with white between them: (height, total width[, 3])."""
    picked = images[np.unique(np.linspace(0, len(images) - 1, min(n_columns, len(images))).round().astype(int))]
    n_missing = n_columns - len(picked)
    blank = np.full((n_missing, *images.shape[1:]), 255, np.uint8)
    gap = max(1, images.shape[-1] // 16)
    padded = np.pad(np.concatenate([picked, blank]), ((0, 0), (0, 0), (0, 0), (0, gap)), constant_values=255)
    strip = np.concatenate(list(padded), axis=-1)  # (channels, height, n_columns * (width + gap))
    return strip[0] if len(strip) == 1 else strip.transpose(1, 2, 0)


def _draw_quietly(figure: Figure) -> None:
    # Names in scripts that the font lacks are drawn as boxes; one warning per letter and save would help nobody.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.draw_without_rendering()
