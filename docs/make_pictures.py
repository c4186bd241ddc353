"""The pictures of the concepts, drawn from ``groupshap.games`` on games whose Shapley values are known.

    python docs/make_pictures.py            writes docs/images/concept_*.png, about 20 s on one core

Every number in them is computed here; nothing is typed in.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from groupshap.games import (
    LAWS,
    RecordedGame,
    ShapleyValues,
    all_coalitions,
    estimate,
    estimate_two_fidelity,
    exact_shapley,
    load_recorded_games,
    plan_coalitions,
    size_curve,
    size_probabilities,
    uniform_fraction_coalitions,
)

IMAGES = Path(__file__).parent / "images"
GAMES = Path(__file__).parents[1] / "benchmarks/games"
N_PLAYERS = 12
BUDGETS = (48, 96, 192, 384)
N_REPETITIONS = 12
NOISE = 0.02
BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#777777"
SHOWN_LAWS = ("uniform_size", "kernel", "arcsine", "central")


def true_utilities() -> np.ndarray:
    """(2**12,) float64: a score that saturates with the amount of data, of which some people bring more.

    v(S) = 1 − exp(−Σ_{i∈S} w_i), minus a penalty where the first two, who bring the same, are both in.
    """
    masks = all_coalitions(N_PLAYERS)
    amounts = np.linspace(0.05, 0.45, N_PLAYERS)
    return 1.0 - np.exp(-(masks @ amounts)) - 0.05 * (masks[:, 0] & masks[:, 1])


TRUTH = true_utilities()
VALUES = exact_shapley(TRUTH)


def measured(coalitions: np.ndarray, seed: int) -> np.ndarray:
    """(n_coalitions,) float64: the true utilities with noise of one evaluation, sd 0.02."""
    codes = coalitions @ (1 << np.arange(N_PLAYERS))
    return TRUTH[codes] + np.random.default_rng(seed).normal(scale=NOISE, size=len(codes))


def fitted(estimator: str, law: str, budget: int, seed: int) -> ShapleyValues:
    """One plan, one set of noisy measurements, one fit."""
    coalitions = plan_coalitions(N_PLAYERS, budget, seed=seed, law=law)
    return estimate(coalitions, measured(coalitions, seed), estimator=estimator, law=law)


def draw_size_curve(axes: Axes) -> None:
    """Utilities against |S|, and the curve that carries no Shapley differences."""
    coalitions = plan_coalitions(N_PLAYERS, 64, seed=0)
    found = size_curve(coalitions, measured(coalitions, 0))
    low, high = found.curve - found.noise_sd, found.curve + found.noise_sd
    axes.fill_between(found.sizes, low, high, color=BLUE, alpha=0.15, label="± one evaluation's noise")
    axes.plot(found.sizes, found.curve, color=BLUE, label="fitted mean over all coalitions of a size")
    axes.plot(found.coalition_sizes[2:], found.utilities[2:], "o", color=GREY, ms=4, label="measured coalitions")
    axes.plot(found.coalition_sizes[:2], found.utilities[:2], "D", color=ORANGE, label="nobody, everybody")
    axes.set(xlabel="contributors in the coalition, |S|", ylabel="utility v(S)")
    axes.set_title(f"size alone explains {100 * found.r_squared:.0f} % of the variance", loc="left")
    axes.legend(frameon=False)


def draw_plan(axes: Axes) -> None:
    """The first 32 rows of a plan as a table of members."""
    rows = plan_coalitions(N_PLAYERS, 32, seed=0)
    axes.imshow(rows.T, cmap="Blues", vmin=0, vmax=1.3, aspect="auto", interpolation="none")
    axes.set_yticks(range(N_PLAYERS), [f"{player}" for player in range(N_PLAYERS)])
    for boundary in np.arange(1.5, 31, 2):
        axes.axvline(boundary, color="white", lw=2)
    axes.set(xlabel="evaluation, in the order of the plan", ylabel="contributor")
    axes.set_title("members of each coalition, in pairs S, N∖S", loc="left")


def draw_laws(axes: Axes) -> None:
    """Probability of the sizes under some of the laws."""
    for law, colour in zip(SHOWN_LAWS, (BLUE, ORANGE, GREEN, GREY), strict=True):
        axes.plot(range(1, N_PLAYERS), size_probabilities(N_PLAYERS, law), "o-", ms=4, color=colour, label=law)
    axes.set(xlabel="size of the coalition", ylabel="probability", ylim=(0, 0.2))
    axes.set_title(f"laws of the sizes ({len(SHOWN_LAWS)} of {len(LAWS)})", loc="left")
    axes.legend(frameon=False)


def draw_errors(axes: Axes) -> None:
    """Error against budget: median and range between the quartiles over repeated plans and noise."""
    methods = {
        "gp": ("gp", "uniform_size", BLUE),
        "size_adjusted": ("size_adjusted", "uniform_size", GREEN),
        "kernel (the paper's, here on pairs)": ("kernel", "kernel", ORANGE),
    }
    for label, (estimator, law, colour) in methods.items():
        errors = np.array([[relative_error(estimator, law, m, s) for s in range(N_REPETITIONS)] for m in BUDGETS])
        low, middle, high = np.quantile(errors, (0.25, 0.5, 0.75), axis=1)
        axes.fill_between(BUDGETS, low, high, color=colour, alpha=0.15)
        axes.plot(BUDGETS, middle, "o-", color=colour, label=label)
    axes.set(xscale="log", yscale="log", xlabel="evaluations", ylabel="relative L2 error")
    axes.set_xticks(BUDGETS, [str(budget) for budget in BUDGETS], minor=False)
    axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    axes.set_title(f"error of the values, {N_REPETITIONS} repetitions: median and quartiles", loc="left")
    axes.legend(frameon=False)


def relative_error(estimator: str, law: str, budget: int, seed: int) -> float:
    """‖φ̂ − φ‖ / ‖φ‖ of one repetition."""
    return float(np.linalg.norm(fitted(estimator, law, budget, seed).values - VALUES) / np.linalg.norm(VALUES))


def draw_intervals(axes: Axes) -> None:
    """Estimated values with 95 % intervals beside the true ones."""
    result = fitted("gp", "uniform_size", 64, seed=0)
    low, high = result.interval()
    players = np.arange(N_PLAYERS)
    axes.errorbar(
        players, result.values, yerr=(result.values - low, high - result.values), fmt="o", color=BLUE, capsize=3,
        label="estimate with 95 % interval, 64 evaluations",
    )  # fmt: skip
    axes.plot(players, VALUES, "_", color=ORANGE, ms=16, mew=2, label="true value")
    axes.set(xlabel="contributor", ylabel="Shapley value")
    axes.set_xticks(players)
    inside = int(((low <= VALUES) & (high >= VALUES)).sum())
    axes.set_title(f"{inside} of {N_PLAYERS} intervals hold the true value", loc="left")
    axes.legend(frameon=False)


def share_of_start(first_step: int, n_steps: int) -> np.ndarray:
    """(n_steps,) float64: weight of the start model in the average, Π_t min(0.9999, (1+t)/(10+t)), t = 0 giving 0."""
    steps = first_step + np.arange(n_steps)
    return np.cumprod(np.where(steps == 0, 0.0, np.minimum(0.9999, (1.0 + steps) / (10.0 + steps))))


def draw_average(axes: Axes) -> None:
    """How much of the full model is left in a coalition's average, with and without a restart of the counter."""
    steps = np.arange(1, 1001)
    for first, colour in ((10_000, ORANGE), (20_000, GREEN), (0, BLUE)):
        label = "counter restarted (groupshap)" if first == 0 else f"counter carried on from step {first:,}"
        axes.plot(steps, 100.0 * share_of_start(first, len(steps)), color=colour, label=label)
    axes.set(xlabel="fine-tuning steps on the coalition", ylabel="% of the average that is the start model")
    axes.set(ylim=(-2, 102))
    axes.set_title("what an average remembers of the model of everybody", loc="left")
    axes.legend(frameon=False, loc=(0.42, 0.12))


