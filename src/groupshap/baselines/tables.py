"""Baselines as two tables: what each attribution says, and for each whether it is defined, why not, and its cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from groupshap.baselines.aggregation import AGGREGATIONS, FloatArray, by_contributor

__all__ = ["BaselineTables"]

VALUE_COLUMNS = ("attribution", "property", "contributor", "value")
NOTE_COLUMNS = ("attribution", "defined", "note", "seconds")


@dataclass
class BaselineTables:
    """Collects baselines one by one.

    Attributes:
        names: Contributors in the order of the players.
        players: (n_images,) the contributor of each training image, in the order of all image scores.
        directions: {property: whether higher values are better}.
    """

    names: Sequence[str]
    players: npt.NDArray[np.int64]
    directions: Mapping[str, bool]
    _values: list[dict[str, Any]] = field(default_factory=list)
    _notes: list[dict[str, Any]] = field(default_factory=list)

    def add_scores(self, attribution: str, scores: FloatArray, seconds: float, note: str = "") -> None:
        """Scores (n_images,), higher for more important images, in all aggregations and for every property.

        A value has the sign of its effect on the property: an important contributor lowers a property of which lower
        values are better, so there the sign turns.
        """
        for aggregation, importance in by_contributor(scores, self.players, len(self.names)).items():
            values = {name: importance if better else -importance for name, better in self.directions.items()}
            self.add_values(f"{attribution}/{aggregation}", values, seconds, note)

    def add_values(self, attribution: str, values: Mapping[str, FloatArray], seconds: float, note: str = "") -> None:
        """Values (n_players,) by property, in the property's own sign."""
        for property_name, row in values.items():
            self._values += [
                {"attribution": attribution, "property": property_name, "contributor": name, "value": float(value)}
                for name, value in zip(self.names, row, strict=True)
            ]
        self._note(attribution, True, note, seconds)

    def add_undefined(self, attribution: str, note: str) -> None:
        """A baseline that this run does not define, and why."""
        self._note(attribution, False, note, 0.0)

    def add_undefined_scores(self, attribution: str, note: str) -> None:
        """:meth:`add_undefined` for all aggregations."""
        for aggregation in AGGREGATIONS:
            self.add_undefined(f"{attribution}/{aggregation}", note)

    def _note(self, attribution: str, defined: bool, note: str, seconds: float) -> None:
        row = {"attribution": attribution, "defined": defined, "note": note, "seconds": seconds}
        self._notes.append(row)

    def values(self) -> pd.DataFrame:
        """attribution, property, contributor, value."""
        return pd.DataFrame(self._values, columns=list(VALUE_COLUMNS))

    def notes(self) -> pd.DataFrame:
        """attribution, defined, note, seconds: of one core, everything it needs included, also what others share."""
        return pd.DataFrame(self._notes, columns=list(NOTE_COLUMNS))
