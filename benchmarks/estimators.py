"""Compare Shapley estimators on games with known values, with and without noise; measure coverage and speed.

    python benchmarks/estimators.py                 error and time of every estimator
    python benchmarks/estimators.py --coverage      how often the 95 % intervals hold the true values
    python benchmarks/estimators.py --timing        fit time and peak memory of large problems
    ... --quick                                     fewer repetitions and games; --players 10 16 restricts n

Results are appended by mode to benchmarks/results/estimators*.md and .csv. The games here are our own: nothing may be
tuned to them beyond what holds for all of them. shapiq (LeverageSHAP, RegressionMSR: from 1.8, Python 3.12) is used
where it is installed; it runs by replay: we record what it asks for, "measure" these rows, and call it again.
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
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np

from groupshap.games import all_coalitions, estimate, exact_shapley, plan_coalitions, size_probabilities, spearman

RESULTS = Path(__file__).parent / "results"
BUDGETS = {10: (64, 128, 256, 512), 16: (64, 128, 256, 512), 50: (128, 256, 512), 258: (512, 1000)}
NOISES = (0.0, 0.5)
"""In units of the standard deviation of v between half-size coalitions."""


@dataclass(frozen=True)
class Game:
    """Noise-free utilities of (m, n) bool coalitions, true Shapley values (n,), and the unit of the noise."""

    name: str
    utility: Callable[[np.ndarray], np.ndarray]
    shapley: np.ndarray
    unit: float


# ---------------------------------------------------------------------------------------------------------- games


def _game(name: str, utility: Callable[[np.ndarray], np.ndarray], shapley: np.ndarray) -> Game:
    n = len(shapley)
    rng = np.random.default_rng(99)
    half = np.argsort(rng.random((2000, n)), axis=1) < n // 2
    return Game(name, utility, shapley, float(np.std(utility(half))))


def additive_pairs(n: int, rng: np.random.Generator) -> Game:
    """Weights and sparse pairwise terms; φ_i = w_i + ½ Σ_j p_ij."""
    weights = rng.normal(1.0, 0.7, n)
    pairs = np.triu(rng.normal(0.0, 1.0, (n, n)) * (rng.random((n, n)) < 4.0 / n), 1)
    both = pairs + pairs.T
    return _game(
        "additive+pairs",
        lambda m: m @ weights + 0.5 * np.einsum("ri,ri->r", m @ both, m.astype(float)),
        weights + 0.5 * both.sum(axis=1),
    )


def coverage(n: int, rng: np.random.Generator) -> Game:
    """Topics worth u, each held by a few players; v(S) = worth of the topics held in S; φ shares each topic equally."""
    n_topics = 4 * n
    holders = rng.random((n_topics, n)) < (rng.uniform(1.0, 5.0, (n_topics, 1)) / n) * rng.gamma(2.0, 0.5, n)
    worth = rng.gamma(1.0, 1.0, n_topics) * holders.any(axis=1)
    share = worth / np.maximum(holders.sum(axis=1), 1)
    return _game("coverage", lambda m: ((m @ holders.T.astype(np.float32)) > 0) @ worth, share @ holders)


def unanimity(n: int, rng: np.random.Generator) -> Game:
    """Sum of unanimity games of 1–5 players: interactions of all these orders, of both signs."""
    n_terms = 5 * n
    members = [rng.permutation(n)[: rng.integers(1, 6)] for _ in range(n_terms)]
    masks = np.array([np.isin(np.arange(n), team) for team in members])
    worth = rng.normal(0.2, 1.0, n_terms)
    sizes = masks.sum(axis=1)
    return _game("unanimity", lambda m: ((m.astype(np.float32) @ masks.T) == sizes) @ worth, (worth / sizes) @ masks)


def saturating(n: int, rng: np.random.Generator) -> Game:
    """v(S) = 1 − exp(−4 w(S)/w(N)) with integer weights; φ by counting subsets per (size, weight)."""
    weights = rng.integers(1, 10, n)
    total = int(weights.sum())

    def saturation(weight: np.ndarray) -> np.ndarray:
        return 1.0 - np.exp(-4.0 * weight / total)

    value_of = {
        int(w): _mean_gain(np.delete(weights, int(np.argmax(weights == w))), int(w), saturation)
        for w in set(weights.tolist())
    }
    return _game("saturating", lambda m: saturation(m @ weights), np.array([value_of[int(w)] for w in weights]))


def _mean_gain(others: np.ndarray, own: int, function: Callable[[np.ndarray], np.ndarray]) -> float:
    """Mean of f(W+own) − f(W) over random orders: probability of each (size, weight) of the predecessors."""
    n, top = len(others), int(others.sum())
    probability = np.zeros((n + 1, top + 1))
    probability[0, 0] = 1.0
    for done, weight in enumerate(others):
        # One more player, reservoir-wise: with k+1 players, P(size a) stays uniform over sets of that size.
        size = np.arange(n + 1)[:, None]
        grown = probability * (done + 1 - size) / (done + 1)
        grown[1:, weight:] += (probability * (size + 1))[:-1, : top + 1 - weight] / (done + 1)
        probability = np.maximum(grown, 0.0)
    worth = np.arange(top + 1)
    return float((probability @ (function(worth + own) - function(worth))).mean())


def accuracy(n: int, rng: np.random.Generator) -> Game:
    """Test accuracy of nearest class means on digits, trained on the union of the players' images (enumerated)."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = rng.permutation(len(labels))
    test, train = order[:300], order[300 : 300 + 12 * n]
    owner = np.sort(rng.integers(0, n, len(train)))
    train = train[np.argsort(labels[train] + 4.0 * rng.random(len(train)))]  # owners hold few classes
    one_hot = np.eye(10)[labels[train]]
    owned = np.eye(n)[owner].T
    counts = owned @ one_hot
    sums = np.einsum("pi,ic,id->pcd", owned, one_hot, images[train])

    def utility(masks: np.ndarray) -> np.ndarray:
        number = np.maximum(masks @ counts, 1e-9)[..., None]
        means = np.einsum("rp,pcd->rcd", masks.astype(float), sums) / number
        squared = (means**2).sum(axis=2)[:, None, :] - 2.0 * np.einsum("td,rcd->rtc", images[test], means)
        squared[np.broadcast_to((number[:, None, :, 0] < 1), squared.shape)] = 1e6
        return (squared.argmin(axis=2) == labels[test]).mean(axis=1) * masks.any(axis=1) + 0.1 * ~masks.any(axis=1)

    return _enumerated("accuracy", n, utility)


