"""Error against seconds: retrained runs, cheap runs, and both together, on recorded and on synthetic pairs of games.

    python benchmarks/two_fidelity.py                  every recorded game in benchmarks/games/*.parquet, then synthetic
    python benchmarks/two_fidelity.py --recorded       recorded games only
    python benchmarks/two_fidelity.py --synthetic      synthetic pairs only
    ... --designs 20                                   random designs per cell
    python benchmarks/two_fidelity.py --timing         seconds of one fit of 2000 rows, one thread

The wanted game is the retrained one (recipe ``retrain``), its exact values come from all coalitions. Each method may
spend the same seconds, training and sampling of every run counted:

    paper, cheap        the paper's estimator and law on cheap runs
    paper, retrained    the same on retrained runs
    gp, cheap           Gaussian process on cheap runs
    gp, retrained       Gaussian process on retrained runs
    gp, retrained, ∅ twice   the same with two untrained models, as the joint designs have them
    two, passive        two fidelities, half of the seconds for cheap runs, both plans from ``plan_coalitions``
    two, adaptive       two fidelities, every batch chosen by ``next_evaluations``

Recorded runs are replayed: no coalition can be measured more often than it was recorded. Cheap methods stop when all
cheap runs are used. "two, shuffled" is ``two, passive`` with the cheap utilities permuted among the coalitions, beside
"gp, its retrained rows", the fit to the same retrained rows alone.

Not held out: the noise prior of the wanted level, the treatment of ∅ and the share of the passive plan were chosen with
digits8 and the synthetic pairs in sight.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from estimators import independent_rows, table, write
from families import FAMILIES
from groupshap.games import (
    RecordedGame,
    ShapleyValues,
    all_coalitions,
    estimate,
    estimate_two_fidelity,
    exact_shapley,
    load_recorded_games,
    next_evaluations,
    plan_coalitions,
    replicate_numbers,
)

GAMES = Path(__file__).parent / "games"
CHEAP_SHARE = 0.5
"""Of the seconds, for cheap runs in the passive plan."""
FIRST_WANTED, FIRST_CHEAP = 8, 16
"""Rows before the first adaptive choice."""
BUDGETS = (16, 32, 64)
"""In retrainings: multiples of the mean seconds of a retrained run."""
SYNTHETIC_BUDGETS = (16, 32)
LEANS = {"mild": (0.1, 0.1), "strong": (0.3, 0.4)}
"""Probability with which an absent player still counts, and size of the change by pruning in units of the game."""
MEASURES = {
    "relative_l2": "relative L2 error to the exact retrained values",
    "centred_l2": "the same of differences between players (mean over players taken off both)",
}
Row = dict[str, object]


@dataclass(frozen=True)
class Game:
    """Replicates of all coalitions: utilities and seconds, both (2**n_players, n_replicates)."""

    utilities: np.ndarray
    seconds: np.ndarray

    @property
    def n_replicates(self) -> int:
        """How often each coalition can be measured."""
        return self.utilities.shape[1]

    def measure(self, coalitions: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Utilities and seconds of rows; which replicate comes first is drawn per coalition from the seed."""
        codes = coalitions @ (1 << np.arange(coalitions.shape[1]))
        first = np.random.default_rng([seed, 31]).integers(self.n_replicates, size=len(self.utilities))
        column = (first[codes] + replicate_numbers(coalitions)) % self.n_replicates
        return self.utilities[codes, column], self.seconds[codes, column]

    def affordable(self, plan: np.ndarray, seed: int, seconds: float) -> np.ndarray:
        """The first rows of a plan that cost no more than ``seconds``."""
        return plan[: int((np.cumsum(self.measure(plan, seed)[1]) <= seconds).sum())]


