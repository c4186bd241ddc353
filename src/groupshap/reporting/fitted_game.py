"""What the fitted game says beyond the values: v against |S|, and what each contributor adds at each size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from groupshap.games import CoalitionMatrix, Utilities
from groupshap.games.evaluations import Evaluations, collapse
from groupshap.games.requirements import require_interior
from groupshap.games.subset_gp import MAX_PROCESS_ROWS, SubsetGP, fit_subset_gp
from groupshap.games.types import FloatArray
from groupshap.seeds import generator_for

__all__ = ["FittedGame", "fit_game"]

IntArray = npt.NDArray[np.int64]

N_SIZES_MAX = 8
"""More contributors than three times this: sizes are pooled in this many ranges."""
N_CHAINS = 64


@dataclass(frozen=True)
class FittedGame:
    """The Gaussian process of ``gp``, averaged in two ways.

    Attributes:
        curve: (n_players + 1,) float64: mean of v over all coalitions of size 0..n; None without a fit.
        noise_sd: standard deviation of one evaluation as the process sees it; 0 without a fit.
        sizes: (n_sizes,) float64: |S| before a contributor joins; the middle of a range where sizes are pooled.
        marginals: (n_players, n_sizes) float64: mean of v(S∪i) − v(S) over random S of that size; None without a fit.
        pairs: per player the measured (|S|, v(S∪i) − v(S)) where both coalitions were evaluated; noise included.
        left_out: why there is no fit, or "".
    """

    curve: FloatArray | None
    noise_sd: float
    sizes: FloatArray
    marginals: FloatArray | None
    pairs: list[list[tuple[int, float]]]
    left_out: str = ""


def fit_game(coalitions: CoalitionMatrix, utilities: Utilities, *, seed: int = 0) -> FittedGame:
    """Fit the process once and read curve and marginal contributions from it.

    Args:
        coalitions: (n_rows, n_players) bool.
        utilities: (n_rows,) finite float64.
        seed: of the random orders behind the marginal contributions.
    """
    evaluations = collapse(coalitions, utilities)
    n_players = evaluations.n_players
    shifts, range_of_place = _places(n_players)
    sizes = np.array([np.flatnonzero(range_of_place == number).mean() for number in range(len(shifts))])
    pairs = _measured_pairs(evaluations)
    if n_players == 1 or evaluations.is_constant:
        curve = np.interp(np.arange(n_players + 1), [0, n_players], evaluations.utilities[:2])
        marginals = np.full((n_players, len(sizes)), (curve[-1] - curve[0]) / n_players)
        return FittedGame(curve, 0.0, sizes, marginals, pairs)
    try:
        require_interior(evaluations, "gp")
    except ValueError as error:
        return FittedGame(None, 0.0, sizes, None, pairs, str(error))
    model = fit_subset_gp(evaluations.spread(MAX_PROCESS_ROWS))
    marginals = _marginals(model, shifts, range_of_place, seed)
    curve = model.size_curve(np.arange(n_players + 1))
    return FittedGame(curve, float(np.sqrt(model.noise_variance)), sizes, marginals, pairs)


def _places(n_players: int) -> tuple[IntArray, IntArray]:
    """Shifts that put every player once into every range of places, and (n_players,) the range of each place."""
    shifts = np.arange(n_players)
    if n_players > 3 * N_SIZES_MAX:
        shifts = np.linspace(0, n_players, N_SIZES_MAX, endpoint=False).astype(np.int64)
    return shifts, np.searchsorted(shifts, np.arange(n_players), side="right") - 1


def _marginals(model: SubsetGP, shifts: IntArray, range_of_place: IntArray, seed: int) -> FloatArray:
    """Predict chains ∅ ⊂ ... ⊂ N and average what each player adds, by size.

    Every random order is shifted cyclically, so that every player stands at every place (or in every range of places)
    equally often. The mean over the sizes is the player's value in the fitted game, up to the choice of orders.
    """
    n_players = model.n_players
    sums, counts = np.zeros((2, n_players, len(shifts)))
    rng = generator_for(seed, "marginals", n_players)
    for _ in range(max(1, N_CHAINS // len(shifts))):
        order = rng.permutation(n_players)
        for shift in shifts:
            shifted = np.roll(order, shift)
            np.add.at(sums, (shifted, range_of_place), np.diff(_along_chain(model, shifted)))
            np.add.at(counts, (shifted, range_of_place), 1)
    # Ranges of unequal length: a player may have missed one in all orders.
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def _along_chain(model: SubsetGP, order: IntArray) -> FloatArray:
    """(n_players + 1,) float64: predicted v while the players join in ``order``."""
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return model.predict(place[None, :] < np.arange(len(order) + 1)[:, None])


def _measured_pairs(evaluations: Evaluations) -> list[list[tuple[int, float]]]:
    """For each player the evaluated coalitions that differ by this player alone."""
    row_of = {mask.tobytes(): row for row, mask in enumerate(evaluations.masks)}
    pairs: list[list[tuple[int, float]]] = [[] for _ in range(evaluations.n_players)]
    for row, mask in enumerate(evaluations.masks):
        for player in np.flatnonzero(mask):
            without = mask.copy()
            without[player] = False
            if (other := row_of.get(without.tobytes())) is not None:
                difference = float(evaluations.utilities[row] - evaluations.utilities[other])
                pairs[player].append((int(without.sum()), difference))
    return pairs
