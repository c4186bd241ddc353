"""Nodes of shapley_estimation: tables first, pictures and a summary in plain words after them."""

from __future__ import annotations

import logging

import pandas as pd
from matplotlib.figure import Figure

from groupshap.attribution.config import EstimationConfig
from groupshap.attribution.correction import CHEAP, RETRAINED, retrained_rows
from groupshap.attribution.fits import attribute, fit_size_curve, log_left_out
from groupshap.attribution.plots import draw_attribution, draw_overview, draw_size_curve
from groupshap.attribution.summary import fitted_by, summary_lines
from groupshap.attribution.tables import comparison_table, diagnostics_table, interaction_table, shapley_table
from groupshap.attribution.utilities_table import check_directions, coalition_utilities, player_names

__all__ = ["estimate_shapley_values", "plot_attribution"]

logger = logging.getLogger(__name__)


def estimate_shapley_values(
    utilities: pd.DataFrame,
    contributors: pd.DataFrame,
    property_directions: dict[str, bool],
    config: EstimationConfig,
    correction_utilities: pd.DataFrame | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Fit every property: values, all estimators side by side, diagnostics, pairwise interactions.

    With retrainings of the pipeline ``correction`` the values are those of the retrained game.
    """
    utilities, retrained = retrained_rows(correction_utilities, utilities, contributors)
    coalitions, measured = coalition_utilities(utilities, contributors)
    check_directions(list(measured), property_directions)
    names = player_names(contributors)
    attributions = {
        name: attribute(coalitions, values, config, names, retrained.get(name)) for name, values in measured.items()
    }
    log_left_out(attributions)
    # Going on means more of what is wanted: retrainings where there are some.
    priced, split = (correction_utilities, RETRAINED) if retrained else (utilities, CHEAP)
    return (
        shapley_table(attributions, contributors, config.level),
        comparison_table(attributions, config.level),
        diagnostics_table(attributions, priced, config, split),
        interaction_table(attributions),
    )


def plot_attribution(
    *,
    shapley_values: pd.DataFrame,
    diagnostics: pd.DataFrame,
    utilities: pd.DataFrame,
    contributors: pd.DataFrame,
    property_directions: dict[str, bool],
    config: EstimationConfig,
) -> tuple[dict[str, Figure], dict[str, Figure], Figure]:
    """Bars and size curve of every property by file name, one picture of all; log the result in plain words."""
    coalitions, measured = coalition_utilities(utilities, contributors)
    notes = fitted_by(diagnostics)
    bars = {
        f"attribution_{name}.png": draw_attribution(
            shapley_values, name, property_directions[name], level=config.level, fitted_by=notes[name]
        )
        for name in measured
    }
    curves = {
        f"size_curve_{name}.png": draw_size_curve(coalitions, values, fit_size_curve(coalitions, values, config), name)
        for name, values in measured.items()
    }
    logger.info("%s", "\n".join(summary_lines(shapley_values, diagnostics, property_directions, config.level)))
    return bars, curves, draw_overview(shapley_values, property_directions, level=config.level)
