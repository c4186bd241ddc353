"""Compare Shapley estimators on games with known values, with and without noise; measure coverage and speed.

    python benchmarks/estimators.py                 error and time of every estimator
    python benchmarks/estimators.py --held-out      the same on games the estimators were not developed on
    python benchmarks/estimators.py --coverage      how often the 95 % intervals hold the true values
    python benchmarks/estimators.py --timing        fit time and peak memory of large problems; the committee's accuracy
    ... --quick                                     fewer repetitions; --players 10 16 restricts n

Each mode writes benchmarks/results/<mode>.md (summary) and .csv (rows). shapiq (LeverageSHAP, RegressionMSR: from 1.8,
Python 3.12; ``pip install -e .[bench]``) takes part where it is installed; where it is not, its rows of the last run of
the same cells stay. It runs by replay: we record what it asks for, measure these rows, and call it again.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import importlib.util
import platform
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np

from families import ENUMERATED, FAMILIES, Game
from groupshap.games import estimate, plan_coalitions, size_probabilities, spearman
from groupshap.games.committee import fit_committee
from groupshap.games.estimators import ROWS_PER_BLOCK
from groupshap.games.evaluations import collapse
from groupshap.games.subset_gp import fit_subset_gp
from held_out import HELD_OUT, HELD_OUT_PLAYERS

RESULTS = Path(__file__).parent / "results"
BUDGETS = {10: (64, 128, 256, 512), 16: (64, 128, 256, 512), 50: (128, 256, 512), 258: (512, 1000)}
HELD_OUT_BUDGETS = (64, 128, 256, 512)
NOISES = {False: (0.0, 0.5), True: (0.25, 0.5, 1.0)}
"""In units of the standard deviation of v between half-size coalitions; False: own families, True: held out."""
GAMES_PER_FAMILY = 5
PAPER = "kernel, independent (paper)"
Row = dict[str, object]
Measure = Callable[[np.ndarray], np.ndarray]
Method = Callable[[int, int, int, Measure], np.ndarray]
"""(n, budget, seed, measure) → values (n,)."""


@cache
def game_of(family: str, n: int, number: int) -> Game:
    """Member ``number`` of a family."""
    make = (FAMILIES | HELD_OUT)[family]
    return make(n, np.random.default_rng([number, n, sorted(FAMILIES | HELD_OUT).index(family)]))


def cells(players: list[int], held_out: bool) -> Iterator[tuple[int, str, float, int]]:
    """(n, family, noise, budget) with known values; budgets that hold all coalitions are left out."""
    chosen = (
        [(n, family) for family, sizes in HELD_OUT_PLAYERS.items() for n in sizes]
        if held_out
        else [(n, family) for n in players for family in FAMILIES if n <= 16 or family not in ENUMERATED]
    )
    for n, family in chosen:
        for noise in NOISES[held_out]:
            for budget in HELD_OUT_BUDGETS if held_out else BUDGETS[n]:
                if budget < 2**n:
                    yield n, family, noise, budget


# -------------------------------------------------------------------------------------------------------- methods


def _ours(estimator: str, law: str, paired: bool = True) -> Method:
    def method(n: int, budget: int, seed: int, measure: Measure) -> np.ndarray:
        plan = plan_coalitions(n, budget, seed=seed, law=law) if paired else independent_rows(n, budget, seed, law)
        return estimate(plan, measure(plan), estimator=estimator, law=law, n_bootstrap=2).values

    return method


def independent_rows(n: int, budget: int, seed: int, law: str) -> np.ndarray:
    """∅, N and independent draws without pairing: the paper's design."""
    rng = np.random.default_rng([seed, 5])
    sizes = rng.choice(np.arange(1, n), size=budget - 2, p=size_probabilities(n, law))
    ranks = np.argsort(np.argsort(rng.random((budget - 2, n)), axis=1), axis=1)
    return np.vstack([np.zeros((1, n), bool), np.ones((1, n), bool), ranks < sizes[:, None]])


class _AskedError(Exception):
    """Raised to stop an approximator once its coalitions are known."""


def _replayed(make: Callable[[int, int], object]) -> Method:
    """Replay of the approximator that ``make(n, seed)`` builds."""

    def method(n: int, budget: int, seed: int, measure: Measure) -> np.ndarray:
        asked: list[np.ndarray] = []

        def record(masks: np.ndarray) -> np.ndarray:
            asked.append(np.array(masks, dtype=bool))
            raise _AskedError

        with contextlib.suppress(_AskedError):
            make(n, seed).approximate(budget, record)
        if len(asked[0]) > budget:
            raise RuntimeError(f"{make(n, seed)} asked for {len(asked[0])} coalitions at a budget of {budget}.")
        table = {mask.tobytes(): value for mask, value in zip(asked[0], measure(asked[0]), strict=True)}
        result = make(n, seed).approximate(
            budget, lambda masks: np.array([table[np.array(mask, bool).tobytes()] for mask in masks])
        )
        return np.asarray(result.get_n_order_values(1))

    return method