@dataclass(frozen=True)
class Pair:
    """A wanted and a cheap game of the same players, and the exact values (n_players,) of the wanted one."""

    origin: str
    name: str
    wanted: Game
    cheap: Game
    shapley: np.ndarray

    @property
    def n_players(self) -> int:
        """Number of players."""
        return len(self.shapley)

    @property
    def costs(self) -> list[np.ndarray]:
        """Mean seconds of a cheap and of a retrained run, each (n_players + 1,) by |S|."""
        sizes = all_coalitions(self.n_players).sum(axis=1)
        by_size = sizes == np.arange(self.n_players + 1)[:, None]
        return [np.array([game.seconds[row].mean() for row in by_size]) for game in (self.cheap, self.wanted)]

    @property
    def seconds_of_retraining(self) -> float:
        """Mean over all coalitions: the unit of budgets."""
        return float(self.wanted.seconds.mean())


# ---------------------------------------------------------------------------------------------------------- games


def recorded_pairs(folder: Path) -> Iterator[Pair]:
    """Every property of every recorded game for which retrained and other runs of all coalitions exist."""
    games = load_recorded_games(folder)
    for (name, recipe, measured), cheap in games.items():
        wanted = games.get((name, "retrain", measured))
        if recipe != "retrain" and wanted is not None and wanted.is_complete and cheap.is_complete:
            yield Pair(
                "recorded",
                f"{name}, {measured}, {recipe}",
                _replicates(wanted),
                _replicates(cheap),
                exact_shapley(wanted.table()),
            )


def _replicates(game: RecordedGame) -> Game:
    """As many replicates as every coalition has."""
    codes = game.coalitions @ (1 << np.arange(game.n_players))
    n_replicates = int(np.bincount(codes).min())
    order = np.lexsort((game.replicates, codes))
    starts = np.searchsorted(codes[order], np.arange(2**game.n_players))
    rows = order[starts[:, None] + np.arange(n_replicates)]
    return Game(game.utilities[rows], game.seconds[rows])


