"""What a few retrainings change: reading their table, and how far each contributor moved."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from groupshap.attribution.drawing import GREY, HARMED, INK, bare, header, label_rows, new_figure
from groupshap.attribution.utilities_table import coalition_utilities
from groupshap.games import CoalitionMatrix, ShapleyValues, Utilities
from groupshap.members import short_name

__all__ = ["CHEAP", "RETRAINED", "draw_correction", "moves_table", "retrained_rows"]

logger = logging.getLogger(__name__)

RETRAINED = "correction"
CHEAP = "estimation"
MOVES_COLUMNS = (
    *("property", "contributor", "cheap_value", "corrected_value", "moved"),
    *("standard_error", "ci_low", "ci_high", "estimator"),
)
_N_SHOWN_MAX = 40


def retrained_rows(
    correction: pd.DataFrame | None, utilities: pd.DataFrame, contributors: pd.DataFrame
) -> tuple[pd.DataFrame, dict[str, tuple[CoalitionMatrix, Utilities]]]:
    """The cheap table to use, and the retrained rows of every property.

    Args:
        correction: Utilities of both games as the pipeline ``correction`` leaves them; None: there is none.
        utilities: Of the cheap game.
        contributors: One row per player.

    Returns:
        ``utilities`` and nothing where there is no correction, or one that belongs to other utilities (the log says
        so); otherwise the cheap rows of the correction, which contain those of ``utilities``, and per property the
        retrained coalitions (n_rows, n_players) bool with their utilities (n_rows,).
    """
    if correction is None:
        return utilities, {}
    cheap = correction[correction["split"] == CHEAP]
    known, wanted = set(cheap["fingerprint"]), set(utilities.loc[utilities["split"] == CHEAP, "fingerprint"])
    if known != wanted:
        logger.warning(
            "The retrainings of the pipeline correction belong to other utilities (fingerprint %s, these have %s) and "
            "are not used. Run `kedro run --pipelines correction` again to use them.",
            ", ".join(sorted(known)), ", ".join(sorted(wanted)),
        )  # fmt: skip
        return utilities, {}
    masks, values = coalition_utilities(correction, contributors, RETRAINED)
    return cheap.reset_index(drop=True), {name: (masks, own) for name, own in values.items()}


def moves_table(pairs: Mapping[str, tuple[ShapleyValues, ShapleyValues]], level: float = 0.95) -> pd.DataFrame:
    """How the retrainings moved every contributor.

    Args:
        pairs: {property: (values of the cheap game, corrected values)}.
        level: coverage of the intervals.

    Returns:
        property, contributor, cheap_value, corrected_value, moved (corrected − cheap), standard_error, ci_low and
        ci_high (of the corrected value) and estimator (``two_fidelity``, or what it fell back to).
    """
    tables = []
    for name, (cheap, main) in pairs.items():
        low, high = main.interval(level)
        tables.append(
            pd.DataFrame(
                {
                    "property": name,
                    "contributor": main.player_names,
                    "cheap_value": cheap.values,
                    "corrected_value": main.values,
                    "moved": main.values - cheap.values,
                    "standard_error": main.standard_errors,
                    "ci_low": low,
                    "ci_high": high,
                    "estimator": main.estimator,
                }
            )
        )
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=MOVES_COLUMNS)


def draw_correction(moves: pd.DataFrame, property_name: str) -> Figure:
    """Cheap and corrected value of every contributor, joined by a line; the largest corrected value on top."""
    table = moves[moves["property"] == property_name].sort_values("corrected_value").tail(_N_SHOWN_MAX)
    figure = new_figure(7.6, 1.9 + 0.3 * len(table))
    axes = figure.subplots()
    rows = np.arange(len(table))
    axes.hlines(rows, table["cheap_value"], table["corrected_value"], color=GREY, linewidth=1.2, zorder=1)
    corrected = table["corrected_value"]
    reach = [corrected - table["ci_low"], table["ci_high"] - corrected]
    axes.errorbar(
        corrected, rows, xerr=reach, fmt="D", color=INK, markersize=5,
        capsize=2.5, elinewidth=1.0, label="corrected by retrainings",
    )  # fmt: skip
    axes.plot(table["cheap_value"], rows, "o", color=HARMED, markersize=5, label="cheap game alone")
    bare(axes)
    label_rows(axes, [short_name(name, 28) for name in table["contributor"]])
    axes.set_xlabel(f"Shapley value, in units of {short_name(property_name, 40)}", fontsize=9, color=INK)
    mean = float(table["moved"].mean())
    words = [
        "Diamonds: the retrained game, with the intervals of shapley_values.csv. On average the retrainings move the "
        f"values by {mean:+.3g}."
    ]
    top = header(figure, f"What retraining changes: {short_name(property_name, 40)}", words)
    axes.legend(loc="best", fontsize=8, frameon=False)
    figure.subplots_adjust(left=0.3, right=0.97, bottom=0.16, top=1 - top / figure.get_figheight())
    return figure
