"""Where to spend the next seconds: which coalition, measured how, lowers the expected error most per second.

The expected squared error of the values is the trace of their posterior covariance (A-optimality; Chaloner & Verdinelli
1995, section 2.2). It does not depend on utilities still to be measured, so a whole batch can be chosen at once:
measuring v_l(S) with noise σ² lowers the trace by

    Σ_i cov(φ_i, v_l(S))² / (var v_l(S) + σ²)

and a rank-one update gives the covariances that the next choice needs (Rasmussen & Williams 2006, eq. 2.26). A further
replicate is a candidate like any other. Uncertain ρ and hyper-parameters enter by the delta method: what they move
together, one row can settle, and without this a well-known cheap game looks better than it is.

When not: fewer rows than a fit needs. Begin with plans of some eight rows of the wanted game and sixteen cheap ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from groupshap.games.coalitions import all_coalitions
from groupshap.games.evaluations import Evaluations
from groupshap.games.sampling import plan_coalitions
from groupshap.games.subset_kernel import NOISE
from groupshap.games.two_fidelity import levels_of, thinned
from groupshap.games.two_fidelity_calibration import parameter_sensitivities
from groupshap.games.two_fidelity_fit import fit_levels
from groupshap.games.two_fidelity_model import CoKriging
from groupshap.games.types import CoalitionMatrix, FloatArray, Utilities
from groupshap.seeds import seed_for

__all__ = ["NextEvaluations", "next_evaluations"]


@dataclass(frozen=True)
class NextEvaluations:
    """A batch in the order in which it was chosen; its rows may run in parallel.

    Attributes:
        coalitions: (k, n_players) bool.
        levels: (k,) int64, how to measure each: 0 the cheapest design, the last number the wanted game.
        seconds: (k,) float64, expected cost of each.
        expected_errors: (k + 1,) float64, root mean squared standard error per player, before the batch and after each
            row, in the unit of the wanted utility.
    """

    coalitions: CoalitionMatrix
    levels: npt.NDArray[np.int64]
    seconds: FloatArray
    expected_errors: FloatArray

    def __len__(self) -> int:
        return len(self.levels)

    def of_level(self, level: int) -> CoalitionMatrix:
        """(k', n_players) bool: the coalitions to be measured at one level."""
        return self.coalitions[self.levels == level]


@dataclass(frozen=True)
class Candidates:
    """Posterior of what could be measured.

    Attributes:
        masks: (C, n_players) bool.
        levels: (C,) int64.
        noise: (C,) float64, variance of one evaluation, standardised like the level.
        seconds: (C,) float64.
        covariance: (C, C) float64 of the noise-free utilities.
        with_values: (C, n_players) float64, their covariance with the Shapley values.
        trace: of the covariance of the values before anything is measured.
        left: (C,) float64, how often each may still be measured; None: any number of times.
    """

    masks: CoalitionMatrix
    levels: npt.NDArray[np.int64]
    noise: FloatArray
    seconds: FloatArray
    covariance: FloatArray
    with_values: FloatArray
    trace: float
    left: FloatArray | None = None


def next_evaluations(
    coalitions: CoalitionMatrix,
    utilities: Utilities,
    cheap_coalitions: CoalitionMatrix | Sequence[CoalitionMatrix],
    cheap_utilities: Utilities | Sequence[Utilities],
    *,
    seconds: Sequence[float | FloatArray],
    n_evaluations: int = 8,
    budget_seconds: float = float("inf"),
    max_replicates: Sequence[int] | None = None,
    n_candidates: int = 256,
    seed: int = 0,
) -> NextEvaluations:
    """Choose the next batch of a two-fidelity plan from what has been measured so far.

    Args:
        coalitions: (n_coalitions, n_players) bool, measured rows of the wanted game.
        utilities: (n_coalitions,) finite float64.
        cheap_coalitions: measured cheap rows, as for :func:`~groupshap.games.two_fidelity.estimate_two_fidelity`.
        cheap_utilities: their utilities.
        seconds: cost of one evaluation of each design, cheap ones first, the wanted game last: a number, or
            (n_players + 1,) numbers by |S| (the empty coalition often costs no training).
        n_evaluations: size of the batch, for example twice the number of workers.
        budget_seconds: the batch costs no more than this; it is shorter, or empty, where nothing affordable is left.
        max_replicates: evaluations allowed per coalition in each design, in the order of ``seconds``: 1 where another
            seed would give the same number, as with recorded runs; None: any number.
        n_candidates: random coalitions per design to choose from (all 2**n where they are fewer).
        seed: root of the candidates; the choice is the same for the same rows and seed.

    Raises:
        ValueError: bad rows as for the estimate, a cost that is not positive, or an empty batch asked for.
    """
    levels = levels_of(coalitions, utilities, cheap_coalitions, cheap_utilities)
    costs = _checked_costs(seconds, len(levels), levels[0].n_players, n_evaluations)
    stages = fit_levels([*thinned(levels[:-1], len(levels[-1].masks)), levels[-1]])
    masks, numbers = _pool(levels, n_candidates, seed)
    candidates = _candidates(stages, levels[-1], masks, numbers, costs)
    if max_replicates is not None:
        candidates = replace(candidates, left=_left(levels, masks, numbers, max_replicates))
    return _greedy(candidates, n_evaluations, budget_seconds, stages[-1].unit)


def _checked_costs(
    seconds: Sequence[float | FloatArray], n_levels: int, n_players: int, n_evaluations: int
) -> FloatArray:
    """(n_levels, n_players + 1) float64: cost by design and |S|."""
    shapes = {np.shape(cost) for cost in seconds}
    if len(seconds) != n_levels or not shapes <= {(), (n_players + 1,)}:
        raise ValueError(
            f"Expected `seconds` to hold one cost per design, {n_levels} in all with the wanted game last, each a "
            f"number or {n_players + 1} numbers by |S|, got {len(seconds)} of shapes {sorted(shapes)}."
        )
    costs = np.array([np.broadcast_to(cost, n_players + 1) for cost in seconds], dtype=np.float64)
    if not (np.isfinite(costs) & (costs > 0.0)).all():
        raise ValueError(f"Expected finite, positive `seconds`, got {list(seconds)}.")
    if n_evaluations < 1:
        raise ValueError(f"Expected `n_evaluations` ≥ 1, got {n_evaluations}.")
    return costs


def _pool(levels: list[Evaluations], n_candidates: int, seed: int) -> tuple[CoalitionMatrix, npt.NDArray[np.int64]]:
    """Distinct candidates of every level: random coalitions, and the measured ones for replicates."""
    n = levels[0].n_players
    n_rows = sum(level.n_rows for level in levels)
    pools = []
    for number, level in enumerate(levels):
        if n < 20 and 2**n <= n_candidates:
            drawn = all_coalitions(n)
        else:
            address = seed_for(seed, "spending", number, n_rows)
            drawn = plan_coalitions(n, n_candidates, seed=address)
        pools.append(np.unique(np.vstack([drawn, level.spread(n_candidates).masks]), axis=0))
    return np.vstack(pools), np.repeat(np.arange(len(levels)), [len(pool) for pool in pools])


def _left(
    levels: list[Evaluations],
    masks: CoalitionMatrix,
    numbers: npt.NDArray[np.int64],
    max_replicates: Sequence[int],
) -> FloatArray:
    """(C,) float64: allowed minus measured evaluations of each candidate.

    Raises:
        ValueError: not one whole number per design.
    """
    if len(max_replicates) != len(levels) or min(max_replicates) < 1:
        raise ValueError(f"Expected `max_replicates` to hold {len(levels)} numbers ≥ 1, got {list(max_replicates)}.")
    measured = {
        (number, mask.tobytes()): count
        for number, level in enumerate(levels)
        for mask, count in zip(level.masks, level.counts, strict=True)
    }
    done = [measured.get((number, mask.tobytes()), 0) for number, mask in zip(numbers.tolist(), masks, strict=True)]
    return np.asarray(max_replicates, dtype=np.float64)[numbers] - np.array(done)


def _candidates(
    stages: list[CoKriging],
    wanted: Evaluations,
    masks: CoalitionMatrix,
    levels: npt.NDArray[np.int64],
    costs: FloatArray,
) -> Candidates:
    """Posterior covariances, what uncertain ρ and θ add to them included."""
    model = stages[-1]
    _, covariance, with_values = model.posterior(masks, levels)
    trace = float(np.trace(model.shapley()[1])) / model.unit**2
    of_utilities, of_values = parameter_sensitivities(stages[-2], model, wanted, masks, levels)
    covariance += of_utilities.T @ of_utilities
    with_values += of_utilities.T @ of_values
    trace += float(np.vdot(of_values, of_values))
    noise = np.exp(model.thetas[:, NOISE])[levels]
    seconds = costs[levels, masks.sum(axis=1)]
    return Candidates(masks, levels, noise, seconds, covariance, with_values, trace)


def _greedy(candidates: Candidates, n_evaluations: int, budget_seconds: float, unit: float) -> NextEvaluations:
    """Take the largest reduction of the trace per second, update, and so on."""
    covariance, with_values = candidates.covariance.copy(), candidates.with_values.copy()
    seconds_left, trace, chosen = budget_seconds, candidates.trace, []
    allowed = np.full(len(covariance), np.inf) if candidates.left is None else candidates.left.copy()
    n = candidates.masks.shape[1]
    errors = [unit * np.sqrt(max(trace, 0.0) / n)]
    while len(chosen) < n_evaluations:
        variance = np.maximum(np.diag(covariance), 0.0) + candidates.noise
        reduction = (with_values**2).sum(axis=1) / variance
        possible = (candidates.seconds <= seconds_left) & (allowed >= 1.0)
        per_second = np.where(possible, reduction / candidates.seconds, -np.inf)
        best = int(per_second.argmax())
        if not np.isfinite(per_second[best]):
            break
        chosen.append(best)
        seconds_left -= candidates.seconds[best]
        allowed[best] -= 1.0
        trace -= float(reduction[best])
        errors.append(unit * np.sqrt(max(trace, 0.0) / n))
        column, row = covariance[:, best].copy(), with_values[best].copy()
        covariance -= np.outer(column, column) / variance[best]
        with_values -= np.outer(column, row) / variance[best]
    return NextEvaluations(
        candidates.masks[chosen], candidates.levels[chosen], candidates.seconds[chosen], np.array(errors)
    )
