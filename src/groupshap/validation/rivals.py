"""Values of other runs on the same contributors, scored beside ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from groupshap.attribution.utilities_table import player_names
from groupshap.validation.attributions import COLUMNS

__all__ = ["with_rivals"]


def with_rivals(attributions: pd.DataFrame, files: Mapping[str, str], contributors: pd.DataFrame) -> pd.DataFrame:
    """The table of ``gather`` with the ``shapley_values.csv`` of other runs after it.

    Args:
        attributions: See :func:`~groupshap.validation.attributions.gather`.
        files: Name to path.
        contributors: One row per player; every file must have a value for each of them.

    Raises:
        ValueError: a file that is not there, lacks a column or knows other contributors or properties; all are named.
    """
    tables, problems = [attributions], []
    for name, path in files.items():
        try:
            tables.append(_read(name, Path(path), attributions, contributors))
        except (OSError, ValueError) as error:
            problems.append(f"{name} ({path}): {error}")
    if problems:
        raise ValueError("\n".join(["`validation.rivals` cannot be used:", *(f"- {problem}" for problem in problems)]))
    return pd.concat(tables, ignore_index=True)


def _read(name: str, path: Path, attributions: pd.DataFrame, contributors: pd.DataFrame) -> pd.DataFrame:
    table = pd.read_csv(path, dtype={"property": str, "contributor": str}, keep_default_na=False)
    missing = [column for column in ("property", "contributor", "shapley_value") if column not in table]
    if missing:
        raise ValueError(f"expected the columns of shapley_values.csv, missing: {', '.join(missing)}.")
    table = table[table["property"].isin(set(attributions["property"]))]
    names = sorted(player_names(contributors))
    for wanted in dict.fromkeys(attributions["property"]):
        found = sorted(table.loc[table["property"] == wanted, "contributor"])
        if found != names:
            raise ValueError(f"expected one value of {wanted} for each of {len(names)} contributors, got {len(found)}.")
    rows = table.assign(attribution=name, value=table["shapley_value"].astype(float), draw=0, has_scale=True)
    return rows[list(COLUMNS)]
