"""What all pictures share: a figure without a window, fonts for names in any script, colours, room for labels."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Sequence
from functools import cache

from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = ["GREY", "HARMED", "HELPED", "INK", "QuietFigure", "bare", "header", "label_rows", "new_figure"]

# Okabe & Ito (2008): told apart with every kind of colour blindness, and dark against light in grey.
HELPED = "#0072B2"
HARMED = "#E69F00"
GREY = "#8c8c8c"
INK = "#222222"

FONT_SIZE = 8.5
_FALLBACK_FONTS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans", "WenQuanYi Micro Hei", "PingFang SC"),
    *("Microsoft YaHei", "Hiragino Sans", "Noto Sans Arabic", "Noto Sans Hebrew", "Noto Emoji", "Segoe UI Emoji"),
)


class QuietFigure(Figure):
    """A figure that draws letters its fonts lack as boxes, without one warning per letter and save."""

    def draw(self, renderer: RendererBase) -> None:
        """Draw as always, in silence about missing letters."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*[Gg]lyph .* missing from")
            super().draw(renderer)


def new_figure(width_inches: float, height_inches: float) -> QuietFigure:
    """White, 130 dots per inch, drawn by Agg whatever backend is set; belongs to no window."""
    figure = QuietFigure(figsize=(width_inches, height_inches), dpi=130, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def bare(axes: Axes) -> None:
    """Leave of the frame only the lower line, and light vertical lines to read values by."""
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(GREY)
    axes.tick_params(axis="both", labelsize=FONT_SIZE, color=GREY, labelcolor=INK)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)


def label_rows(axes: Axes, labels: Sequence[str]) -> None:
    """Name rows 0, 1, ... from top to bottom."""
    # Names are data: a "$" in one must not start a formula.
    axes.set_yticks(range(len(labels)), labels, parse_math=False, fontfamily=_families(), fontsize=FONT_SIZE)
    axes.set_ylim(len(labels) - 0.4, -0.6)


def label_width_inches(axes: Axes) -> float:
    """Width of the widest row label."""
    figure = axes.get_figure()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*[Gg]lyph .* missing from")
        figure.draw_without_rendering()
        widths = [label.get_window_extent().width for label in axes.get_yticklabels()]
    return max(widths) / figure.dpi


def header(figure: Figure, title: str, notes: Sequence[str], *, left_inches: float = 0.2) -> float:
    """Write a title and lines of text at the top left; return the height they take, in inches."""
    width, height = figure.get_size_inches()
    n_characters = int((width - 2 * left_inches) / 0.063)
    lines = [line for note in notes for line in textwrap.wrap(note, n_characters)]
    figure.text(
        left_inches / width, 1 - 0.14 / height, textwrap.shorten(title, int(n_characters * 0.8)), fontsize=11.5,
        fontweight="bold", va="top", color=INK, parse_math=False,
    )  # fmt: skip
    figure.text(
        left_inches / width, 1 - 0.42 / height, "\n".join(lines), fontsize=FONT_SIZE, va="top", color="#444444",
        parse_math=False, linespacing=1.3,
    )  # fmt: skip
    return 0.42 + 0.165 * len(lines) + 0.14


@cache
def _families() -> list[str]:
    """DejaVu Sans (comes with matplotlib), then what this machine has for letters that it lacks."""
    installed = set(font_manager.get_font_names())
    return ["DejaVu Sans", *(name for name in _FALLBACK_FONTS if name in installed)]
