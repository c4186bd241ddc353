"""The numbers behind the plots, for the script of the page: plain lists, nan as None."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from groupshap.members import short_name
from groupshap.reporting.fitted_game import FittedGame
from groupshap.reporting.inputs import ReportInputs

__all__ = ["chart_data"]

N_LABEL_COLUMNS = 28
N_LINES_MAX = 16
"""More contributors: the convergence plot draws the best and the worst of them."""


def chart_data(inputs: ReportInputs, games: Mapping[str, FittedGame]) -> dict[str, Any]:
    """What every plot needs; contributors are referred to by their player number.

    Args:
        inputs: the tables.
        games: the fitted game of each property.
    """
    return {
        "level": inputs.level,
        "n_players": len(inputs.names),
        "contributors": [short_name(name, N_LABEL_COLUMNS) for name in inputs.names],
        "order": [inputs.names.index(name) for name in inputs.best_first],
        "properties": [_property(inputs, name, games[name]) for name in inputs.properties],
    }


def _property(inputs: ReportInputs, name: str, game: FittedGame) -> dict[str, Any]:
    values = inputs.values_of(name)
    coalitions, measured = inputs.measured
    return {
        "name": name,
        "higher": inputs.directions[name],
        # Unrounded: the page shows the same numbers as shapley_values.csv.
        "values": [list(row) for row in values[["shapley_value", "ci_low", "ci_high"]].itertuples(index=False)],
        "payment": [
            float(share) if math.isfinite(share) else None for share in inputs.payments_of(name)["share_percent"]
        ],
        "convergence": _convergence(inputs, name),
        "size": {
            "curve": None if game.curve is None else _rounded(game.curve),
            "noise": _round(game.noise_sd),
            "dots": [[int(s), _round(v)] for s, v in zip(coalitions.sum(axis=1), measured[name], strict=True)],
        },
        "marginals": {
            "sizes": _rounded(game.sizes),
            "fitted": None if game.marginals is None else [_rounded(row) for row in game.marginals],
            "pairs": [[[size, _round(difference)] for size, difference in pairs] for pairs in game.pairs],
        },
    }


def _convergence(inputs: ReportInputs, name: str) -> dict[str, Any]:
    """Lines of all contributors, or of the best and the worst ones."""
    table = inputs.convergence[inputs.convergence["property"] == name]
    wide = table.pivot_table(index="contributor", columns="n_evaluations", values="shapley_value", sort=True)
    best_first = inputs.ranks_of(name).sort_values(kind="stable").index.tolist()
    half = N_LINES_MAX // 2
    shown = best_first if len(best_first) <= N_LINES_MAX else [*best_first[:half], *best_first[-half:]]
    return {
        "n": [int(length) for length in wide.columns],
        "players": [inputs.names.index(contributor) for contributor in shown],
        "lines": [_rounded(wide.loc[contributor]) for contributor in shown],
    }


def _rounded(values: Iterable[float] | Sequence[float]) -> list[float | None]:
    return [_round(value) for value in values]


def _round(value: float) -> float | None:
    """Six digits are more than a plot can show."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
