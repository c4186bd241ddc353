"""The words of the field as types: coalitions in, Shapley values with their uncertainty out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import scipy

__all__ = ["CoalitionMatrix", "FloatArray", "ShapleyValues", "Utilities"]

FloatArray: TypeAlias = npt.NDArray[np.float64]
"""float64; the docstring of the function states the shape."""

CoalitionMatrix: TypeAlias = npt.NDArray[np.bool_]
"""(n_coalitions, n_players) bool: one row per coalition, True where the player is a member."""

Utilities: TypeAlias = npt.NDArray[np.float64]
"""(n_coalitions,) float64: the measured v(S) of each row of a :data:`CoalitionMatrix`."""


@dataclass(frozen=True)
class ShapleyValues:
    """Values of all players with their joint uncertainty and the way they were obtained.

    Attributes:
        values: (n_players,) float64, in the unit of the utility.
        covariance: (n_players, n_players) float64, of the estimation error of ``values``.
        n_evaluations: rows used, the empty and the grand coalition and replicates included.
        estimator: name of the estimator that made the numbers (after a fall-back: of the substitute).
        law: sampling law assumed for the rows.
        v_empty: mean measured utility of the empty coalition.
        v_grand: mean measured utility of the grand coalition.
        diagnostics: named numbers and remarks of the fit.
        degrees_of_freedom: of Student's t for intervals; infinite for the normal law.
        player_names: (n_players,) distinct names, or None for ``player 0``, ``player 1``, ...
    """

    values: FloatArray
    covariance: FloatArray
    n_evaluations: int
    estimator: str
    law: str
    v_empty: float
    v_grand: float
    diagnostics: Mapping[str, float | str] = field(default_factory=dict)
    degrees_of_freedom: float = math.inf
    player_names: Sequence[str] | None = None

    def __post_init__(self) -> None:
        """Copy the arrays as read-only and check shapes and names."""
        values = np.array(self.values, dtype=np.float64)
        covariance = np.array(self.covariance, dtype=np.float64)
        if values.ndim != 1 or covariance.shape != (len(values), len(values)):
            raise ValueError(
                f"Expected `values` (n,) and `covariance` (n, n), got {values.shape} and {covariance.shape}."
            )
        for array in (values, covariance):
            array.flags.writeable = False
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "covariance", covariance)
        object.__setattr__(self, "diagnostics", MappingProxyType(dict(self.diagnostics)))
        if self.player_names is not None:
            object.__setattr__(self, "player_names", check_player_names(self.player_names, len(values)))

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "diagnostics": dict(self.diagnostics)}  # a mapping proxy cannot be pickled

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self.__post_init__()

    @property
    def n_players(self) -> int:
        """Number of players."""
        return len(self.values)

    @property
    def standard_errors(self) -> FloatArray:
        """(n_players,) float64: square roots of the diagonal of ``covariance``."""
        return np.sqrt(np.maximum(np.diag(self.covariance), 0.0))

    @property
    def efficiency_gap(self) -> float:
        """v(N) − v(∅) − Σ values: what the axiom of efficiency leaves unexplained (0 after `with_efficiency`)."""
        return float(self.v_grand - self.v_empty - self.values.sum())

    def interval(self, level: float = 0.95) -> tuple[FloatArray, FloatArray]:
        """Lower and upper ends, each (n_players,) float64, of the intervals that cover with probability ``level``.

        Raises:
            ValueError: ``level`` is not inside (0, 1).
        """
        if not 0.0 < level < 1.0:
            raise ValueError(f"Expected `level` between 0 and 1, for example 0.95, got {level}.")
        half_width = _quantile(0.5 + level / 2.0, self.degrees_of_freedom) * self.standard_errors
        return self.values - half_width, self.values + half_width

    def with_efficiency(self, end_point_variance: float = 0.0) -> ShapleyValues:
        """The same values shifted equally, so that they sum to v(N) − v(∅) to rounding.

        Equal shares of the gap are the smallest change (in the 2-norm) that restores efficiency; differences between
        players stay untouched. The gap that was closed is kept as ``diagnostics["efficiency_gap"]``.

        Args:
            end_point_variance: variance of the measured v(N) − v(∅), the error that remains in the common level.
        """
        n = self.n_players
        gap = self.efficiency_gap
        shifted = self.values + gap / n
        covariance = self.covariance
        if np.isfinite(covariance).all():  # unknown (infinite) errors stay unknown
            centred = covariance - covariance.mean(axis=0) - covariance.mean(axis=1)[:, None]
            covariance = centred + covariance.mean() + end_point_variance / n**2
        diagnostics = {**self.diagnostics, "efficiency_gap": self.diagnostics.get("efficiency_gap", gap)}
        return replace(self, values=shifted, covariance=covariance, diagnostics=diagnostics)

    def table(self, player_names: Sequence[str] | None = None, *, level: float = 0.95) -> str:
        """Text table, one line per player from the largest value to the smallest.

        Raises:
            ValueError: ``player_names`` has another length than ``values`` or holds a name twice.
        """
        names = self.player_names if player_names is None else check_player_names(player_names, self.n_players)
        names = names or [f"player {i}" for i in range(self.n_players)]
        low, high = self.interval(level)
        width = max(6, *(len(name) for name in names))
        lines = [
            f"Shapley values: estimator {self.estimator}, law {self.law}, {self.n_evaluations} evaluations",
            f"v(empty) = {self.v_empty:.6g}, v(grand) = {self.v_grand:.6g}, sum of values = {self.values.sum():.6g}",
            f"{'player':<{width}}  {'value':>12}  {'std. error':>12}  {f'{100 * level:g} % interval':>28}",
        ]
        for i in np.argsort(-self.values, kind="stable"):
            interval = f"[{low[i]:.6g}, {high[i]:.6g}]"
            lines.append(
                f"{names[i]:<{width}}  {self.values[i]:>12.6g}  {self.standard_errors[i]:>12.4g}  {interval:>28}"
            )
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.table()


def check_player_names(player_names: Sequence[str], n_players: int) -> tuple[str, ...]:
    """Refuse names that do not name every player once.

    Raises:
        ValueError: wrong number of names, or duplicates (all of them are listed).
    """
    names = tuple(str(name) for name in player_names)
    if len(names) != n_players:
        raise ValueError(f"Expected one name per player, {n_players} in all, got {len(names)} in `player_names`.")
    duplicates = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if duplicates:
        raise ValueError(
            f"Expected distinct `player_names`, got duplicates: {', '.join(map(repr, duplicates))}. "
            "Merge or rename these contributors before planning coalitions."
        )
    return names


def _quantile(probability: float, degrees_of_freedom: float) -> float:
    """Quantile of Student's t; of the normal law for infinitely many degrees of freedom."""
    if math.isinf(degrees_of_freedom):
        return NormalDist().inv_cdf(probability)
    return float(scipy.special.stdtrit(degrees_of_freedom, probability))