def draw_lds(axes: Axes) -> None:
    """Summed values against held-out utilities, once with a constant added to all values."""
    held_out = uniform_fraction_coalitions(N_PLAYERS, 60, fraction=0.5, seed=1)
    utilities = measured(held_out, 1)
    for shift, colour, label in ((0.0, BLUE, "true values"), (0.03, ORANGE, "true values + 0.03 each")):
        axes.plot(held_out @ (VALUES + shift), utilities, "o", ms=4, color=colour, label=label)
    axes.set(xlabel="sum of the members' values", ylabel="utility of a held-out coalition")
    axes.set_title("same ranks, so the same LDS", loc="left")
    axes.legend(frameon=False)


def draw_lean(axes: Axes) -> None:
    """The digits game: retrained values, where cheap runs alone lead to, and both kinds of runs together."""
    games = load_recorded_games(GAMES)
    wanted, cheap = (games["digits8", recipe, "frechet_efficientnet"] for recipe in ("retrain", "sparsified"))
    n_players, truth, lean = wanted.n_players, wanted.shapley().values, cheap.shapley().values
    plan = plan_coalitions(n_players, 16, seed=0)
    retrained = np.vstack([plan[:1], plan])  # nobody twice: it costs no training, and its noise is large
    many = plan_coalitions(n_players, 128, seed=1)
    both = estimate_two_fidelity(retrained, recorded(wanted, retrained), many, recorded(cheap, many))
    alone = estimate(retrained, recorded(wanted, retrained))
    order = np.argsort(truth)
    for fit, shift, colour, label in (
        (alone, -0.16, GREY, "16 retrainings"),
        (both, 0.16, BLUE, "the same and 128 cheap runs"),
    ):
        low, high = fit.interval()
        errors = np.array([fit.values - low, high - fit.values])[:, order]
        at = np.arange(n_players) + shift
        axes.errorbar(at, fit.values[order], yerr=errors, fmt="o", color=colour, capsize=3, label=label)
    axes.plot(lean[order], "x", color=ORANGE, ms=8, mew=2, label="all 256 cheap runs: where the method converges to")
    axes.plot(truth[order], "_", color="black", ms=26, mew=2, label="all 256 coalitions retrained, twice")
    axes.set(xlabel="contributor, from best to worst", ylabel="Shapley value, Fréchet distance")
    axes.set_xticks(range(n_players), [f"no. {player + 1}" for player in order])
    axes.set_title("the lean of the cheap game, and what 16 retrainings do about it", loc="left")
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2, fontsize=9)


