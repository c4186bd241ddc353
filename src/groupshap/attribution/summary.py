"""The result in plain words, for the end of the log."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from groupshap.members import short_name
from groupshap.progress import duration

__all__ = ["MAX_TIMES_AS_MANY", "fitted_by", "price_of_converging", "summary_lines"]

N_NAMED = 3
N_COLUMNS = 40
MAX_TIMES_AS_MANY = 100
"""An extrapolation of errors beyond so many times the evaluations names no number."""


def summary_lines(
    shapley_values: pd.DataFrame, diagnostics: pd.DataFrame, directions: Mapping[str, bool], level: float = 0.95
) -> list[str]:
    """Per property who helped most and least, with intervals, and whether more evaluations are needed.

    Args:
        shapley_values: the table of :func:`~groupshap.attribution.tables.shapley_table`.
        diagnostics: the table of :func:`~groupshap.attribution.tables.diagnostics_table`.
        directions: {property: whether higher values are better}.
        level: coverage of the intervals in the table.
    """
    lines = [f"Shapley values with {100 * level:g} % intervals, best contributor first:"]
    captions = fitted_by(diagnostics)
    for row in diagnostics.itertuples():
        higher_is_better = directions[row.property]
        table = shapley_values[shapley_values["property"] == row.property]
        best_first = table.sort_values("shapley_value", ascending=not higher_is_better, kind="stable")
        better = "higher" if higher_is_better else "lower"
        lines.append(f"{row.property} ({better} is better; {captions[row.property]})")
        lines += _ranking(best_first)
        if row.fall_back != "none":
            lines.append(f"  estimator: {row.fall_back}")
        lines.append(f"  {_verdict(row)}")
    return lines


def _ranking(best_first: pd.DataFrame) -> list[str]:
    """The first and the last contributors, or that there is no first."""
    if best_first["shapley_value"].nunique() == 1:
        return [f"  all {len(best_first)} contributors have the same value, {best_first['shapley_value'].iloc[0]:+.4g}"]
    n_named = min(N_NAMED, len(best_first) // 2)
    most, least = best_first.head(n_named), best_first.tail(n_named)
    return [
        *(f"  helped most:  {_contributor(one)}" for one in most.itertuples()),
        *(f"  helped least: {_contributor(one)}" for one in least.itertuples()),
    ]


def fitted_by(diagnostics: pd.DataFrame) -> dict[str, str]:
    """{property: "gp, 128 evaluations"}, for captions."""
    return {row.property: f"{row.estimator}, {row.n_evaluations} evaluations" for row in diagnostics.itertuples()}


def _contributor(row: object) -> str:
    return (
        f"{short_name(row.contributor, N_COLUMNS)}  {row.shapley_value:+.4g}  [{row.ci_low:+.4g}, {row.ci_high:+.4g}]"
    )


def _verdict(row: object) -> str:
    """Converged or not, and the price of going on."""
    error = f"largest standard error {100 * row.relative_standard_error:.3g} % of the range of the values"
    if not math.isfinite(row.evaluations_to_converge):
        return f"not converged: {error}; all values are equal so far, so no budget can be named."
    against = f"{error} (target {100 * row.target_relative_error:g} %)."
    if row.is_converged:
        return f"converged: {against}"
    price = price_of_converging(row.evaluations_to_converge, row.n_evaluations, row.seconds_to_converge)
    return f"not converged: {against} It would take {price}."


def price_of_converging(n_more: float, n_evaluations: int, seconds: float) -> str:
    """How many more evaluations, and their time; no number where it would extrapolate the errors too far.

    Args:
        n_more: what :func:`~groupshap.games.evaluations_to_converge` says; infinite while all values are equal.
        n_evaluations: that there are.
        seconds: what ``n_more`` would take one worker.
    """
    if n_more > MAX_TIMES_AS_MANY * n_evaluations:
        return f"more than {MAX_TIMES_AS_MANY} times as many evaluations"
    return f"about {n_more:.0f} more evaluation{'' if n_more == 1 else 's'}, {duration(seconds)} of one worker's time"
