"""Coalitions as rows of a boolean matrix: ids that depend on the members only, and the fixed designs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from groupshap.games.types import CoalitionMatrix
from groupshap.seeds import generator_for

__all__ = [
    "add_one_in_coalitions",
    "all_coalitions",
    "coalition_id",
    "coalitions_from_members",
    "distinct_coalitions",
    "leave_one_out_coalitions",
    "replicate_numbers",
    "task_ids",
    "uniform_fraction_coalitions",
]


def coalition_id(mask: npt.NDArray[np.bool_]) -> str:
    """First 16 hex digits of the sha256 of the number of players and the packed mask (n_players,) bool.

    The id names the coalition, not the row: it is the same in every plan, process and session.
    """
    mask = np.asarray(mask, dtype=bool)
    return hashlib.sha256(f"{mask.size}:".encode() + np.packbits(mask).tobytes()).hexdigest()[:16]


def replicate_numbers(coalitions: CoalitionMatrix) -> npt.NDArray[np.int64]:
    """(n_coalitions,) int64: how many earlier rows hold the same coalition."""
    seen: dict[bytes, int] = {}
    numbers = np.zeros(len(coalitions), dtype=np.int64)
    for row, mask in enumerate(np.packbits(np.asarray(coalitions, dtype=bool), axis=1)):
        key = mask.tobytes()
        numbers[row] = seen.get(key, 0)
        seen[key] = int(numbers[row]) + 1
    return numbers


def task_ids(coalitions: CoalitionMatrix) -> list[str]:
    """One ``<coalition_id>-r<replicate>`` per row; distinct, and stable when a plan grows."""
    numbers = replicate_numbers(coalitions)
    return [f"{coalition_id(mask)}-r{number}" for mask, number in zip(coalitions, numbers, strict=True)]


def coalitions_from_members(members: Sequence[Iterable[int]], n_players: int) -> CoalitionMatrix:
    """(len(members), n_players) bool from lists of player numbers in 0..n_players−1.

    Raises:
        ValueError: a player number outside the range; the row is named.
    """
    coalitions = np.zeros((len(members), n_players), dtype=bool)
    for row, players in enumerate(members):
        numbers = list(players)
        if any(not 0 <= player < n_players for player in numbers):
            raise ValueError(f"Expected player numbers in 0..{n_players - 1}, got {numbers} in row {row}.")
        coalitions[row, numbers] = True
    return coalitions


def distinct_coalitions(coalitions: CoalitionMatrix) -> CoalitionMatrix:
    """(k, n_players) bool: each coalition once, in the order in which it first appears."""
    _, first = np.unique(coalitions, axis=0, return_index=True)
    return coalitions[np.sort(first)]


def all_coalitions(n_players: int) -> CoalitionMatrix:
    """(2**n_players, n_players) bool: row r holds the binary digits of r, player 0 the lowest."""
    return (np.arange(2**n_players)[:, None] >> np.arange(n_players)) & 1 == 1


def leave_one_out_coalitions(n_players: int) -> CoalitionMatrix:
    """(n_players + 2, n_players) bool: ∅, N, then N∖{i} for every player: the design of estimator ``loo``."""
    return np.vstack([_end_points(n_players), ~np.eye(n_players, dtype=bool)])


def add_one_in_coalitions(n_players: int) -> CoalitionMatrix:
    """(n_players + 2, n_players) bool: ∅, N, then {i} for every player: the design of ``add_one_in``."""
    return np.vstack([_end_points(n_players), np.eye(n_players, dtype=bool)])


def uniform_fraction_coalitions(
    n_players: int, n_coalitions: int, *, seed: int, fraction: float = 0.5
) -> CoalitionMatrix:
    """(n_coalitions, n_players) bool: held-out rows for LDS, each ``int(fraction · n)`` players drawn uniformly.

    Prefix-stable: row k depends on (seed, k) only. No end points.

    Raises:
        ValueError: ``fraction`` gives an empty or the grand coalition.
    """
    size = int(fraction * n_players)
    if not 0 < size < n_players:
        raise ValueError(f"Expected 0 < int(fraction · n_players) < {n_players}, got {size} (fraction {fraction}).")
    draws = (generator_for(seed, "held-out", row).permutation(n_players)[:size] for row in range(n_coalitions))
    return coalitions_from_members([draw.tolist() for draw in draws], n_players)


def _end_points(n_players: int) -> CoalitionMatrix:
    """(2, n_players) bool: the empty and the grand coalition."""
    return np.vstack([np.zeros(n_players, dtype=bool), np.ones(n_players, dtype=bool)])