def _shapiq() -> dict[str, Method]:
    """Approximators of the installed shapiq; none without it."""
    if importlib.util.find_spec("shapiq") is None:
        return {}
    approximator = importlib.import_module("shapiq.approximator")

    def builder(name: str, options: dict[str, str]) -> Callable[[int, int], object]:
        return lambda n, seed: getattr(approximator, name)(n, random_state=seed, **options)

    wanted = {"KernelSHAP": {}, "LeverageSHAP": {}, "RegressionMSR": {"index": "SV"}, "SVARM": {}}
    return {
        f"shapiq {name}": _replayed(builder(name, options))
        for name, options in wanted.items()
        if hasattr(approximator, name)
    }


@cache
def methods() -> dict[str, Method]:
    """Every estimator of the comparison that can run here."""
    return {
        "gp": _ours("gp", "uniform_size"),
        "size_adjusted": _ours("size_adjusted", "uniform_size"),
        PAPER: _ours("kernel", "kernel", paired=False),
        "kernel, paired": _ours("kernel", "kernel"),
        "permutation": _ours("permutation", "permutation"),
    } | _shapiq()


# ----------------------------------------------------------------------------------------------------------- runs


def compare(players: list[int], held_out: bool, n_repetitions: int) -> Iterator[Row]:
    """One row per cell and method: medians over repetitions; nan where the method refuses."""
    for cell in cells(players, held_out):
        for name, method in methods().items():
            head = dict(zip(("n", "family", "noise", "budget"), cell, strict=True))
            yield head | {"method": name} | _median_of(method, cell, n_repetitions)