def frechet(n: int, rng: np.random.Generator) -> Game:
    """Minus the Fréchet distance between Gaussian moments of the union's features and of everyone's (enumerated)."""
    dimension, images = 6, rng.integers(20, 60, n)
    centres = rng.normal(0.0, 1.0, (n, dimension))
    spreads = rng.gamma(4.0, 0.15, (n, dimension))
    second = spreads**2 + centres**2
    full_mean = np.average(centres, axis=0, weights=images)
    full_sd = np.sqrt(np.average(second, axis=0, weights=images) - full_mean**2)

    def utility(masks: np.ndarray) -> np.ndarray:
        weight = masks * images
        total = np.maximum(weight.sum(axis=1, keepdims=True), 1)
        mean = weight @ centres / total
        sd = np.sqrt(np.maximum(weight @ second / total - mean**2, 0.0))
        distance = ((mean - full_mean) ** 2 + (sd - full_sd) ** 2).sum(axis=1)
        return -np.where(masks.any(axis=1), distance, 3.0 * dimension)

    return _enumerated("frechet", n, utility)


def _enumerated(name: str, n: int, utility: Callable[[np.ndarray], np.ndarray]) -> Game:
    masks = all_coalitions(n)
    table = np.concatenate([utility(part) for part in np.array_split(masks, max(1, len(masks) // 1024))])
    powers = 1 << np.arange(n)
    return _game(name, lambda m: table[m @ powers], exact_shapley(table))


FAMILIES = {
    "additive+pairs": additive_pairs,
    "coverage": coverage,
    "unanimity": unanimity,
    "saturating": saturating,
    "accuracy": accuracy,
    "frechet": frechet,
}
ENUMERATED = ("accuracy", "frechet")


@cache
def game_of(family: str, n: int, number: int) -> Game:
    """Member ``number`` of a family."""
    return FAMILIES[family](n, np.random.default_rng([number, n, sorted(FAMILIES).index(family)]))


def families_of(n: int) -> list[str]:
    """Families with known values at ``n`` players."""
    return [family for family in FAMILIES if n <= 16 or family not in ENUMERATED]


# -------------------------------------------------------------------------------------------------------- methods

Measure = Callable[[np.ndarray], np.ndarray]


def _ours(estimator: str, law: str, paired: bool = True) -> Callable[[int, int, int, Measure], np.ndarray]:
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


class _Asked(Exception):
    """Raised to stop an approximator once its coalitions are known."""


def _replayed(name: str, **options: object) -> Callable[[int, int, int, Measure], np.ndarray]:
    def method(n: int, budget: int, seed: int, measure: Measure) -> np.ndarray:
        from shapiq import approximator

        def make() -> object:
            return getattr(approximator, name)(n, random_state=seed, **options)

        asked: list[np.ndarray] = []

        def record(masks: np.ndarray) -> np.ndarray:
            asked.append(np.array(masks, dtype=bool))
            raise _Asked

        with contextlib.suppress(_Asked):
            make().approximate(budget, record)
        if len(asked[0]) > budget:
            raise RuntimeError(f"{name} asked for {len(asked[0])} coalitions at a budget of {budget}.")
        table = {mask.tobytes(): value for mask, value in zip(asked[0], measure(asked[0]), strict=True)}
        result = make().approximate(budget, lambda m: np.array([table[np.array(row, bool).tobytes()] for row in m]))
        return np.asarray(result.get_n_order_values(1))

    return method


def methods() -> dict[str, Callable[[int, int, int, Measure], np.ndarray]]:
    """Every estimator of the comparison that can run here."""
    ours = {
        "gp": _ours("gp", "uniform_size"),
        "size_adjusted": _ours("size_adjusted", "uniform_size"),
        "kernel, independent (paper)": _ours("kernel", "kernel", paired=False),
        "kernel, paired": _ours("kernel", "kernel"),
        "permutation": _ours("permutation", "permutation"),
    }
    if importlib.util.find_spec("shapiq") is None:
        return ours
    from shapiq import approximator

    theirs = {"KernelSHAP": {}, "LeverageSHAP": {}, "RegressionMSR": {"index": "SV"}, "SVARM": {}}
    return ours | {
        f"shapiq {name}": _replayed(name, **options) for name, options in theirs.items() if hasattr(approximator, name)
    }


# ----------------------------------------------------------------------------------------------------------- runs


def noisy(game: Game, noise: float, seed: int) -> Measure:
    """Measurement of a game: every evaluation has its own error."""
    rng = np.random.default_rng([seed, 77])
    return lambda masks: game.utility(masks) + noise * game.unit * rng.standard_normal(len(masks))


def compare(players: list[int], n_repetitions: int) -> Iterator[dict[str, object]]:
    """One row per (n, family, noise, budget, method): medians over repetitions; nan where the method refuses."""
    for n in players:
        for family in families_of(n):
            for noise in NOISES:
                for budget in BUDGETS[n]:
                    for name, method in methods().items():
                        cell = {"n": n, "family": family, "noise": noise, "budget": budget, "method": name}
                        yield cell | _median_of(method, n, family, noise, budget, n_repetitions)


def _median_of(
    method: Callable[[int, int, int, Measure], np.ndarray],
    n: int,
    family: str,
    noise: float,
    budget: int,
    n_repetitions: int,
) -> dict[str, float]:
    results = []
    for seed in range(n_repetitions if n < 258 else max(2, n_repetitions // 3)):
        game = game_of(family, n, seed % 3)
        start = time.perf_counter()
        try:
            values = method(n, budget, seed, noisy(game, noise, seed))
        except ValueError:
            return {"relative_l2": np.nan, "spearman": np.nan, "seconds": np.nan}
        seconds = time.perf_counter() - start
        error = np.linalg.norm(values - game.shapley) / np.linalg.norm(game.shapley)
        results.append((error, spearman(values, game.shapley), seconds))
    error, rank, seconds = np.median(results, axis=0)
    return {"relative_l2": round(error, 5), "spearman": round(rank, 4), "seconds": round(seconds, 4)}


def cover(players: list[int], n_repetitions: int) -> Iterator[dict[str, object]]:
    """Share of the true values inside nominal 95 % intervals of ``gp``, per (n, family, noise, budget)."""
    for n in players:
        for family in families_of(n):
            for noise in NOISES:
                for budget in (128, 256) if n < 258 else (512,):
                    yield {"n": n, "family": family, "noise": noise, "budget": budget} | _coverage_of(
                        n, family, noise, budget, n_repetitions
                    )


def _coverage_of(n: int, family: str, noise: float, budget: int, n_repetitions: int) -> dict[str, float]:
    inside, widths, ratio = [], [], []
    for seed in range(n_repetitions):
        game = game_of(family, n, seed % 5)
        plan = plan_coalitions(n, budget, seed=seed)
        result = estimate(plan, noisy(game, noise, seed)(plan))
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


def timing(sizes: list[tuple[int, int]]) -> Iterator[dict[str, object]]:
    """Fit time and peak memory, each in a fresh process."""
    for n, budget in sizes:
        code = (
            "import sys,time,resource,numpy as np; from groupshap.games import *; n,M=map(int,sys.argv[1:]);"
            "C=plan_coalitions(n,M,seed=0); r=np.random.default_rng(0); y=np.log1p(C@r.random(n))+.05*r.normal(size=M);"
            "t=time.perf_counter(); estimate(C,y);"
            "print(time.perf_counter()-t, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024)"
        )
        run = subprocess.run(
            [sys.executable, "-c", code, str(n), str(budget)], capture_output=True, text=True, check=True
        )
        seconds, megabytes = map(float, run.stdout.split())
        yield {"n": n, "budget": budget, "fit_seconds": round(seconds, 2), "peak_mib": round(megabytes)}


# --------------------------------------------------------------------------------------------------------- report


def summary(rows: list[dict[str, object]]) -> list[str]:
    """Medians and worst ratios over the noisy cells: the figures of the acceptance."""
    cells: dict[tuple, dict[str, float]] = {}
    for row in rows:
        if row["noise"] and 64 <= row["budget"] <= 512:
            cells.setdefault((row["n"], row["family"], row["budget"]), {})[row["method"]] = row["relative_l2"]
    names = list(dict.fromkeys(row["method"] for row in rows))
    lines = [
        "",
        "| method | median L2, noisy, M ≤ 512 | median ratio to the paper | median ratio to the best | worst ratio to the best | cells |",
    ]
    lines.append("|---|---|---|---|---|---|")
    for name in names:
        done = [cell for cell in cells.values() if np.isfinite(cell.get(name, np.nan))]
        to_best = [cell[name] / np.nanmin(list(cell.values())) for cell in done]
        to_paper = [cell[name] / cell["kernel, independent (paper)"] for cell in done]
        figures = [
            np.median([cell[name] for cell in done]),
            np.nanmedian(to_paper),
            np.median(to_best),
            np.max(to_best),
        ]
        lines.append(f"| {name} | " + " | ".join(f"{figure:.3g}" for figure in figures) + f" | {len(done)} |")
    return lines


def write(rows: list[dict[str, object]], name: str, seconds: float, extra: list[str]) -> None:
    """Table as csv and as markdown with the command, machine, date and wall time."""
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
        f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB",
        *extra,
        "",
        "| " + " | ".join(rows[0]) + " |",
        "|" + "---|" * len(rows[0]),
    ]
    body = ["| " + " | ".join(str(value) for value in row.values()) + " |" for row in rows]
    (RESULTS / f"{name}.md").write_text("\n".join(head + body) + "\n")


def main() -> None:
    """Run one mode and write its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--coverage", action="store_true")
    parser.add_argument("--timing", action="store_true")
    parser.add_argument("--players", type=int, nargs="+", default=[10, 16, 50, 258])
    parser.add_argument("--repetitions", type=int)
    parser.add_argument("--name", help="stem of the result files")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    start = time.perf_counter()
    if options.timing:
        sizes = [(10, 128), (50, 500), (258, 1000), (1000, 2000), (258, 6000)]
        rows, name, extra = list(timing(sizes[:3] if options.quick else sizes)), "estimators_timing", []
    elif options.coverage:
        rows = list(cover(options.players, options.repetitions or (20 if options.quick else 100)))
        name, extra = "estimators_coverage", []
    else:
        rows = list(compare(options.players, options.repetitions or (3 if options.quick else 9)))
        name, extra = "estimators", summary(rows)
    write(rows, options.name or name, time.perf_counter() - start, extra)
    print("\n".join((RESULTS / f"{options.name or name}.md").read_text().splitlines()[: 20 + len(extra)]))


if __name__ == "__main__":
    main()
