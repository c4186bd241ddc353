"""Pictures of an attribution: bars with intervals, all properties side by side, and v against |S|."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from groupshap.attribution.drawing import (
    HARMED,
    HELPED,
    INK,
    bare,
    header,
    label_rows,
    label_width_inches,
    new_figure,
)
from groupshap.games import CoalitionMatrix, SizeCurve, Utilities
from groupshap.members import short_name

__all__ = ["draw_attribution", "draw_overview", "draw_size_curve"]

N_SHOWN_MAX = 40
"""More contributors than this: only the first and the last 20 are drawn, with a gap between them."""
N_NAME_COLUMNS = 30
ROW_INCHES = 0.2


def draw_attribution(
    shapley_values: pd.DataFrame,
    property_name: str,
    higher_is_better: bool,
    *,
    level: float = 0.95,
    fitted_by: str = "",
) -> Figure:
    """Horizontal bars with intervals, the contributor who helped most on top.

    Args:
        shapley_values: the table of :func:`~groupshap.attribution.tables.shapley_table`; other properties are ignored.
        property_name: the property to draw.
        higher_is_better: whether a bar to the right helped.
        level: coverage of the intervals in the table, for the caption.
        fitted_by: how the values were obtained, for the caption, for example "gp, 128 evaluations".
    """
    table = _of_property(shapley_values, property_name)
    table = table.sort_values("shapley_value", ascending=not higher_is_better, kind="stable")
    shown, note = _first_and_last(table)
    figure = new_figure(8.0, 2.2 + ROW_INCHES * max(len(shown), 4))
    axes = figure.subplots()
    _bars(axes, shown, higher_is_better)
    label_rows(axes, [short_name(name, N_NAME_COLUMNS) for name in shown["contributor"]])
    axes.set_xlabel(f"Shapley value, in units of {property_name}", fontsize=9, color=INK)
    total = f"The bars of all {len(table)} contributors sum to v(N) - v(empty) = {table['shapley_value'].sum():.4g}."
    caption = f"Whiskers: {100 * level:g} % intervals{f' ({fitted_by})' if fitted_by else ''}. {total}"
    top = header(figure, f"Credit for {property_name}", [_reading(higher_is_better), caption, *note])
    _fit_margins(figure, [axes], top)
    return figure


def draw_overview(
    shapley_values: pd.DataFrame, directions: Mapping[str, bool], *, level: float = 0.95, n_shown_max: int = N_SHOWN_MAX
) -> Figure:
    """All properties side by side, one row per contributor, the best on average over the properties on top.

    Args:
        shapley_values: the table of :func:`~groupshap.attribution.tables.shapley_table`.
        directions: {property: whether higher values are better}, for every property of the table.
        level: coverage of the intervals in the table, for the caption.
        n_shown_max: contributors drawn, at most; the best and the worst.
    """
    properties = list(dict.fromkeys(shapley_values["property"]))
    order = _mean_rank(shapley_values, directions)
    shown, note = _first_and_last(pd.DataFrame({"contributor": order}), n_shown_max)
    figure = new_figure(2.6 + 2.7 * max(len(properties), 2), 2.1 + ROW_INCHES * max(len(shown), 4))
    panels = figure.subplots(1, len(properties), squeeze=False)[0]
    for panel, name in zip(panels, properties, strict=True):
        table = _of_property(shapley_values, name).set_index("contributor").reindex(shown["contributor"]).reset_index()
        _bars(panel, table, directions[name])
        panel.set_title(
            f"{short_name(name, 34)}\n{'higher' if directions[name] else 'lower'} is better", fontsize=9, color=INK
        )
        panel.set_yticks([])
        panel.set_ylim(len(shown) - 0.4, -0.6)
        panel.xaxis.set_major_locator(MaxNLocator(4))
    label_rows(panels[0], [short_name(name, N_NAME_COLUMNS) for name in shown["contributor"]])
    caption = f"Blue helped, orange harmed the property. Whiskers: {100 * level:g} % intervals. Best mean rank on top."
    top = header(figure, "Credit of the contributors", [caption, *note])
    _fit_margins(figure, panels, top + 0.36, bottom_inches=0.4)
    return figure


def draw_size_curve(
    coalitions: CoalitionMatrix, utilities: Utilities, curve: SizeCurve | None, property_name: str
) -> Figure:
    """Draw v against |S|: one dot per evaluation, the fitted mean over coalitions of a size, the noise around it.

    Args:
        coalitions: (n_rows, n_players) bool.
        utilities: (n_rows,) float64.
        curve: the fitted curve; None draws the dots alone and says so.
        property_name: unit of the vertical axis.
    """
    figure = new_figure(7.0, 4.9)
    axes = figure.subplots()
    if curve is not None:
        low, high = curve.curve - curve.noise_sd, curve.curve + curve.noise_sd
        axes.fill_between(curve.sizes, low, high, color="#cfe3f1", linewidth=0, label="± noise of one evaluation")
        axes.plot(curve.sizes, curve.curve, color=HELPED, linewidth=1.8, label="fitted mean over coalitions of a size")
    sizes, n_players = coalitions.sum(axis=1), coalitions.shape[1]
    inner = (sizes > 0) & (sizes < n_players)
    axes.plot(sizes[inner], utilities[inner], "o", color=INK, markersize=3.6, alpha=0.5, mew=0, label="one evaluation")
    for size, marker, label in ((0, "s", "empty coalition"), (n_players, "D", "grand coalition")):
        chosen = sizes == size
        axes.plot(
            sizes[chosen], utilities[chosen], marker, color=HARMED, mec=INK, mew=0.9, markersize=7, clip_on=False,
            label=label,
        )  # fmt: skip
    bare(axes)
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("|S|, contributors in the coalition", fontsize=9, color=INK)
    axes.set_ylabel(f"v(S) = {short_name(property_name, 50)}", fontsize=9, color=INK)
    axes.legend(fontsize=8, frameon=True, framealpha=0.85, edgecolor="none", loc="best")
    title, note = _curve_words(curve, property_name)
    top = header(figure, title, [note])
    figure.subplots_adjust(left=0.115, right=0.965, bottom=0.115, top=1 - top / figure.get_figheight())
    return figure


def _curve_words(curve: SizeCurve | None, property_name: str) -> tuple[str, str]:
    title = f"{property_name} against the size of the coalition"
    if curve is None:
        return title, "Too few coalitions for a fitted curve."
    note = f"|S| alone explains {100 * max(curve.r_squared, 0.0):.0f} % of the variance between coalitions."
    if np.isfinite(curve.predicted_saving):
        note += (
            " A regression that ignores it (the paper's) is predicted to need "
            f"{curve.predicted_saving:.3g} times as many evaluations."
        )
    return f"{title}: R² = {curve.r_squared:.2f}", note


def _of_property(shapley_values: pd.DataFrame, property_name: str) -> pd.DataFrame:
    table = shapley_values[shapley_values["property"] == property_name]
    if table.empty:
        known = ", ".join(dict.fromkeys(shapley_values["property"]))
        raise ValueError(f"Expected rows of property {property_name!r} in the table of values, got only: {known}.")
    return table


def _reading(higher_is_better: bool) -> str:
    if higher_is_better:
        return "Higher values are better: a bar to the right (blue) helped, a bar to the left (orange) harmed."
    return "Lower values are better: a bar to the left (blue) helped, a bar to the right (orange) harmed."


def _first_and_last(table: pd.DataFrame, n_shown_max: int = N_SHOWN_MAX) -> tuple[pd.DataFrame, list[str]]:
    """All rows, or the first and last ones around a row that says how many are not drawn; and what to note."""
    n_hidden = len(table) - n_shown_max
    if n_hidden <= 0:
        return table.reset_index(drop=True), []
    half = n_shown_max // 2
    gap = pd.DataFrame({"contributor": [f"… {n_hidden} not drawn …"]})
    note = f"Drawn are the first and the last {half} of {len(table)} contributors; the table has all of them."
    return pd.concat([table.head(half), gap, table.tail(half)], ignore_index=True), [note]


def _bars(axes: Axes, table: pd.DataFrame, higher_is_better: bool) -> None:
    """One bar and whisker per row from top to bottom; a row without a value stays empty."""
    values = table["shapley_value"].to_numpy(np.float64)
    helped = (values >= 0) == higher_is_better
    rows = np.arange(len(values))
    axes.barh(rows, values, height=0.68, color=np.where(helped, HELPED, HARMED))
    whiskers = [values - table["ci_low"].to_numpy(np.float64), table["ci_high"].to_numpy(np.float64) - values]
    for colour, width in (("white", 2.6), (INK, 1.0)):  # a light rim, or the whisker is lost in a dark bar
        axes.errorbar(
            values, rows, xerr=whiskers, fmt="none", ecolor=colour, elinewidth=width, capthick=width, capsize=2.4
        )
    axes.axvline(0.0, color=INK, linewidth=1.0)
    bare(axes)


def _fit_margins(figure: Figure, panels: np.ndarray | list[Axes], top: float, bottom_inches: float = 0.62) -> None:
    """Leave exactly the room that the row labels of the first panel, the header and the lower axis need."""
    width, height = figure.get_size_inches()
    figure.subplots_adjust(
        left=(0.35 + label_width_inches(panels[0])) / width,
        right=1 - 0.25 / width,
        bottom=bottom_inches / height,
        top=1 - top / height,
        wspace=0.08,
    )


def _mean_rank(shapley_values: pd.DataFrame, directions: Mapping[str, bool]) -> list[str]:
    """Contributors from the best to the worst mean rank over the properties."""
    ranks = [
        table.set_index("contributor")["shapley_value"].rank(ascending=not directions[name])
        for name, table in shapley_values.groupby("property", sort=False)
    ]
    return pd.concat(ranks, axis=1).mean(axis=1).sort_values(kind="stable").index.tolist()