def synthetic_pair(family: str, n: int, number: int, noise: float, n_replicates: int = 4) -> Pair:
    """A game and a cheap one that leans as sparsified models do, both measured with noise.

    The cheap game remembers: an absent player still counts with some probability (multilinear extension), which makes
    it too flat and weakens interactions; it is bent in |S|; and pruning changed it, by another game of some units.
    """
    lean = list(LEANS)[number % len(LEANS)]
    memory, changed = LEANS[lean]
    rng = np.random.default_rng([number, n, sorted(FAMILIES).index(family)])
    game, other = FAMILIES[family](n, rng), FAMILIES["additive+pairs"](n, rng)
    masks = all_coalitions(n)
    sizes, wanted = masks.sum(axis=1), game.utility(masks)
    change = other.utility(masks)
    change = change - np.array([change[sizes == size].mean() for size in range(n + 1)])[sizes]
    change *= game.unit / np.std(change[sizes == n // 2])
    bent = 0.5 * game.unit * np.sin(1.5 * np.pi * sizes / n)
    cheap = remembering(wanted, n, memory) + changed * change + bent

    def noisy(values: np.ndarray, seconds: float) -> Game:
        errors = noise * game.unit * rng.standard_normal((len(values), n_replicates))
        return Game(values[:, None] + errors, np.full(errors.shape, seconds))

    return Pair(
        "synthetic",
        f"{family}, {lean} lean, noise {noise}",
        noisy(wanted, 25.0),
        noisy(cheap, 3.2),
        exact_shapley(wanted),
    )


def remembering(values: np.ndarray, n: int, probability: float) -> np.ndarray:
    """(2**n,) mean of v when every absent player joins with the given probability."""
    result, codes = values.copy(), np.arange(2**n)
    for player in range(n):
        without = codes[codes >> player & 1 == 0]
        result[without] += probability * (result[without | 1 << player] - result[without])
    return result


# -------------------------------------------------------------------------------------------------------- methods


def single(
    pair: Pair, game: Game, estimator: str, seconds: float, seed: int, plan: np.ndarray | None = None
) -> ShapleyValues:
    """One estimator on one game alone, on its own law or the default plan where no plan is given."""
    n = pair.n_players
    if plan is None and estimator == "kernel":
        plan = independent_rows(n, 2**n * game.n_replicates, seed, "kernel")
    elif plan is None:
        plan = plan_coalitions(n, 2**n * game.n_replicates, seed=seed)
    rows = game.affordable(plan, seed, seconds)
    return estimate(rows, game.measure(rows, seed)[0], estimator=estimator, n_bootstrap=10)


def passive_designs(pair: Pair, seconds: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Retrained and cheap rows: half of the seconds for cheap ones, and what these leave over for the others."""
    n = pair.n_players
    cheap = pair.cheap.affordable(plan_coalitions(n, 2**n, seed=1000 + seed), seed, CHEAP_SHARE * seconds)
    left = seconds - pair.cheap.measure(cheap, seed)[1].sum()
    return pair.wanted.affordable(wanted_plan(pair, 2**n, seed), seed, left), cheap


def wanted_plan(pair: Pair, n_rows: int, seed: int) -> np.ndarray:
    """The default plan of retrained runs, but with ∅ twice: it costs no training, and its noise is large."""
    plan = plan_coalitions(pair.n_players, n_rows, seed=seed)
    return np.vstack([plan[:1], plan]) if pair.wanted.n_replicates > 1 else plan


def joint(pair: Pair, wanted: np.ndarray, cheap: np.ndarray, seed: int, shuffled: bool = False) -> ShapleyValues:
    """Two fidelities on given rows; shuffled: cheap utilities of interior coalitions permuted."""
    utilities = pair.cheap.measure(cheap, seed)[0]
    if shuffled:
        sizes = cheap.sum(axis=1)
        inner = np.flatnonzero((sizes > 0) & (sizes < pair.n_players))
        utilities[inner] = np.random.default_rng([seed, 5]).permutation(utilities[inner])
    return estimate_two_fidelity(wanted, pair.wanted.measure(wanted, seed)[0], cheap, utilities, n_bootstrap=10)


def adaptive_designs(pair: Pair, budgets: list[float], seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows after each budget: the plan grows in batches, four between two budgets, chosen from what was measured."""
    n = pair.n_players
    wanted = wanted_plan(pair, FIRST_WANTED, seed)
    cheap = plan_coalitions(n, FIRST_CHEAP, seed=1000 + seed)
    for budget, before in zip(budgets, [0.0, *budgets], strict=False):
        step = max((budget - before) / 4.0, pair.seconds_of_retraining)
        while True:
            values, spent = pair.wanted.measure(wanted, seed)
            cheap_values, cheap_spent = pair.cheap.measure(cheap, seed)
            left = budget - spent.sum() - cheap_spent.sum()
            if left < np.median(pair.costs[0]):
                break
            batch = next_evaluations(
                wanted,
                values,
                cheap,
                cheap_values,
                seconds=pair.costs,
                n_evaluations=1000,
                budget_seconds=min(left, step),
                max_replicates=[pair.cheap.n_replicates, pair.wanted.n_replicates],
                seed=seed,
            )
            if not len(batch):
                break
            cheap, wanted = np.vstack([cheap, batch.of_level(0)]), np.vstack([wanted, batch.of_level(1)])
        yield wanted, cheap


# ----------------------------------------------------------------------------------------------------------- runs


def compare(pair: Pair, budgets: tuple[int, ...], seed: int) -> Iterator[Row]:
    """One row per budget and method, for one design."""
    seconds = [budget * pair.seconds_of_retraining for budget in budgets]
    for budget, allowed, adapted in zip(budgets, seconds, adaptive_designs(pair, seconds, seed), strict=True):
        for method, (fit, n_rows) in _methods(pair, allowed, adapted, seed).items():
            head = {"origin": pair.origin, "pair": pair.name, "retrainings": budget, "method": method, "design": seed}
            yield head | _figures(fit, pair, n_rows)


def _methods(
    pair: Pair, seconds: float, adapted: tuple[np.ndarray, np.ndarray], seed: int
) -> dict[str, tuple[Callable[[], ShapleyValues], list[int]]]:
    """Name → (fit, numbers of retrained and cheap rows of a joint design)."""
    wanted, cheap = passive_designs(pair, seconds, seed)
    passive, adaptive = [len(wanted), len(cheap)], [len(rows) for rows in adapted]
    retrained = pair.wanted.measure(wanted, seed)[0]
    return {
        "paper, cheap": (lambda: single(pair, pair.cheap, "kernel", seconds, seed), []),
        "paper, retrained": (lambda: single(pair, pair.wanted, "kernel", seconds, seed), []),
        "gp, cheap": (lambda: single(pair, pair.cheap, "gp", seconds, seed), []),
        "gp, retrained": (lambda: single(pair, pair.wanted, "gp", seconds, seed), []),
        "gp, retrained, ∅ twice": (
            lambda: single(pair, pair.wanted, "gp", seconds, seed, wanted_plan(pair, 2**pair.n_players, seed)),
            [],
        ),
        "two, passive": (lambda: joint(pair, wanted, cheap, seed), passive),
        "two, adaptive": (lambda: joint(pair, *adapted, seed), adaptive),
        "gp, its retrained rows": (lambda: estimate(wanted, retrained, n_bootstrap=10), []),
        "two, shuffled": (lambda: joint(pair, wanted, cheap, seed, shuffled=True), passive),
    }


def _figures(fit: Callable[[], ShapleyValues], pair: Pair, n_rows: list[int]) -> Row:
    """Error and coverage of one result; nan where the estimator refuses so few rows."""
    try:
        result = fit()
    except ValueError:
        keys = ("relative_l2", "centred_l2", "coverage", "centred_coverage", "fell_back", "n_wanted", "n_cheap")
        return dict.fromkeys(keys, np.nan)
    low, high = result.interval()
    gap, truth = result.values - pair.shapley, pair.shapley
    centred = np.linalg.norm(gap - gap.mean()) / np.linalg.norm(truth - truth.mean())
    wanted, cheap = n_rows or [result.n_evaluations, 0]
    return {
        "relative_l2": round(float(np.linalg.norm(gap) / np.linalg.norm(truth)), 5),
        "centred_l2": round(float(centred), 5),
        "coverage": round(float(np.mean((low <= truth) & (truth <= high))), 4),
        "centred_coverage": round(centred_coverage(result, truth), 4),
        "fell_back": float("two_fidelity" not in result.estimator) if n_rows else np.nan,
        "n_wanted": wanted,
        "n_cheap": cheap,
    }


def centred_coverage(result: ShapleyValues, truth: np.ndarray) -> float:
    """Share of the players whose difference to the mean of all is inside its interval.

    Two untrained models are all that were recorded, and their mean is v(∅) of the exact values: a design that has both
    makes no error there, though its intervals rightly allow for one. In differences between players v(∅) is not.
    """
    covariance = result.covariance - result.covariance.mean(axis=0)
    variances = np.diag(covariance - covariance.mean(axis=1)[:, None])
    if not np.isfinite(variances).all():
        return np.nan
    centred = replace(result, values=result.values - result.values.mean(), covariance=np.diag(variances))
    low, high = centred.interval()
    wanted = truth - truth.mean()
    return float(np.mean((low <= wanted) & (wanted <= high)))


def summarise(rows: list[Row]) -> list[str]:
    """Tables: median error per method and budget, ratios, coverage."""
    methods = list(dict.fromkeys(row["method"] for row in rows))[:7]
    lines: list[str] = []
    for name in dict.fromkeys(row["pair"] for row in rows):
        own = [row for row in rows if row["pair"] == name]
        lines += ["", f"## {name}"]
        for key, what in MEASURES.items():
            lines += ["", f"Median {what}:"]
            budgets = dict.fromkeys(row["retrainings"] for row in own)
            lines += table([_errors(own, budget, methods, key) for budget in budgets])
    for origin in dict.fromkeys(row["origin"] for row in rows):
        chosen = [row for row in rows if row["origin"] == origin]
        lines += ["", f"## All {origin} pairs", "", "Geometric means over pairs and designs of ratios of L2 errors:"]
        budgets = dict.fromkeys(row["retrainings"] for row in chosen)
        overall = [_overall([row for row in chosen if row["retrainings"] == budget], budget) for budget in budgets]
        lines += table(overall)
    return lines


def _errors(rows: list[Row], budget: int, methods: list[str], measure: str) -> Row:
    chosen = [row for row in rows if row["retrainings"] == budget]
    medians = {method: np.median(_column(chosen, method, measure)) for method in methods}
    alone = [medians[method] for method in methods[:5] if np.isfinite(medians[method])]
    counts = [f"{np.median(_column(chosen, 'two, adaptive', key)):.0f}" for key in ("n_wanted", "n_cheap")]
    return {
        "seconds in retrainings": budget,
        **{method: f"{median:.3f}" for method, median in medians.items()},
        "passive / best single": f"{medians['two, passive'] / min(alone):.2f}",
        "adaptive / best single": f"{medians['two, adaptive'] / min(alone):.2f}",
        "adaptive rows (retrained + cheap)": " + ".join(counts),
    }


def _overall(rows: list[Row], budget: int) -> Row:
    def ratio(first: str, second: str) -> str:
        logs = np.log(_column(rows, first, "relative_l2")) - np.log(_column(rows, second, "relative_l2"))
        return f"{np.exp(np.nanmean(logs)):.2f}" if np.isfinite(logs).any() else "nan"

    return {
        "seconds in retrainings": budget,
        "passive / gp, retrained": ratio("two, passive", "gp, retrained"),
        "adaptive / passive": ratio("two, adaptive", "two, passive"),
        "shuffled / gp, its rows": ratio("two, shuffled", "gp, its retrained rows"),
        **{
            f"coverage {method}": f"{np.nanmean(_column(rows, method, 'coverage')):.3f}"
            for method in ("gp, retrained", "two, passive", "two, adaptive", "two, shuffled")
        },
        **{
            f"of differences, {method}": f"{np.nanmean(_column(rows, method, 'centred_coverage')):.3f}"
            for method in ("two, passive", "two, adaptive")
        },
        "passive fell back": f"{np.nanmean(_column(rows, 'two, passive', 'fell_back')):.2f}",
    }


def _column(rows: list[Row], method: str, key: str) -> np.ndarray:
    """In the order of pairs and designs, so that columns of two methods can be compared row by row."""
    return np.array([row[key] for row in rows if row["method"] == method], dtype=float)


def timings() -> list[Row]:
    """Seconds of one estimate of 1744 cheap and 256 retrained rows, the size at which it must stay within a minute."""
    rows = []
    for n_players in (10, 50, 258):
        game = FAMILIES["additive+pairs"](n_players, np.random.default_rng(0))
        cheap, wanted = (plan_coalitions(n_players, n_rows, seed=n_rows) for n_rows in (1744, 256))
        cheap_values, values = (game.measure(0.3, len(masks))(masks) for masks in (cheap, wanted))
        start = time.perf_counter()
        result = estimate_two_fidelity(wanted, values, cheap, cheap_values)
        seconds = round(time.perf_counter() - start, 1)
        distinct = int(result.diagnostics.get("n_cheap_coalitions_used", np.nan))
        rows.append({"players": n_players, "distinct cheap rows": distinct, "seconds": seconds})
    return rows


def pairs_of(options: argparse.Namespace) -> Iterator[tuple[Pair, tuple[int, ...], int]]:
    """(pair, budgets, design) of every run."""
    if not options.synthetic:
        for pair in recorded_pairs(GAMES):
            yield from ((pair, BUDGETS, seed) for seed in range(options.designs))
    if not options.recorded:
        for family in FAMILIES:
            for seed in range(options.designs):
                yield synthetic_pair(family, 8, seed % 10, options.noise), SYNTHETIC_BUDGETS, seed


def main() -> None:
    """Run and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recorded", action="store_true")
    parser.add_argument("--synthetic", action="store_true")
    parser.add_argument("--timing", action="store_true")
    parser.add_argument("--designs", type=int, default=20)
    parser.add_argument("--noise", type=float, default=0.3, help="of synthetic games, in their unit")
    parser.add_argument("--name", default="two_fidelity", help="stem of the result files")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    start = time.perf_counter()
    if options.timing:
        rows = timings()
        write(rows, "two_fidelity_timing", time.perf_counter() - start, table(rows))
    else:
        rows = [row for pair, budgets, seed in pairs_of(options) for row in compare(pair, budgets, seed)]
        write(rows, options.name, time.perf_counter() - start, summarise(rows))


if __name__ == "__main__":
    main()
