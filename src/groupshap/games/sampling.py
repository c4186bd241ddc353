"""Which coalitions to measure: one infinite, paired, prefix-stable sequence per (players, seed, law).

A plan is never re-drawn: a larger budget appends rows. So a run can be topped up or resumed, and values can be fitted
to whatever part is finished. Where 2**n coalitions fit the budget, the plan is their enumeration, in an order that
follows the law as well, so that a finished part of it is a sample. With the default law and up to eight players every
plan begins like the enumeration (no coalition twice before all were seen): errors at half of all coalitions were 2 to
10 % lower than with repeats. With more players repeats pay (n = 10, M = 512: a third less error), and other laws are
there for estimators that need independent draws; so there a budget that reaches 2**n starts another sequence: plan the
final budget at once and measure its first rows.

When to choose which law (first-order theory and measurements: guide to the estimators, section 2):
``uniform_size`` by default; ``kernel`` to reproduce the paper; ``central`` for n ≥ 50 and budgets below 4n;
``half`` or ``bernoulli`` for Banzhaf values and datamodels; ``arcsine`` for plain weighted regressions;
``permutation`` for the permutation estimator only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count, islice
from numbers import Integral

import numpy as np

from groupshap.games.enumeration import end_points, enumerated, shuffled_pairs
from groupshap.games.types import CoalitionMatrix, FloatArray
from groupshap.seeds import generator_for

__all__ = ["DEFAULT_LAW", "LAWS", "draws_without_repeats", "plan_coalitions", "size_probabilities"]

MAX_PLAYERS = 10_000
GOLDEN = (5.0**0.5 - 1.0) / 2.0
DEFAULT_LAW = "uniform_size"
MAX_PLAYERS_WITHOUT_REPEATS = 8
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


def plan_coalitions(n_players: int, budget: int, *, seed: int, law: str = DEFAULT_LAW) -> CoalitionMatrix:
    """First ``budget`` coalitions of the plan: row 0 is empty, row 1 the grand coalition, then pairs S, N∖S.

    The rows are a prefix of one infinite sequence, in which pair k depends on (seed, k) only; sampling is with
    replacement, and a repeated coalition means one more replicate (another training seed). If all 2**n coalitions
    fit the budget, every coalition comes once first, and the rest of the budget goes to the replicates that lower the
    variance of the exact formula most; under the default law with n ≤ 8 smaller budgets are a prefix of that. So a
    larger budget extends a smaller one, except across 2**n with n > 8 or another law.

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
    if not isinstance(n_players, Integral) or not 1 <= n_players <= MAX_PLAYERS:
        raise ValueError(f"Expected `n_players` in 1..{MAX_PLAYERS}, got {n_players!r}.")
    if not isinstance(budget, Integral) or budget < 2:
        raise ValueError(f"Expected `budget` ≥ 2 (the empty and the grand coalition), a whole number, got {budget!r}.")
    probabilities = size_probabilities(n_players, law)
    fits = n_players < 63 and 2**n_players <= budget
    if fits or draws_without_repeats(n_players, law):
        rows = enumerated(n_players, _first_pass(n_players, seed, probabilities))
    elif law == "permutation":
        rows = _permutation_prefixes(n_players, seed)
    else:
        rows = _sampled_pairs(n_players, seed, probabilities)
    return np.array(list(islice(rows, budget)), dtype=bool)


def draws_without_repeats(n_players: int, law: str) -> bool:
    """Whether plans meet every coalition once before any twice, so that the sizes follow ``law`` only at first."""
    return law == DEFAULT_LAW and n_players <= MAX_PLAYERS_WITHOUT_REPEATS


def _sampled_pairs(n: int, seed: int, probabilities: FloatArray) -> Iterator[CoalitionMatrix]:
    """Pairs whose size types follow a golden-ratio sequence: stratified sizes for every prefix."""
    for pair, size in enumerate(_pair_sizes(n, seed, probabilities)):
        if pair == 0 or pair in END_POINT_PAIRS:
            yield from end_points(n)
            continue
        mask = np.zeros(n, dtype=bool)
        mask[generator_for(seed, "pair", pair).permutation(n)[:size]] = True
        yield mask
        yield ~mask


def _pair_sizes(n: int, seed: int, probabilities: FloatArray) -> Iterator[int]:
    """Size 1..⌊n/2⌋ of the smaller half of pair 0, 1, ...: a golden-ratio sequence through the law."""
    cumulative = np.cumsum(_pair_type_probabilities(probabilities))
    offset = generator_for(seed, "offset").random()
    for pair in count():
        level = (offset + pair * GOLDEN) % 1.0
        # The last cumulative sum can round to less than `level`.
        yield min(int(np.searchsorted(cumulative, level, side="right")) + 1, n // 2)


def _first_pass(n: int, seed: int, probabilities: FloatArray) -> Iterator[CoalitionMatrix]:
    """Every coalition once, in the order in which the law would meet them."""
    yield from end_points(n)
    pools = {size: shuffled_pairs(n, size, seed) for size in range(1, n // 2 + 1)}
    drawn = {size for size, share in enumerate(_pair_type_probabilities(probabilities), start=1) if share > 0.0}
    for size in _pair_sizes(n, seed, probabilities):
        if not any(pools[size] for size in drawn):
            break
        if pools[size]:
            yield from pools[size].pop()
    for pool in pools.values():  # sizes the law never draws
        for pair in pool:
            yield from pair


def _pair_type_probabilities(probabilities: FloatArray) -> FloatArray:
    """(⌊n/2⌋,) float64: probability that the smaller half of a pair has 1, 2, .. players."""
    n = len(probabilities) + 1
    folded = probabilities + probabilities[::-1]
    if n % 2 == 0:
        folded[n // 2 - 1] /= 2.0
    return folded[: n // 2]


def _permutation_prefixes(n: int, seed: int) -> Iterator[CoalitionMatrix]:
    """∅, N, then the n−1 proper prefixes of a random order, then those of the same order reversed, and so on."""
    yield from end_points(n)
    for number in count():
        order = generator_for(seed, "order", number).permutation(n)
        for direction in (order, order[::-1]):
            for size in range(1, n):
                mask = np.zeros(n, dtype=bool)
                mask[direction[:size]] = True
                yield mask
