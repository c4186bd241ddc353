"""Games with closed-form Shapley values: the ground truth of the tests (Castro 2009, section 5, and textbooks).

A game maps coalitions (n_coalitions, n_players) bool to utilities (n_coalitions,).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ToyGame:
    """A game, its number of players and its Shapley values (n_players,)."""

    name: str
    utility: Callable[[BoolArray], FloatArray]
    shapley: FloatArray

    @property
    def n_players(self) -> int:
        return len(self.shapley)

    def __call__(self, coalitions: BoolArray) -> FloatArray:
        return self.utility(np.asarray(coalitions, dtype=bool)).astype(np.float64)


def additive(weights: Sequence[float]) -> ToyGame:
    """v(S) = Σ w_i; everyone gets their weight."""
    worth = np.asarray(weights, dtype=np.float64)
    return ToyGame("additive", lambda coalitions: coalitions @ worth, worth)


def airport(costs: Sequence[float]) -> ToyGame:
    """v(S) = largest cost in S; each piece of the runway is shared by those who need it (Littlechild & Owen 1973)."""
    cost = np.sort(np.asarray(costs, dtype=np.float64))
    pieces = np.diff(cost, prepend=0.0)
    users = np.arange(len(cost), 0, -1)
    return ToyGame("airport", lambda coalitions: (coalitions * cost).max(axis=1), np.cumsum(pieces / users))


def shoes(n_left: int, n_right: int) -> ToyGame:
    """v(S) = pairs of a left and a right shoe; values by summing over the size of the other side."""

    def utility(coalitions: BoolArray) -> FloatArray:
        return np.minimum(coalitions[:, :n_left].sum(axis=1), coalitions[:, n_left:].sum(axis=1))

    left = _shoe_value(n_left, n_right)
    right = (min(n_left, n_right) - n_left * left) / n_right
    return ToyGame("shoes", utility, np.array([left] * n_left + [right] * n_right))


def _shoe_value(n_own: int, n_other: int) -> float:
    """Probability, over a random order, that fewer own than other shoes came before mine."""
    n = n_own + n_other
    total = 0.0
    for own in range(n_own):
        for other in range(own + 1, n_other + 1):
            sets = math.comb(n_own - 1, own) * math.comb(n_other, other)
            total += sets / (n * math.comb(n - 1, own + other))
    return total


def voting(weights: Sequence[int], quota: int) -> ToyGame:
    """v(S) = 1 if the votes reach the quota; Shapley–Shubik power by counting subsets per (size, votes)."""
    votes = np.asarray(weights, dtype=np.int64)
    values = np.array([_power(np.delete(votes, player), int(votes[player]), quota) for player in range(len(votes))])
    return ToyGame("voting", lambda coalitions: coalitions @ votes >= quota, values)


def _power(others: npt.NDArray[np.int64], own: int, quota: int) -> float:
    n = len(others) + 1
    counts = np.zeros((n, int(others.sum()) + 1))
    counts[0, 0] = 1.0
    for vote in others:
        for size in range(n - 1, 0, -1):
            counts[size, vote:] += counts[size - 1, : counts.shape[1] - vote]
    pivotal = counts[:, max(quota - own, 0) : quota].sum(axis=1)
    return float(sum(pivotal[size] / (n * math.comb(n - 1, size)) for size in range(n)))


def unanimity_sum(n_players: int, terms: Sequence[tuple[Sequence[int], float]]) -> ToyGame:
    """v(S) = Σ c_T 1[T ⊆ S]; every c_T is shared equally by the members of T."""
    values = np.zeros(n_players)
    for members, worth in terms:
        values[list(members)] += worth / len(members)

    def utility(coalitions: BoolArray) -> FloatArray:
        return sum(
            (worth * coalitions[:, list(members)].all(axis=1) for members, worth in terms), np.zeros(len(coalitions))
        )

    return ToyGame("unanimity", utility, values)


def random_unanimity(n_players: int, n_terms: int, seed: int) -> ToyGame:
    """Random sum of unanimity games of up to four players: any structure, known values."""
    rng = np.random.default_rng(seed)
    draws = [
        (rng.permutation(n_players)[: rng.integers(1, min(4, n_players) + 1)].tolist(), float(rng.normal()))
        for _ in range(n_terms)
    ]
    return unanimity_sum(n_players, draws)


def toy_games() -> list[ToyGame]:
    """One of each, with ties, null players and unequal players."""
    return [
        additive([3.0, -1.0, 0.0, 2.0, 2.0, 0.5]),
        airport([1, 1, 2, 3, 3, 5, 8]),
        shoes(3, 5),
        voting([4, 3, 2, 1, 1, 1, 0], quota=7),
        random_unanimity(7, 30, seed=3),
    ]