def _median_of(method: Method, cell: tuple[int, str, float, int], n_repetitions: int) -> dict[str, float]:
    n, family, noise, budget = cell
    results = []
    for seed in range(n_repetitions if n < 258 else max(2, n_repetitions // 3)):
        game = game_of(family, n, seed % GAMES_PER_FAMILY)
        start = time.perf_counter()
        try:
            values = method(n, budget, seed, game.measure(noise, seed))
        except ValueError:
            return {"relative_l2": np.nan, "spearman": np.nan, "seconds": np.nan}
        seconds = time.perf_counter() - start
        error = np.linalg.norm(values - game.shapley) / np.linalg.norm(game.shapley)
        results.append((error, spearman(values, game.shapley), seconds))
    error, rank, seconds = np.median(results, axis=0)
    return {"relative_l2": round(error, 5), "spearman": round(rank, 4), "seconds": round(seconds, 4)}


def cover(players: list[int], held_out: bool, n_repetitions: int) -> Iterator[Row]:
    """Share of the true values inside nominal 95 % intervals of ``gp``; held out: noise 0.5 and two budgets."""
    for n, family, noise, budget in cells(players, held_out):
        chosen = {512} if n >= 258 else {64, 256} if held_out else {128, 256}
        if budget in chosen and (noise == 0.5 or not held_out):
            yield {"n": n, "family": family, "noise": noise, "budget": budget} | _coverage_of(
                (n, family, noise, budget), n_repetitions
            )


def _coverage_of(cell: tuple[int, str, float, int], n_repetitions: int) -> dict[str, float]:
    n, family, noise, budget = cell
    inside, widths, ratio = [], [], []
    for seed in range(n_repetitions):
        game = game_of(family, n, seed % GAMES_PER_FAMILY)
        plan = plan_coalitions(n, budget, seed=seed)
        result = estimate(plan, game.measure(noise, seed)(plan))
        low, high = result.interval()
        inside.append(((low <= game.shapley) & (game.shapley <= high)).mean())
        widths.append((high - low).mean() / np.ptp(game.shapley))
        ratio.append(np.mean((result.values - game.shapley) ** 2) / np.mean(result.standard_errors**2))
    return {
        "repetitions": n_repetitions,
        "coverage": round(float(np.mean(inside)), 3),
        "width_over_range": round(float(np.mean(widths)), 3),
        "squared_error_over_variance": round(float(np.mean(ratio)), 3),
    }


def timing(sizes: list[tuple[int, int]]) -> Iterator[Row]:
    """Fit time and peak memory, each in a fresh process."""
    for n, budget in sizes:
        code = (
            "import sys,time,resource,numpy as np; from groupshap.games import *; n,M=map(int,sys.argv[1:]);"
            "C=plan_coalitions(n,M,seed=0); r=np.random.default_rng(0); y=np.log1p(C@r.random(n))+.05*r.normal(size=M);"
            "t,c=time.perf_counter(),time.process_time(); estimate(C,y);"
            "print(time.perf_counter()-t, time.process_time()-c, "
            "resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024)"
        )
        run = subprocess.run(
            [sys.executable, "-c", code, str(n), str(budget)], capture_output=True, text=True, check=True
        )
        seconds, cpu_seconds, megabytes = map(float, run.stdout.split())
        yield {
            "n": n,
            "budget": budget,
            "fit_seconds": round(seconds, 2),
            "cpu_seconds": round(cpu_seconds, 2),
            "peak_mib": round(megabytes),
        }


def committee(problems: list[tuple[int, str, int]]) -> Iterator[Row]:
    """Above 3000 rows: the committee of processes against one exact process on the same rows, noise 0.5."""
    for n, family, budget in problems:
        game, plan = game_of(family, n, 0), plan_coalitions(n, budget, seed=0)
        evaluations = collapse(plan, game.measure(0.5, 0)(plan))
        start = time.perf_counter()
        model = fit_subset_gp(evaluations)
        values, covariance = model.shapley()
        exact_seconds = time.perf_counter() - start
        start = time.perf_counter()
        fit = fit_committee(evaluations, ROWS_PER_BLOCK)
        committee_seconds = time.perf_counter() - start
        truth, exact, approximate = (x - x.mean() for x in (game.shapley, values, fit.values))
        size = np.linalg.norm(truth)
        yield {
            "n": n,
            "family": family,
            "budget": budget,
            "exact: seconds": round(exact_seconds, 1),
            "committee: seconds": round(committee_seconds, 1),
            "exact: L2 of centred values": round(float(np.linalg.norm(exact - truth) / size), 4),
            "committee: L2": round(float(np.linalg.norm(approximate - truth) / size), 4),
            "L2 between them": round(float(np.linalg.norm(approximate - exact) / size), 4),
            "ratio of standard errors": round(float(np.sqrt(np.trace(fit.covariance) / np.trace(covariance))), 3),
        }


# --------------------------------------------------------------------------------------------------------- report


def table(rows: list[Row]) -> list[str]:
    """Markdown lines of rows with equal keys."""
    head = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    return ["", *head, *("| " + " | ".join(str(value) for value in row.values()) + " |" for row in rows)]


def errors_by_cell(rows: list[Row]) -> dict[tuple, dict[str, float]]:
    """(n, family, noise, budget) → method → error, of the noisy cells with at most 512 rows."""
    noisy: dict[tuple, dict[str, float]] = {}
    for row in rows:
        if row["noise"] and 64 <= row["budget"] <= 512:
            cell = (row["n"], row["family"], row["noise"], row["budget"])
            noisy.setdefault(cell, {})[row["method"]] = row["relative_l2"]
    return noisy


def comparison_summary(rows: list[Row]) -> list[str]:
    """Medians and worst ratios over the noisy cells, the figures of the acceptance, and medians per family."""
    noisy = errors_by_cell(rows)
    # A method that refuses every cell (too few rows for so many players) has no figures, and says so in the rows.
    names = list(dict.fromkeys(row["method"] for row in rows))
    names = [name for name in names if any(np.isfinite(cell.get(name, np.nan)) for cell in noisy.values())]
    return [
        "",
        "Relative L2 error, cells with noise and 64–512 evaluations; each cell is a median over repetitions.",
        *table([_figures(name, list(noisy.values())) for name in names]),
        "",
        "Median relative L2 error per family and n, the same cells:",
        *table(_by_family(noisy, names)),
        "",
        "Worst cells of gp against the best estimator of the cell:",
        *table(_worst(noisy)),
    ]


def _figures(name: str, cells_done: list[dict[str, float]]) -> Row:
    done = [cell for cell in cells_done if np.isfinite(cell.get(name, np.nan))]
    to_best = [cell[name] / np.nanmin(list(cell.values())) for cell in done]
    figures = {
        "median L2": np.median([cell[name] for cell in done]),
        "median L2 / paper's median": np.median([cell[name] for cell in done])
        / np.nanmedian([cell[PAPER] for cell in done]),
        "median ratio to paper": np.nanmedian([cell[name] / cell[PAPER] for cell in done]),
        "median ratio to best": np.median(to_best),
        "worst ratio to best": np.max(to_best),
    }
    return {"method": name} | {key: f"{figure:.3g}" for key, figure in figures.items()} | {"cells": len(done)}


def _by_family(noisy: dict[tuple, dict[str, float]], names: list[str]) -> list[Row]:
    return [
        {"family": family, "n": n}
        | {
            name: f"{np.nanmedian([cell[name] for key, cell in noisy.items() if key[:2] == (n, family)]):.3g}"
            for name in names
        }
        for n, family in dict.fromkeys(key[:2] for key in noisy)
    ]


def _worst(noisy: dict[tuple, dict[str, float]], n_cells: int = 6) -> list[Row]:
    ratios = {key: cell["gp"] / np.nanmin(list(cell.values())) for key, cell in noisy.items()}
    rows = []
    for key in sorted(ratios, key=ratios.__getitem__, reverse=True)[:n_cells]:
        best = min((name for name in noisy[key] if np.isfinite(noisy[key][name])), key=noisy[key].__getitem__)
        head = dict(zip(("n", "family", "noise", "budget"), key, strict=True))
        rows.append(head | {"gp / best": f"{ratios[key]:.2f}", "best": best, "its L2": noisy[key][best]})
    return rows


def rivals_of_before(rows: list[Row], name: str) -> list[Row]:
    """Rows of methods that cannot run here, from the last run; none where the paper's errors differ from it.

    Equal errors of an estimator that nobody changes say that games, noise and repetitions are the same.
    """
    file = RESULTS / f"{name}.csv"
    if not file.exists():
        return []
    with file.open(newline="") as lines:
        before = [
            row | {"n": int(row["n"]), "noise": float(row["noise"]), "budget": int(row["budget"])}
            | {key: float(row[key]) for key in ("relative_l2", "spearman", "seconds")}
            for row in csv.DictReader(lines)
        ]  # fmt: skip

    def of_the_paper(table: list[Row]) -> list[str]:
        keys = ("n", "family", "noise", "budget", "relative_l2")
        return [" ".join(f"{row[key]}" for key in keys) for row in table if row["method"] == PAPER]

    if of_the_paper(before) != of_the_paper(rows):
        print(f"{file.name} held other cells: its rows of methods that cannot run here are gone.", file=sys.stderr)
        return []
    return [row for row in before if row["method"].startswith("shapiq ") and row["method"] not in methods()]


def remark_on(rivals: list[Row]) -> list[str]:
    """Which rows are not of this run."""
    names = ", ".join(dict.fromkeys(row["method"] for row in rivals))
    return ["", f"From an earlier run of the same cells, because they cannot run here: {names}."] if rivals else []


def write(rows: list[Row], name: str, seconds: float, body: list[str]) -> None:
    """Rows as csv; summary as markdown with the command, machine, date and wall time."""
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    head = [
        f"# {name}",
        "",
        f"Command: `python {' '.join(sys.argv)}`  ",
        f"Machine: {platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}, one thread  ",
        f"Date: {datetime.now(UTC):%Y-%m-%d}, wall time {seconds:.0f} s, "
        f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB; rows in `{name}.csv`",
    ]
    (RESULTS / f"{name}.md").write_text("\n".join(head + body) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--coverage", action="store_true")
    parser.add_argument("--timing", action="store_true")
    parser.add_argument("--players", type=int, nargs="+", default=[10, 16, 50, 258])
    parser.add_argument("--repetitions", type=int)
    parser.add_argument("--name", help="stem of the result files")
    return parser.parse_args()


def main() -> None:
    """Run one mode and write its table."""
    options = _arguments()
    warnings.simplefilter("ignore")
    start = time.perf_counter()
    suffix = "_held_out" if options.held_out else ""
    if options.timing:
        sizes = [(10, 128), (50, 500), (258, 1000), (1000, 2000), (258, 6000)]
        rows, name = list(timing(sizes[:3] if options.quick else sizes)), "timing"
        problems = [(50, "coverage", 3200), (50, "unanimity", 3200), (258, "saturating", 3200), (258, "coverage", 3200)]
        accuracy = list(committee(problems[: 1 if options.quick else None]))
        body = [*table(rows), "", "Committee (more than 3000 rows) against one exact process:", *table(accuracy)]
    elif options.coverage:
        repetitions = options.repetitions or (20 if options.quick else 100)
        rows, name = list(cover(options.players, options.held_out, repetitions)), f"coverage{suffix}"
        body = table(rows)
    else:
        repetitions = options.repetitions or (3 if options.quick else 10)
        rows, name = list(compare(options.players, options.held_out, repetitions)), f"estimators{suffix}"
        rivals = rivals_of_before(rows, options.name or name)
        rows += rivals
        body = [*remark_on(rivals), *comparison_summary(rows)]
    write(rows, options.name or name, time.perf_counter() - start, body)
    print((RESULTS / f"{options.name or name}.md").read_text())


if __name__ == "__main__":
    main()
