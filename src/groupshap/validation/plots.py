"""Pictures of the scores of attributions: LDS with the noise ceiling, and what removing contributors does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from groupshap.attribution.drawing import (
    GREY,
    HARMED,
    HELPED,
    INK,
    bare,
    header,
    label_rows,
    label_width_inches,
    new_figure,
)
from groupshap.games.types import FloatArray
from groupshap.members import short_name
from groupshap.validation.attributions import OURS, RANDOM, SIZE

__all__ = [
    "BAND",
    "BOTTOM_WITH_LEGEND",
    "N_NAME_COLUMNS",
    "draw_counterfactuals",
    "draw_lds",
    "fit_margins",
    "legend_below",
]

ROW_INCHES = 0.2
N_NAME_COLUMNS = 34
BOTTOM_WITH_LEGEND = 0.86
COMPANION, BASELINE, CONTROL, BAND = "#8fbfdf", "#b5b5b5", "#ffffff", "#fdeccb"
KINDS = {"ours": HELPED, "other Shapley estimators": COMPANION, "baselines": BASELINE, "controls": CONTROL}


def draw_lds(lds: pd.DataFrame, property_name: str, n_contributors: int, *, level: float = 0.95) -> Figure:
    """Bars of LDS with intervals, the best on top, and the noise ceiling as a band.

    Args:
        lds: the table of :func:`~groupshap.validation.lds.lds_table`.
        property_name: the property to draw.
        n_contributors: the size of the coalitions to draw.
        level: coverage of the intervals in the table, for the caption.

    Raises:
        ValueError: the table has no such rows.
    """
    table = lds[(lds["property"] == property_name) & (lds["n_contributors"] == n_contributors)]
    if table.empty:
        raise ValueError(f"Expected rows of {property_name!r} at {n_contributors} contributors in the LDS, got none.")
    table = table.sort_values("lds", ascending=False, kind="stable", na_position="last").reset_index(drop=True)
    figure = new_figure(8.0, 2.3 + ROW_INCHES * max(len(table), 4))
    axes = figure.subplots()
    _ceiling_band(axes, table)
    _score_bars(axes, table)
    label_rows(axes, [short_name(name, N_NAME_COLUMNS) for name in table["attribution"]])
    axes.set_xlabel("LDS: rank correlation with retrained models", fontsize=9, color=INK)
    top = header(figure, f"Who predicts {short_name(property_name, 50)}", _lds_words(table, n_contributors, level))
    _legend(figure, table)
    fit_margins(figure, [axes], top, bottom_inches=BOTTOM_WITH_LEGEND, right_inches=0.75)
    return figure


def draw_counterfactuals(
    counterfactuals: pd.DataFrame, property_name: str, share: float, higher_is_better: bool, *, level: float = 0.95
) -> Figure:
    """Change of the property without the top (filled) and without the bottom contributors (open) of each attribution.

    Args:
        counterfactuals: the table of :func:`~groupshap.validation.counterfactuals.counterfactual_table`.
        property_name: the property to draw.
        share: the share of removed contributors to draw.
        higher_is_better: whether a change to the right is an improvement.
        level: coverage of the intervals in the table, for the caption.

    Raises:
        ValueError: the table has no such rows.
    """
    chosen = (counterfactuals["property"] == property_name) & (counterfactuals["share"] == share)
    table = counterfactuals[chosen]
    if table.empty:
        raise ValueError(f"Expected rows of {property_name!r} with the share {share:g} removed, got none.")
    top_rows = table[table["end"] == "top"].sort_values("relative_change", ascending=higher_is_better, kind="stable")
    order = top_rows["attribution"].tolist()
    figure = new_figure(8.0, 2.3 + ROW_INCHES * max(len(order), 4))
    axes = figure.subplots()
    _random_band(axes, table)
    for end, colour, shift in (("top", HELPED, -0.14), ("bottom", HARMED, 0.14)):
        rows = table[table["end"] == end].set_index("attribution").reindex(order)
        _change_dots(axes, rows, np.arange(len(order)) + shift, colour, f"without the {end} {100 * share:g} %")
    axes.axvline(0.0, color=INK, linewidth=1.0)
    bare(axes)
    label_rows(axes, [short_name(name, N_NAME_COLUMNS) for name in order])
    axes.set_xlabel(f"change of {short_name(property_name, 40)} relative to all contributors, %", fontsize=9, color=INK)
    title = f"Without {int(table['n_removed'].iloc[0])} contributors: {short_name(property_name, 40)}"
    top = header(figure, title, _counterfactual_words(higher_is_better, level))
    legend_below(figure, axes.get_legend_handles_labels()[0])
    fit_margins(figure, [axes], top, bottom_inches=BOTTOM_WITH_LEGEND)
    return figure


def fit_margins(
    figure: Figure, panels: Sequence[Axes], top: float, *, bottom_inches: float = 0.62, right_inches: float = 0.25
) -> None:
    """Leave exactly the room that the row labels of the first panel, the header and the lower axis need."""
    width, height = figure.get_size_inches()
    figure.subplots_adjust(
        left=(0.35 + label_width_inches(panels[0])) / width,
        right=1 - right_inches / width,
        bottom=bottom_inches / height,
        top=1 - top / height,
        wspace=0.08,
    )


def legend_below(figure: Figure, handles: Sequence[Artist]) -> None:
    """One line of keys at the lower edge, because no corner of a full panel is free."""
    figure.legend(
        handles=list(handles), loc="lower center", bbox_to_anchor=(0.5, 0.06 / figure.get_figheight()), ncols=5,
        fontsize=8, frameon=False, handlelength=1.2, borderaxespad=0.0,
    )  # fmt: skip


def _kind(attribution: str) -> str:
    if attribution == OURS:
        return "ours"
    if attribution.startswith("shapley/"):
        return "other Shapley estimators"
    return "controls" if attribution in (RANDOM, SIZE) else "baselines"


def _ceiling_band(axes: Axes, table: pd.DataFrame) -> None:
    ceiling, low, high = table[["ceiling", "ceiling_low", "ceiling_high"]].iloc[0].astype(float)
    if np.isfinite(low) and np.isfinite(high):
        axes.axvspan(low, high, color=BAND, linewidth=0, zorder=0)
    if np.isfinite(ceiling):
        axes.axvline(ceiling, color=HARMED, linewidth=1.4, zorder=1)


def _score_bars(axes: Axes, table: pd.DataFrame) -> None:
    scores = table["lds"].to_numpy(np.float64)
    rows, known = np.arange(len(scores)), np.isfinite(scores)
    colours = [KINDS[_kind(name)] for name in table["attribution"]]
    edges = [INK if colour == CONTROL else colour for colour in colours]
    axes.barh(rows, scores, height=0.68, color=colours, edgecolor=edges, linewidth=0.8, zorder=2)
    _whiskers(axes, table[known], scores[known], rows[known])
    for row, score in zip(rows, scores, strict=True):
        text = f"{round(score, 2) + 0.0:.2f}" if np.isfinite(score) else "not defined"  # + 0.0: no "-0.00"
        axes.annotate(
            text, (1.0, row), (4, 0), xycoords=("axes fraction", "data"), textcoords="offset points", va="center",
            fontsize=8, color=INK, annotation_clip=False,
        )  # fmt: skip
    axes.axvline(0.0, color=INK, linewidth=1.0, zorder=3)
    bare(axes)
    lowest = np.nanmin(np.append(table["low"].to_numpy(np.float64), [0.0, np.nanmin(np.append(scores, 0.0))]))
    axes.set_xlim(max(-1.0, lowest - 0.04) if lowest < 0 else 0.0, 1.0)


def _whiskers(axes: Axes, table: pd.DataFrame, scores: FloatArray, rows: FloatArray) -> None:
    sides = [scores - table["low"].to_numpy(np.float64), table["high"].to_numpy(np.float64) - scores]
    sides = [np.maximum(side, 0.0) for side in sides]  # a percentile interval need not hold the score
    for colour, width in (("white", 2.6), (INK, 1.0)):
        axes.errorbar(
            scores, rows, xerr=sides, fmt="none", ecolor=colour, elinewidth=width, capthick=width, capsize=2.4,
            zorder=4,
        )  # fmt: skip


def _lds_words(table: pd.DataFrame, n_contributors: int, level: float) -> list[str]:
    first = table.iloc[0]
    times = "once" if first["n_replicates"] == 1 else f"{first['n_replicates']:.3g} times"
    of_random = " (random: draws)" if (table["attribution"] == RANDOM).any() else ""
    words = [
        f"{int(first['n_coalitions'])} held-out coalitions of {n_contributors} contributors, each retrained {times}. "
        f"Whiskers: {100 * level:g} % intervals over coalitions{of_random}."
    ]
    if np.isfinite(float(first["ceiling"])):
        words.append(
            f"Orange: noise ceiling {first['ceiling']:.2f}, what perfect values can be expected to reach; band: its "
            f"interval. Two single retrainings agree with {first['replicate_spearman']:.2f}."
        )
    else:
        words.append("No noise ceiling is known, for example because there is one replicate only.")
    return words


def _legend(figure: Figure, table: pd.DataFrame) -> None:
    kinds = [kind for kind in KINDS if kind in {_kind(name) for name in table["attribution"]}]
    handles: list[Patch] = [
        Patch(facecolor=KINDS[kind], edgecolor=INK if kind == "controls" else KINDS[kind], label=kind) for kind in kinds
    ]
    legend_below(figure, handles)


def _random_band(axes: Axes, table: pd.DataFrame) -> None:
    change, low, high = 100 * table[["random_change", "random_low", "random_high"]].iloc[0].astype(float)
    if np.isfinite(low) and np.isfinite(high):
        axes.axvspan(low, high, color="#e9e9e9", linewidth=0, zorder=0)
    if np.isfinite(change):
        axes.axvline(change, color=GREY, linewidth=1.4, zorder=1, label="random removal")


def _change_dots(axes: Axes, rows: pd.DataFrame, heights: FloatArray, colour: str, label: str) -> None:
    change, low, high = (100 * rows[column].to_numpy(np.float64) for column in ("relative_change", "low", "high"))
    whiskers = [np.nan_to_num(change - low), np.nan_to_num(high - change)]
    axes.errorbar(
        change, heights, xerr=whiskers, fmt="o", color=colour, ecolor=colour, markersize=4.5, elinewidth=1.2,
        capsize=2.0, label=label, zorder=3,
    )  # fmt: skip


def _counterfactual_words(higher_is_better: bool, level: float) -> list[str]:
    side = "left" if higher_is_better else "right"
    return [
        f"Removing those who helped most should move the property to the {side}, the worse side, and further than a "
        f"random removal (grey). Whiskers: {100 * level:g} % intervals over training seeds."
    ]
