"""Pictures of the cheap game: utilities and Shapley values beside those of retraining, and fidelity against cost."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from groupshap.attribution.drawing import GREY, HARMED, HELPED, INK, bare, header, label_rows, new_figure
from groupshap.games.types import FloatArray
from groupshap.members import short_name
from groupshap.validation.ablation import AXES, CEILING, FIDELITY, fidelity_properties, pareto_front
from groupshap.validation.fidelity import CHEAP, RETRAINED
from groupshap.validation.measured import in_common, measured_game
from groupshap.validation.plots import BAND, BOTTOM_WITH_LEGEND, N_NAME_COLUMNS, fit_margins, legend_below

__all__ = ["draw_ablation", "draw_fidelity", "draw_shapley_pairs"]

N_SHOWN_MAX = 40
N_LABELLED_MAX = 15


def draw_fidelity(
    cheap_utilities: pd.DataFrame,
    validation_utilities: pd.DataFrame,
    contributors: pd.DataFrame,
    fidelity: pd.DataFrame,
    property_name: str,
) -> Figure:
    """V in the cheap game against v retrained, one dot per coalition, coloured by its size.

    Args:
        cheap_utilities: rows of one split, as for :func:`~groupshap.validation.fidelity.fidelity_table`.
        validation_utilities: rows of one split.
        contributors: player, contributor, n_images.
        fidelity: the table of :func:`~groupshap.validation.fidelity.fidelity_table`, for the caption.
        property_name: the property to draw.
    """
    cheap, retrained = in_common(
        measured_game(cheap_utilities, contributors), measured_game(validation_utilities, contributors)
    )
    x, y = cheap.means(property_name), retrained.means(property_name)
    figure = new_figure(7.0, 6.0)
    axes = figure.subplots()
    low, high = min(x.min(), y.min()), max(x.max(), y.max())
    axes.axline((low, low), (high, high) if high > low else None, slope=None if high > low else 1.0, color=GREY,
                linewidth=1.0, label="equal")  # fmt: skip
    error = np.sqrt(retrained.noise_variance(property_name) / retrained.n_replicates)
    if np.isfinite(error).all():
        axes.errorbar(x, y, yerr=error, fmt="none", ecolor="#cccccc", elinewidth=0.9, zorder=1)
    words = [*_fidelity_words(fidelity, property_name), *_zoom(axes, x, y, cheap.sizes == 0)]
    dots = axes.scatter(x, y, c=cheap.sizes, cmap="viridis", s=18, linewidths=0, zorder=2)
    bare(axes)
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.8)
    bar = figure.colorbar(dots, ax=axes, pad=0.02, aspect=40, ticks=MaxNLocator(integer=True))
    bar.set_label("|S|, contributors in the coalition", fontsize=9, color=INK)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    axes.set_xlabel(f"v(S) = {short_name(property_name, 40)}, cheap game", fontsize=9, color=INK)
    axes.set_ylabel("v(S), retrained (mean)", fontsize=9, color=INK)
    top = header(figure, f"{short_name(property_name, 40)}: cheap against retrained", words)
    figure.subplots_adjust(left=0.12, right=1.0, bottom=0.1, top=1 - top / figure.get_figheight())
    return figure


def _zoom(axes: Axes, x: FloatArray, y: FloatArray, is_empty: npt.NDArray[np.bool_]) -> list[str]:
    """Leave the empty coalition outside where it would squeeze all others into a corner; the words that say so."""
    others = ~is_empty
    if not is_empty.any() or others.sum() < 2:
        return []
    spans = [max(np.ptp(values[others]), 1e-12) for values in (x, y)]
    if max(np.ptp(x) / spans[0], np.ptp(y) / spans[1]) < 2:
        return []
    for set_limits, values, span in zip((axes.set_xlim, axes.set_ylim), (x, y), spans, strict=True):
        set_limits(values[others].min() - 0.08 * span, values[others].max() + 0.08 * span)
    return [f"Outside the picture: the empty coalition, cheap {x[is_empty][0]:.3g}, retrained {y[is_empty][0]:.3g}."]


def draw_shapley_pairs(pairs: pd.DataFrame, property_name: str, *, level: float = 0.95) -> Figure:
    """Shapley values of both games side by side with intervals, the largest retrained value on top.

    Args:
        pairs: the table of :func:`~groupshap.validation.fidelity.shapley_pairs`.
        property_name: the property to draw.
        level: coverage of the intervals in the table, for the caption.

    Raises:
        ValueError: the table has no row of the property.
    """
    table = pairs[pairs["property"] == property_name]
    if table.empty:
        raise ValueError(f"Expected Shapley values of {property_name!r} in both games, got none.")
    retrained = table[table["game"] == RETRAINED].sort_values("shapley_value", ascending=False, kind="stable")
    order, notes = retrained["contributor"].tolist(), []
    if len(order) > N_SHOWN_MAX:
        half = N_SHOWN_MAX // 2
        notes = [f"Drawn are the first and the last {half} of {len(order)} contributors; the table has all of them."]
        order = [*order[:half], *order[-half:]]
    figure = new_figure(8.0, 2.3 + 0.26 * max(len(order), 4))
    axes = figure.subplots()
    looks = ((RETRAINED, INK, "D", "retrained from scratch", -0.16), (CHEAP, HELPED, "o", "cheap game", 0.16))
    for game, colour, marker, label, shift in looks:
        rows = table[table["game"] == game].set_index("contributor").loc[order]
        values = rows["shapley_value"].to_numpy(np.float64)
        sides = [values - rows["ci_low"].to_numpy(np.float64), rows["ci_high"].to_numpy(np.float64) - values]
        axes.errorbar(
            values, np.arange(len(order)) + shift, xerr=sides, fmt=marker, color=colour, ecolor=colour, markersize=4.5,
            elinewidth=1.2, capsize=2.0, label=label,
        )  # fmt: skip
    axes.axvline(0.0, color=INK, linewidth=1.0)
    bare(axes)
    label_rows(axes, [short_name(name, N_NAME_COLUMNS) for name in order])
    axes.set_xlabel(f"Shapley value, in units of {short_name(property_name, 50)}", fontsize=9, color=INK)
    how = ", ".join(f"{game}: {table.loc[table['game'] == game, 'estimator'].iloc[0]}" for game, *_ in looks)
    caption = f"Whiskers: {100 * level:g} % intervals. Estimators: {how}."
    top = header(figure, f"Shapley values of both games: {short_name(property_name, 40)}", [caption, *notes])
    legend_below(figure, axes.get_legend_handles_labels()[0])
    fit_margins(figure, [axes], top, bottom_inches=BOTTOM_WITH_LEGEND)
    return figure


def draw_ablation(ablation: pd.DataFrame) -> Figure:
    """Fidelity against cost, one panel per property with the key of its Pareto front, the recommended cell ringed.

    Args:
        ablation: the table of :func:`~groupshap.validation.ablation.ablation_table`.
    """
    properties = fidelity_properties(ablation)
    figure = new_figure(9.4, 1.7 + 3.2 * len(properties))
    panels = figure.subplots(len(properties), 1, sharex=True, squeeze=False)[:, 0]
    for panel, name in zip(panels, properties, strict=True):
        _ablation_panel(panel, ablation, name)
    panels[-1].set_xlabel("seconds of one evaluation (training + sampling)", fontsize=9, color=INK)
    chosen = ablation[ablation["is_recommended"]].iloc[0]
    words = [f"Recommended (ring): {_cell_words(chosen)}, {chosen['seconds']:.3g} s: {chosen['why']}."]
    top = header(figure, "What fidelity costs", [*words, "Blue: cells that no other beats in both, numbered."])
    height = figure.get_figheight()
    figure.subplots_adjust(left=0.08, right=0.63, bottom=0.6 / height, top=1 - (top + 0.1) / height, hspace=0.12)
    return figure


def _fidelity_words(fidelity: pd.DataFrame, property_name: str) -> list[str]:
    rows = fidelity[fidelity["property"] == property_name].set_index("measure")
    names = {"pearson_v": "v: Pearson", "spearman_v": "Spearman", "pearson_shapley": "Shapley values: Pearson"}
    said = []
    for measure, words in names.items():
        if measure in rows.index and np.isfinite(rows.loc[measure, "value"]):
            ceiling = rows.loc[measure, "ceiling"]
            limit = f" (noise ceiling {ceiling:.2f})" if np.isfinite(ceiling) else ""
            said.append(f"{words} {rows.loc[measure, 'value']:.2f}{limit}")
    if "cost_ratio" in rows.index and np.isfinite(rows.loc["cost_ratio", "value"]):
        said.append(f"retraining costs {rows.loc['cost_ratio', 'value']:.3g} times as much")
    n_coalitions = int(rows["n_coalitions"].iloc[0])
    head = f"{n_coalitions} coalitions measured in both games. Line: equal values; bars: standard errors of replicates."
    return [head, ", ".join(said) + "."]


def _ablation_panel(axes: Axes, table: pd.DataFrame, name: str) -> None:
    seconds, fidelity = (table[column].to_numpy(np.float64) for column in ("seconds", FIDELITY + name))
    if CEILING + name in table:
        _ceiling_line(axes, table[CEILING + name].to_numpy(np.float64))
    axes.scatter(seconds, fidelity, s=20, color=GREY, linewidths=0, zorder=2)
    front = np.flatnonzero(pareto_front(seconds, fidelity))
    front = front[np.argsort(seconds[front], kind="stable")]
    axes.plot(seconds[front], fidelity[front], "o-", color=HELPED, linewidth=1.4, markersize=5, zorder=3)
    chosen = table["is_recommended"].to_numpy()
    axes.plot(seconds[chosen], fidelity[chosen], "o", mfc="none", mec=HARMED, mew=2.0, markersize=12, zorder=4)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda second, _: f"{second:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    bare(axes)
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.8)
    axes.set_ylabel(f"fidelity: {short_name(name, 30)}", fontsize=9, color=INK)
    axes.margins(x=0.08, y=0.12)
    _number_cells(axes, table.iloc[front], seconds[front], fidelity[front])


def _number_cells(axes: Axes, cells: pd.DataFrame, seconds: FloatArray, fidelity: FloatArray) -> None:
    """Numbers at the points, and beside the panel what they are; of a long front, points spread over all of it."""
    n = len(cells)
    shown = np.unique(np.linspace(0, n - 1, min(n, N_LABELLED_MAX)).round().astype(int))
    lines = ["      s   removed  steps  images  sampler  fidelity"]
    for number, row in enumerate(shown, start=1):
        axes.annotate(
            str(number), (seconds[row], fidelity[row]), (-3, 6), textcoords="offset points", ha="right", fontsize=8,
            color=INK,
        )  # fmt: skip
        removed, n_steps, n_images, sampler_n_steps = cells.iloc[row][list(AXES)].astype(float)
        lines.append(
            f"{number:>2} {seconds[row]:>6.3g} {100 * removed:>5.3g} % {n_steps:>6g} {n_images:>7g} "
            f"{sampler_n_steps:>7g} {fidelity[row]:>9.2f}"
        )
    axes.annotate(
        "\n".join(lines), (1.0, 1.0), (10, 0), xycoords="axes fraction", textcoords="offset points", va="top",
        fontsize=7.5, family="monospace", color=INK, linespacing=1.4, annotation_clip=False,
    )  # fmt: skip


def _ceiling_line(axes: Axes, ceilings: FloatArray) -> None:
    """The range of the cells' ceilings as a band; they differ if the cells were measured on different coalitions."""
    known = ceilings[np.isfinite(ceilings)]
    if len(known):
        axes.axhspan(known.min(), known.max(), color=BAND, linewidth=0, zorder=0)
        axes.axhline(np.median(known), color=HARMED, linewidth=1.2, linestyle="--", zorder=1)
        axes.annotate("noise ceiling", (0.01, np.median(known)), (0, 3), xycoords=("axes fraction", "data"),
                      textcoords="offset points", fontsize=7.5, color=INK)  # fmt: skip


def _cell_words(cell: pd.Series) -> str:
    removed, n_steps, n_images, sampler_n_steps = (cell[axis] for axis in AXES)
    return f"{100 * removed:g} % removed, {n_steps:g} steps, {n_images:g} images, {sampler_n_steps:g} sampler steps"
