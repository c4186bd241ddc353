"""How the values settled while evaluations came in: refits to growing beginnings of the plan."""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt
import pandas as pd

from groupshap.attribution.config import EstimationConfig
from groupshap.attribution.tables import coalition_utilities, player_names
from groupshap.games import CoalitionMatrix, ShapleyValues, Utilities, estimate

__all__ = ["CONVERGENCE_COLUMNS", "convergence_table", "prefix_lengths"]

logger = logging.getLogger(__name__)

CONVERGENCE_COLUMNS = ("property", "n_evaluations", "contributor", "shapley_value", "standard_error")
N_FIRST = 10
"""Eight coalitions beside the end points are the least that the default estimator takes."""


def convergence_table(
    utilities: pd.DataFrame,
    contributors: pd.DataFrame,
    shapley_values: pd.DataFrame,
    config: EstimationConfig,
    n_points: int,
) -> pd.DataFrame:
    """Values from the first rows of the table alone; the last point is the reported values themselves.

    Points that the estimator refuses (too few rows, unknown errors) are left out and logged.

    Args:
        utilities: rows in the order of the plan, which puts the end points first and keeps pairs together.
        contributors: as for :func:`~groupshap.attribution.tables.coalition_utilities`.
        shapley_values: the reported values, fitted to all rows.
        config: how they were fitted.
        n_points: refits per property.
    """
    coalitions, measured = coalition_utilities(utilities, contributors)
    names = player_names(contributors)
    tables: list[pd.DataFrame] = []
    refused: dict[str, list[str]] = {}
    for property_name, values in measured.items():
        for length in prefix_lengths(len(values), n_points)[:-1]:
            try:
                fitted = _fit(coalitions[:length], values[:length], config, names)
            except ValueError as error:
                refused.setdefault(str(error), []).append(f"{property_name} at {length}")
            else:
                tables.append(_rows(property_name, length, fitted))
        reported = shapley_values[shapley_values["property"] == property_name]
        tables.append(reported.assign(n_evaluations=len(values))[list(CONVERGENCE_COLUMNS)])
    for why, where in refused.items():
        logger.info("Left out of the convergence: %s. %s", ", ".join(where), why)
    return pd.concat(tables, ignore_index=True)


def prefix_lengths(n_rows: int, n_points: int) -> list[int]:
    """Even lengths (a pair stays together) from 10 to all rows, evenly spread, at most ``n_points`` of them."""
    if n_rows <= N_FIRST or n_points == 1:
        return [n_rows]
    lengths: npt.NDArray[np.int64] = np.linspace(N_FIRST, n_rows, n_points).astype(np.int64)
    return sorted({int(length) // 2 * 2 for length in lengths[:-1]} | {n_rows})


def _fit(
    coalitions: CoalitionMatrix, utilities: Utilities, config: EstimationConfig, names: list[str]
) -> ShapleyValues:
    fitted = estimate(
        coalitions, utilities, estimator=config.estimator, law=config.law, player_names=names,
        n_bootstrap=config.n_bootstrap,
    )  # fmt: skip
    if not np.isfinite(fitted.covariance).all():
        raise ValueError(f"Expected enough coalitions for standard errors, got {len(coalitions)} rows.")
    return fitted


def _rows(property_name: str, n_evaluations: int, fitted: ShapleyValues) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "property": property_name,
            "n_evaluations": n_evaluations,
            "contributor": np.array(fitted.player_names, dtype=object),
            "shapley_value": fitted.values,
            "standard_error": fitted.standard_errors,
        }
    )
