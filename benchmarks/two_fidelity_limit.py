"""How right could any spending make two fidelities? The recorded games with all that spending could buy given away.

    python benchmarks/two_fidelity_limit.py        after two_fidelity.py, whose errors it stands beside

All cheap runs, every replicate of every coalition, cost nothing here, and all seconds go into retrainings of the
default plan. The hyper-parameters are either fitted to these rows, or found on the complete tables of both games, which
nobody has. The smaller of the two errors is about what ``two, adaptive`` of two_fidelity.py could hope for; it is no
bound, because that one also chooses what to retrain.
"""

from __future__ import annotations

import csv
import time

import numpy as np

from estimators import RESULTS, Row, table, write
from groupshap.games import all_coalitions, estimate_two_fidelity
from groupshap.games.evaluations import Evaluations, collapse
from groupshap.games.two_fidelity_fit import fit_levels
from groupshap.games.two_fidelity_model import CoKriging, condition_levels, stack
from two_fidelity import GAMES, Game, Pair, recorded_pairs, wanted_plan

BUDGETS = (16, 32)
N_DESIGNS = 20
SINGLE = ("paper, cheap", "paper, retrained", "gp, cheap", "gp, retrained", "gp, retrained, ∅ twice")


def complete(game: Game, n_players: int) -> tuple[np.ndarray, np.ndarray]:
    """Every replicate of every coalition: masks and utilities."""
    return np.repeat(all_coalitions(n_players), game.n_replicates, axis=0), game.utilities.ravel()


def rows_of(masks: np.ndarray, utilities: np.ndarray) -> Evaluations:
    """As ``estimate_two_fidelity`` reads them."""
    return collapse(masks, utilities, clearly_larger=1.0)


def with_known_parameters(known: CoKriging, levels: list[Evaluations]) -> np.ndarray:
    """(n_players,) values at the hyper-parameters of the complete tables, shifted to the measured v(N) − v(∅)."""
    parts = [
        (level.masks, level.replicates, (level.utilities - mean) / scale)
        for level, (mean, scale) in zip(levels, known.scales, strict=True)
    ]
    values = condition_levels(stack(parts), known.thetas, known.rhos, known.scales).shapley()[0]
    return values + (levels[-1].v_grand - levels[-1].v_empty - values.sum()) / len(values)


def limits(pair: Pair, budget: int) -> tuple[float, float]:
    """Median relative L2 errors over the designs: hyper-parameters fitted, and known."""
    cheap = complete(pair.cheap, pair.n_players)
    known = fit_levels([rows_of(*cheap), rows_of(*complete(pair.wanted, pair.n_players))])[-1]
    errors = []
    for seed in range(N_DESIGNS):
        plan = wanted_plan(pair, 2**pair.n_players, seed)
        masks = pair.wanted.affordable(plan, seed, budget * pair.seconds_of_retraining)
        utilities = pair.wanted.measure(masks, seed)[0]
        fitted = estimate_two_fidelity(masks, utilities, *cheap, n_bootstrap=10).values
        ideal = with_known_parameters(known, [rows_of(*cheap), rows_of(masks, utilities)])
        errors.append([np.linalg.norm(values - pair.shapley) for values in (fitted, ideal)])
    fitted_error, ideal_error = np.median(errors, axis=0) / np.linalg.norm(pair.shapley)
    return float(fitted_error), float(ideal_error)


def measured_errors() -> dict[tuple[str, int], dict[str, float]]:
    """(pair, budget) → method → median relative L2 error, from the rows of two_fidelity.py."""
    collected: dict[tuple[str, int], dict[str, list[float]]] = {}
    with (RESULTS / "two_fidelity.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            cell = collected.setdefault((row["pair"], int(row["retrainings"])), {})
            cell.setdefault(row["method"], []).append(float(row["relative_l2"]))
    return {
        key: {method: float(np.median(errors)) for method, errors in cell.items()} for key, cell in collected.items()
    }


def compare(pair: Pair, budget: int, measured: dict[str, float]) -> Row:
    """One line: what was measured, what could be hoped for."""
    single = min(measured[method] for method in SINGLE if np.isfinite(measured[method]))
    fitted, known = limits(pair, budget)
    least = min(fitted, known)
    return {
        "pair": pair.name,
        "seconds in retrainings": budget,
        "best single": round(single, 3),
        "two, passive": round(measured["two, passive"], 3),
        "two, adaptive": round(measured["two, adaptive"], 3),
        "cheap runs free": round(fitted, 3),
        "and hyper-parameters known": round(known, 3),
        "limit / best single": round(least / single, 2),
        "adaptive / best single": round(measured["two, adaptive"] / single, 2),
        "limit / passive": round(least / measured["two, passive"], 2),
    }


def main() -> None:
    """Run and write the table."""
    start, measured = time.perf_counter(), measured_errors()
    rows = [compare(pair, budget, measured[pair.name, budget]) for pair in recorded_pairs(GAMES) for budget in BUDGETS]
    head = ["", "Median relative L2 errors to the exact retrained values over 20 designs:"]
    write(rows, "two_fidelity_limit", time.perf_counter() - start, [*head, *table(rows)])


if __name__ == "__main__":
    main()
