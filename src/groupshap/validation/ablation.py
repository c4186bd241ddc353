"""Which recipe of the cheap game to take: fidelity against cost over a grid, the Pareto front, one recommended cell."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from groupshap.games.types import FloatArray

__all__ = [
    "AXES",
    "CEILING",
    "CEILING_SHARE",
    "FIDELITY",
    "ablation_table",
    "fidelity_columns",
    "fidelity_properties",
    "pareto_front",
]

AXES = ("fraction_removed", "n_steps", "n_images", "sampler_n_steps")
FIDELITY, CEILING = "fidelity_", "ceiling_"
CEILING_SHARE = 0.95


def fidelity_columns(fidelity: pd.DataFrame, measure: str = "pearson_shapley") -> dict[str, float]:
    """Columns of one cell: {fidelity_<property>, ceiling_<property>: number} from a table of fidelity.

    Args:
        fidelity: the table of :func:`~groupshap.validation.fidelity.fidelity_table` of this cell.
        measure: the measure that counts, higher is better.
    """
    rows = fidelity[fidelity["measure"] == measure]
    values = {f"{FIDELITY}{row.property}": float(row.value) for row in rows.itertuples()}
    return values | {f"{CEILING}{row.property}": float(row.ceiling) for row in rows.itertuples()}


def fidelity_properties(cells: pd.DataFrame) -> list[str]:
    """The properties that have a column of fidelity."""
    return [str(column).removeprefix(FIDELITY) for column in cells.columns if str(column).startswith(FIDELITY)]


def ablation_table(cells: pd.DataFrame, margin: float = 0.02) -> pd.DataFrame:
    """The cells with their cost, whether one would ever choose them, and the one to take.

    Args:
        cells: one row per cell: fraction_removed, n_steps, n_images, sampler_n_steps, train_seconds and sample_seconds
            of one coalition, and per property fidelity_<property> (higher is better) and, where known,
            ceiling_<property>.
        margin: a fidelity this close to the best cell's is as good.

    Returns:
        The columns of ``cells`` and: seconds (train + sample), fidelity (mean over properties), is_pareto (no cell is
        cheaper and at least as good), is_good_enough (for *every* property within ``margin`` of the best cell or at
        least 0.95 of its ceiling), is_recommended (exactly one: the cheapest that is good enough; if none is, the best
        mean fidelity, the cheaper of equals) and why. From the cheapest to the most expensive.

    Raises:
        ValueError: missing columns, a cell twice, or numbers that are not finite.
    """
    properties = _checked_properties(cells)
    table = cells.copy()
    table["seconds"] = table["train_seconds"] + table["sample_seconds"]
    fidelity = table[[FIDELITY + name for name in properties]].to_numpy(np.float64)
    table["fidelity"] = fidelity.mean(axis=1)
    table["is_pareto"] = pareto_front(table["seconds"].to_numpy(np.float64), table["fidelity"].to_numpy(np.float64))
    table["is_good_enough"] = _good_enough(table, fidelity, properties, margin)
    table = table.sort_values(["seconds", "fidelity"], ascending=[True, False], kind="stable", ignore_index=True)
    chosen, why = _recommended(table, margin)
    table["is_recommended"] = table.index == chosen
    table["why"] = np.where(table["is_recommended"], why, "")
    return table


def pareto_front(seconds: FloatArray, fidelity: FloatArray) -> npt.NDArray[np.bool_]:
    """(m,) bool: cells that no other cell beats, at most as expensive and at least as good, one of them strictly."""
    cheaper = seconds[:, None] <= seconds
    better = fidelity[:, None] >= fidelity
    strictly = (seconds[:, None] < seconds) | (fidelity[:, None] > fidelity)
    return ~(cheaper & better & strictly).any(axis=0)


def _good_enough(
    table: pd.DataFrame, fidelity: FloatArray, properties: list[str], margin: float
) -> npt.NDArray[np.bool_]:
    nothing = pd.Series(np.nan, index=table.index)
    ceilings = np.stack([table.get(CEILING + name, nothing).to_numpy(np.float64) for name in properties], axis=1)
    # A missing or vanishing ceiling proves nothing, so there only the margin counts.
    near_ceiling = (ceilings > 0.0) & (fidelity >= CEILING_SHARE * ceilings)
    return ((fidelity >= fidelity.max(axis=0) - margin) | near_ceiling).all(axis=1)


def _recommended(table: pd.DataFrame, margin: float) -> tuple[int, str]:
    """Index label of the recommended cell and the reason, from a table sorted by cost."""
    good = table[table["is_good_enough"]]
    if len(good):
        rule = f"within {margin:g} of the best cell or at least {CEILING_SHARE:g} of the noise ceiling"
        return int(good.index[0]), f"the cheapest cell that is {rule} for every property"
    best = table["fidelity"].idxmax()
    return int(best), "no cell is good enough for every property: the best mean fidelity"


def _checked_properties(cells: pd.DataFrame) -> list[str]:
    properties = fidelity_properties(cells)
    needed = [*AXES, "train_seconds", "sample_seconds"]
    missing = [column for column in needed if column not in cells.columns]
    if missing or not properties or cells.empty:
        raise ValueError(
            f"Expected one row per cell with {', '.join(needed)} and fidelity_<property>, got {len(cells)} rows, "
            f"missing: {', '.join(missing) or 'no column'}; properties: {', '.join(properties) or 'none'}."
        )
    numbers = cells[[*needed, *(FIDELITY + name for name in properties)]].apply(pd.to_numeric, errors="coerce")
    bad = ~np.isfinite(numbers.to_numpy(np.float64))
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ValueError(
            f"Expected finite numbers in every cell, got {int(bad.sum())} that are not, the first in row {row}, column "
            f"{numbers.columns[column]}. Measure this cell again, or leave it out."
        )
    twice = cells[list(AXES)].duplicated()
    if twice.any():
        raise ValueError(f"Expected every cell once, got twice: {cells.loc[twice, list(AXES)].iloc[0].to_dict()}.")
    return properties