def recorded(game: RecordedGame, coalitions: np.ndarray) -> np.ndarray:
    """(n_coalitions,) float64: a coalition's second occurrence gets its second run, if there was one."""
    runs: dict[bytes, list[float]] = {}
    for row in np.argsort(game.replicates, kind="stable"):
        runs.setdefault(game.coalitions[row].tobytes(), []).append(game.utilities[row])
    used = [runs[row.tobytes()] for row in coalitions]
    return np.array([values.pop(0) if len(values) > 1 else values[0] for values in used])


DRAWINGS = {
    "size_curve": (draw_size_curve,),
    "plan": (draw_plan, draw_laws),
    "errors": (draw_errors,),
    "intervals": (draw_intervals,),
    "average": (draw_average,),
    "lds": (draw_lds,),
    "lean": (draw_lean,),
}
"""Name of the picture to what is drawn in it, from top to bottom."""


def main() -> None:
    """Draw all pictures."""
    IMAGES.mkdir(exist_ok=True)
    mpl.rcParams |= {"axes.spines.top": False, "axes.spines.right": False, "font.size": 10}
    for name, drawings in DRAWINGS.items():
        figure = Figure(figsize=(6.6, 3.8 * len(drawings)), layout="constrained")
        for axes, draw in zip(figure.subplots(len(drawings), 1, squeeze=False)[:, 0], drawings, strict=True):
            draw(axes)
        # Without the version of matplotlib in the file, equal pictures are equal bytes.
        figure.savefig(IMAGES / f"concept_{name}.png", dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
