"""Baselines that are other ways to read the table of utilities: single changes, Banzhaf, datamodel.

They cost the coalitions they read. In the paper leave-one-out and add-one-in read retrained models; here they read what
the table holds, and are not defined where it lacks one of their coalitions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from groupshap.baselines.aggregation import FloatArray
from groupshap.games import (
    CoalitionMatrix,
    Utilities,
    add_one_in_coalitions,
    estimate,
    leave_one_out_coalitions,
)
from groupshap.members import short_name

__all__ = ["FROM_UTILITIES", "SINGLE_CHANGES", "values_from_utilities"]

FROM_UTILITIES = ("loo", "add_one_in", "banzhaf", "datamodel")

SINGLE_CHANGES = ("loo", "add_one_in")
"""Those that compare the empty or the grand coalition with its neighbours only."""

_DESIGNS = {"loo": leave_one_out_coalitions, "add_one_in": add_one_in_coalitions}
_N_NAMED = 10


def values_from_utilities(
    estimator: str, coalitions: CoalitionMatrix, utilities: Mapping[str, Utilities], names: Sequence[str]
) -> dict[str, FloatArray]:
    """Values (n_players,) per property, in its own sign and unit.

    Args:
        estimator: One of :data:`FROM_UTILITIES`.
        coalitions: (n_rows, n_players) bool, replicates allowed.
        utilities: {property: (n_rows,)}.
        names: Contributors in the order of the players, for the message.

    Raises:
        ValueError: coalitions that the estimator needs are missing; says which, or how many suffice.
    """
    if estimator in _DESIGNS:
        _require(_DESIGNS[estimator](len(names)), coalitions, names)
    return {
        property_name: np.array(estimate(coalitions, values, estimator=estimator, n_bootstrap=2).values)
        for property_name, values in utilities.items()
    }


def _require(design: CoalitionMatrix, coalitions: CoalitionMatrix, names: Sequence[str]) -> None:
    measured = {mask.tobytes() for mask in np.asarray(coalitions, dtype=bool)}
    missing = [_named(mask, names) for mask in design if mask.tobytes() not in measured]
    if missing:
        shown = "; ".join(missing[:_N_NAMED])
        more = f"; and {len(missing) - _N_NAMED} more" if len(missing) > _N_NAMED else ""
        raise ValueError(f"these coalitions are missing in the table of utilities: {shown}{more}.")


def _named(mask: CoalitionMatrix, names: Sequence[str]) -> str:
    """The coalition in words, by whichever of its members and the others are fewer."""
    if 2 * mask.sum() <= len(mask):
        return ", ".join(short_name(names[player], 40) for player in np.flatnonzero(mask)) or "nobody"
    others = ", ".join(short_name(names[player], 40) for player in np.flatnonzero(~mask))
    return f"all but {others}" if others else "everybody"
