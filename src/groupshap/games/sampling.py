"""Which coalitions to measure: one infinite, paired, prefix-stable sequence per (players, seed, law).

A plan is never re-drawn: a larger budget appends rows. So a run can be topped up or resumed, and values can be fitted
to whatever part is finished. Where 2**n coalitions fit the budget, the plan is their enumeration.

When to choose which law (first-order theory and measurements: guide to the estimators, section 2):
``uniform_size`` by default; ``kernel`` to reproduce the paper; ``central`` for n ≥ 50 and budgets below 4n;
``half`` or ``bernoulli`` for Banzhaf values and datamodels; ``arcsine`` for plain weighted regressions;
``permutation`` for the permutation estimator only.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator
from itertools import combinations, count, islice

import numpy as np

from groupshap.games.types import CoalitionMatrix, FloatArray
from groupshap.seeds import generator_for

__all__ = ["LAWS", "plan_coalitions", "size_probabilities"]

MAX_PLAYERS = 10_000
GOLDEN = (5.0**0.5 - 1.0) / 2.0
END_POINT_PAIRS = (99, 199, 299)
"""Pairs that repeat (∅, N): two, three and four seeds of the end points at budgets 200, 400 and 600."""


def _kernel(n: int) -> FloatArray:
    """Shapley kernel p_a ∝ 1/(a(n−a)) (Covert & Lee 2021, eq. 8)."""
    sizes = np.arange(1, n)
    return 1.0 / (sizes * (n - sizes))


def _uniform_size(n: int) -> FloatArray:
    """Every size equally likely."""
    return np.ones(n - 1)


def _arcsine(n: int) -> FloatArray:
    """p_a ∝ (a(n−a))^(−1/2): least variance of the weighted regression (One Sample Fits All, arXiv 2410.23808)."""
    return np.sqrt(_kernel(n))


def _central(n: int) -> FloatArray:
    """p_a ∝ a(n−a)."""
    return 1.0 / _kernel(n)


def _half(n: int) -> FloatArray:
    """Sizes ⌊n/2⌋ and ⌈n/2⌉ only."""
    sizes = np.arange(1, n)
    return ((sizes == n // 2) | (sizes == (n + 1) // 2)).astype(float)


def _bernoulli(n: int) -> FloatArray:
    """Every coalition equally likely: each player takes part with probability ½ (the law of an enumeration)."""
    log_binomial = np.cumsum(np.log(np.arange(n, 1, -1)) - np.log(np.arange(1, n)))
    return np.exp(log_binomial - log_binomial.max())


LAWS: dict[str, Callable[[int], FloatArray]] = {
    "uniform_size": _uniform_size,
    "kernel": _kernel,
    "arcsine": _arcsine,
    "central": _central,
    "half": _half,
    "bernoulli": _bernoulli,
    "permutation": _uniform_size,
}
"""Name → (n_players) → unnormalised probabilities of the sizes 1..n−1. Given its size a coalition is uniform."""


def size_probabilities(n_players: int, law: str) -> FloatArray:
    """(n_players − 1,) float64: probability of the sizes 1..n−1 under ``law``; sums to 1.

    Raises:
        ValueError: unknown law.
    """
    if law not in LAWS:
        raise ValueError(f"Expected `law` to be one of {', '.join(LAWS)}, got {law!r}.")
    weights = LAWS[law](n_players)
    return weights / weights.sum() if n_players > 1 else weights


def plan_coalitions(n_players: int, budget: int, *, seed: int, law: str = "uniform_size") -> CoalitionMatrix:
    """First ``budget`` coalitions of the plan: row 0 is empty, row 1 the grand coalition, then pairs S, N∖S.

    The rows are a prefix of one infinite sequence, in which pair k depends on (seed, k) only; sampling is with
    replacement, and a repeated coalition means one more replicate (another training seed). If all 2**n coalitions
    fit the budget, they are enumerated instead, and the rest of the budget goes to the replicates that lower the
    variance of the exact formula most.

    Args:
        n_players: 1..10 000.
        budget: number of evaluations = rows, at least 2.
        seed: root of all draws.
        law: name of the law of coalition sizes, a key of :data:`LAWS`.

    Returns:
        (budget, n_players) bool.

    Raises:
        ValueError: a number out of range, or an unknown law.
    """
    if not 1 <= n_players <= MAX_PLAYERS:
        raise ValueError(f"Expected `n_players` in 1..{MAX_PLAYERS}, got {n_players}.")
    if budget < 2:
        raise ValueError(f"Expected `budget` ≥ 2 (the empty and the grand coalition), got {budget}.")
    probabilities = size_probabilities(n_players, law)
    if n_players < 63 and 2**n_players <= budget:
        rows = _enumerated(n_players)
    elif law == "permutation":
        rows = _permutation_prefixes(n_players, seed)
    else:
        rows = _sampled_pairs(n_players, seed, probabilities)
    return np.array(list(islice(rows, budget)), dtype=bool)


def _end_points(n: int) -> tuple[CoalitionMatrix, CoalitionMatrix]:
    return np.zeros(n, dtype=bool), np.ones(n, dtype=bool)


def _sampled_pairs(n: int, seed: int, probabilities: FloatArray) -> Iterator[CoalitionMatrix]:
    """Pairs whose size types follow a golden-ratio sequence: stratified sizes for every prefix."""
    cumulative = np.cumsum(_pair_type_probabilities(probabilities))
    offset = generator_for(seed, "offset").random()
    for pair in count():
        if pair == 0 or pair in END_POINT_PAIRS:
            yield from _end_points(n)
            continue
        level = (offset + pair * GOLDEN) % 1.0
        # The last cumulative sum can round to less than `level`.
        size = min(int(np.searchsorted(cumulative, level, side="right")) + 1, n // 2)
        mask = np.zeros(n, dtype=bool)
        mask[generator_for(seed, "pair", pair).permutation(n)[:size]] = True
        yield mask
        yield ~mask


def _pair_type_probabilities(probabilities: FloatArray) -> FloatArray:
    """(⌊n/2⌋,) float64: probability that the smaller half of a pair has 1, 2, .. players."""
    n = len(probabilities) + 1
    folded = probabilities + probabilities[::-1]
    if n % 2 == 0:
        folded[n // 2 - 1] /= 2.0
    return folded[: n // 2]


def _permutation_prefixes(n: int, seed: int) -> Iterator[CoalitionMatrix]:
    """∅, N, then the n−1 proper prefixes of a random order, then those of the same order reversed, and so on."""
    yield from _end_points(n)
    for number in count():
        order = generator_for(seed, "order", number).permutation(n)
        for direction in (order, order[::-1]):
            for size in range(1, n):
                mask = np.zeros(n, dtype=bool)
                mask[direction[:size]] = True
                yield mask


def _enumerated(n: int) -> Iterator[CoalitionMatrix]:
    """∅, N, all pairs by the size of their smaller half, then replicates where they help the exact formula most."""
    masks = list(_every_coalition(n))
    yield from masks
    # Greedy for Σ_i Var φ̂_i = σ² Σ_S g(|S|)/R_S: one more replicate saves g/(R(R+1)). Ties: size, then members
    # in lexicographic order, which is the order of the inverted mask.
    queue = [(-_exact_weight(n, int(mask.sum())) / 2.0, int(mask.sum()), (~mask).tobytes(), 1) for mask in masks]
    heapq.heapify(queue)
    while True:
        gain, size, inverted, replicates = queue[0]
        yield ~np.frombuffer(inverted, dtype=bool)
        heapq.heapreplace(queue, (gain * replicates / (replicates + 2), size, inverted, replicates + 1))


def _every_coalition(n: int) -> Iterator[CoalitionMatrix]:
    """∅, N, then S, N∖S for |S| = 1..⌊n/2⌋ in lexicographic order (|S| = n/2: the S with player 0)."""
    yield from _end_points(n)
    for size in range(1, n // 2 + 1):
        for members in combinations(range(n), size):
            if 2 * size == n and members[0] != 0:
                break
            mask = np.zeros(n, dtype=bool)
            mask[list(members)] = True
            yield mask
            yield ~mask


def _exact_weight(n: int, size: int) -> float:
    """g(a) = Σ_i B_iS² for |S| = a, with the coefficients B of the exact formula."""
    if size in (0, n):
        return 1.0 / n
    return n / (size * (n - size) * math.comb(n, size) ** 2)
