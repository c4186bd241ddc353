"""Plans that hold every coalition: a first pass without repeats, then replicates where the exact formula needs them."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator
from itertools import combinations

import numpy as np

from groupshap.games.types import CoalitionMatrix
from groupshap.seeds import generator_for

__all__ = ["end_points", "enumerated", "shuffled_pairs"]


def end_points(n: int) -> tuple[CoalitionMatrix, CoalitionMatrix]:
    """The empty and the grand coalition, each (n,) bool."""
    return np.zeros(n, dtype=bool), np.ones(n, dtype=bool)


def enumerated(n: int, first_pass: Iterable[CoalitionMatrix]) -> Iterator[CoalitionMatrix]:
    """``first_pass`` (every coalition once), then replicates by the greedy rule, without end.

    Greedy for Σ_i Var φ̂_i = σ² Σ_S g(|S|)/R_S: one more replicate saves g/(R(R+1)). Ties: size, then members in
    lexicographic order, which is the order of the inverted mask.
    """
    queue = []
    for mask in first_pass:
        yield mask
        size = int(mask.sum())
        queue.append((-_exact_weight(n, size) / 2.0, size, (~mask).tobytes(), 1))
    heapq.heapify(queue)
    while True:
        gain, size, inverted, replicates = queue[0]
        yield ~np.frombuffer(inverted, dtype=bool)
        heapq.heapreplace(queue, (gain * replicates / (replicates + 2), size, inverted, replicates + 1))


def shuffled_pairs(n: int, size: int, seed: int) -> list[tuple[CoalitionMatrix, CoalitionMatrix]]:
    """All pairs (S, N∖S) with |S| = ``size`` ≤ n/2, each once (size n/2: the S with player 0), in random order."""
    pairs = []
    for members in combinations(range(n), size):
        if 2 * size == n and members[0] != 0:
            break
        mask = np.zeros(n, dtype=bool)
        mask[list(members)] = True
        pairs.append((mask, ~mask))
    return [pairs[index] for index in generator_for(seed, "first pass", size).permutation(len(pairs))]


def _exact_weight(n: int, size: int) -> float:
    """g(a) = Σ_i B_iS² for |S| = a, with the coefficients B of the exact formula."""
    if size in (0, n):
        return 1.0 / n
    return n / (size * (n - size) * math.comb(n, size) ** 2)
