"""One split of the utilities table as a game: distinct coalitions, each with its replicates."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from groupshap.attribution.utilities_table import SECONDS_COLUMNS, coalition_utilities, player_names
from groupshap.games.types import CoalitionMatrix, FloatArray

__all__ = ["MeasuredGame", "in_common", "measured_game"]


@dataclass(frozen=True)
class MeasuredGame:
    """What was measured, one row per distinct coalition, sorted by size and id.

    Attributes:
        names: (n_players,) contributors in the order of the players.
        ids: (m,) coalition ids.
        masks: (m, n_players) bool.
        utilities: {property: (m, R) float64}, one column per replicate, nan where it was not measured.
        seconds: (m, R) float64, training plus sampling of one evaluation, nan likewise.
    """

    names: tuple[str, ...]
    ids: tuple[str, ...]
    masks: CoalitionMatrix
    utilities: Mapping[str, FloatArray]
    seconds: FloatArray

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """(m,) int64: |S| of each row."""
        return self.masks.sum(axis=1)

    @property
    def n_replicates(self) -> npt.NDArray[np.int64]:
        """(m,) int64 ≥ 1: replicates measured of each row."""
        return np.isfinite(self.seconds).sum(axis=1)

    @property
    def has_end_points(self) -> bool:
        """Whether the empty and the grand coalition are among the rows."""
        return bool((self.sizes == 0).any() and (self.sizes == len(self.names)).any())

    def means(self, property_name: str) -> FloatArray:
        """(m,) float64: mean over the replicates of each row."""
        return np.nanmean(self.utilities[property_name], axis=1)

    def complete_replicates(self, property_name: str) -> FloatArray:
        """(R, m') float64: one row per replicate, of the coalitions that have all of them."""
        values = self.utilities[property_name]
        return values[np.isfinite(values).all(axis=1)].T

    def noise_variance(self, property_name: str) -> float:
        """Pooled variance of one evaluation within replicates; nan without replicates."""
        values, freedom = self.utilities[property_name], int((self.n_replicates - 1).sum())
        within = np.nansum((values - self.means(property_name)[:, None]) ** 2)
        return float(within) / freedom if freedom else float("nan")

    def long(self, property_name: str, replicate: int | None = None) -> tuple[CoalitionMatrix, FloatArray]:
        """Rows as the estimators want them, (n_rows, n_players) and (n_rows,): all replicates, or one of them."""
        values = self.utilities[property_name]
        values = values if replicate is None else values[:, [replicate]]
        row, column = np.nonzero(np.isfinite(values))
        return self.masks[row], values[row, column]

    def subset(self, keep: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> MeasuredGame:
        """The same game restricted to rows."""
        return MeasuredGame(
            names=self.names,
            ids=tuple(np.array(self.ids, dtype=object)[keep]),
            masks=self.masks[keep],
            utilities={name: values[keep] for name, values in self.utilities.items()},
            seconds=self.seconds[keep],
        )

    def without(self, ids: Collection[str]) -> MeasuredGame:
        """The rows whose coalition is not among ``ids``."""
        known = set(ids)
        return self.subset(np.array([id_ not in known for id_ in self.ids], dtype=bool))


def measured_game(utilities: pd.DataFrame, contributors: pd.DataFrame, split: str | None = None) -> MeasuredGame:
    """Read one split.

    Args:
        utilities: as for :func:`~groupshap.attribution.utilities_table.coalition_utilities`; the empty and the grand
            coalition need not be there.
        contributors: as there.
        split: the rows to take; None where the table holds one split only.

    Raises:
        ValueError: what :func:`coalition_utilities` finds wrong, or several splits and no choice.
    """
    if split is None:
        split = _only_split(utilities)
    masks, measured = coalition_utilities(utilities, contributors, split, end_points=False)
    rows = utilities[utilities["split"] == split]
    seconds = rows[list(SECONDS_COLUMNS)].to_numpy(np.float64).sum(axis=1)
    keys = pd.MultiIndex.from_arrays([masks.sum(axis=1), rows["coalition_id"]])
    row, distinct = pd.factorize(keys, sort=True)
    column, replicates = pd.factorize(rows["replicate"].to_numpy(), sort=True)
    first = np.unique(row, return_index=True)[1]

    def spread(values: FloatArray) -> FloatArray:
        table = np.full((len(distinct), len(replicates)), np.nan)
        table[row, column] = values
        return table

    return MeasuredGame(
        names=tuple(player_names(contributors)),
        ids=tuple(rows["coalition_id"].to_numpy()[first]),
        masks=masks[first],
        utilities={name: spread(values) for name, values in measured.items()},
        seconds=spread(seconds),
    )


def in_common(first: MeasuredGame, second: MeasuredGame) -> tuple[MeasuredGame, MeasuredGame]:
    """Both games restricted to the coalitions and properties that both have, rows in the same order.

    Raises:
        ValueError: no coalition or no property in common, or other contributors.
    """
    if first.names != second.names:
        raise ValueError("Expected two games of the same contributors in the same order, got different ones.")
    ids = set(first.ids) & set(second.ids)
    properties = [name for name in first.utilities if name in second.utilities]
    if not ids or not properties:
        raise ValueError(
            f"Expected coalitions and properties measured in both games, got {len(ids)} common coalitions (of "
            f"{len(first.ids)} and {len(second.ids)}) and the common properties {properties}. Measure the cheap "
            "recipe on the validation coalitions."
        )
    return _restricted(first, ids, properties), _restricted(second, ids, properties)


def _restricted(game: MeasuredGame, ids: Collection[str], properties: Collection[str]) -> MeasuredGame:
    kept = game.subset(np.array([id_ in ids for id_ in game.ids], dtype=bool))
    return MeasuredGame(
        kept.names, kept.ids, kept.masks, {name: kept.utilities[name] for name in properties}, kept.seconds
    )


def _only_split(utilities: pd.DataFrame) -> str:
    splits = sorted(set(utilities["split"])) if "split" in utilities else []
    if len(splits) != 1:
        raise ValueError(
            f"Expected rows of one split, got {splits or 'no row'}. Select one, for example "
            "utilities[utilities['split'] == 'validation']."
        )
    return splits[0]
