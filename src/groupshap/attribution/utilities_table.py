"""Reading the utilities table: coalitions and one array of utilities per property, or everything that is wrong."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from groupshap.games import CoalitionMatrix, Utilities, coalition_id, coalitions_from_members
from groupshap.members import short_name, split_members

__all__ = ["FIXED_COLUMNS", "check_directions", "coalition_utilities", "player_names", "property_columns"]

FIXED_COLUMNS = (
    *("split", "coalition_id", "replicate", "n_contributors", "members"),
    *("train_seconds", "sample_seconds", "fingerprint"),
)
SECONDS_COLUMNS = ("train_seconds", "sample_seconds")
CONTRIBUTOR_COLUMNS = ("player", "contributor", "n_images")
PROPERTY_NAME = re.compile(r"[a-z0-9_]+")
N_PROBLEMS_SHOWN = 20
READ_AS_TEXT = (
    'Read the file with dtype={"coalition_id": str, "members": str, "fingerprint": str} and keep_default_na=False.'
)


def coalition_utilities(
    utilities: pd.DataFrame, contributors: pd.DataFrame, split: str = "estimation", *, end_points: bool = True
) -> tuple[CoalitionMatrix, dict[str, Utilities]]:
    """Coalitions of one split and, per property, what was measured for them.

    Args:
        utilities: one row per (split, coalition, replicate): :data:`FIXED_COLUMNS` and one column per property.
        contributors: columns player (0..n-1), contributor (distinct names) and n_images.
        split: the rows to take.
        end_points: whether the empty and the grand coalition must be among them.

    Returns:
        Coalitions (n_rows, n_players) bool in the order of the table, and {property: (n_rows,) finite float64} in the
        order of the columns.

    Raises:
        ValueError: everything that is wrong, in one message: missing columns, property names that cannot be file
            names, unknown members, ids that disagree with the members, rows given twice, utilities that are not
            finite numbers, no property, no empty or no grand coalition.
    """
    _raise_problems([*_missing_columns(utilities, contributors), *_bad_property_names(utilities)])
    rows = utilities[utilities["split"] == split]
    if rows.empty:
        found = ", ".join(sorted(map(repr, set(utilities["split"])))) or "no row at all"
        _raise_problems(
            [f"expected rows of split {split!r}, got {found}. Run subset_finetune and property_eval first."]
        )
    names = player_names(contributors)
    members, member_problems = _members_by_row(rows, names)
    masks = coalitions_from_members(members, len(names))
    values = {name: pd.to_numeric(rows[name], errors="coerce").to_numpy(np.float64) for name in property_columns(rows)}
    problems = [*member_problems, *_duplicates(rows), *_not_finite(rows)]
    if not member_problems:
        problems += [*_disagreeing_rows(rows, masks), *(_missing_end_points(masks) if end_points else [])]
    _raise_problems(problems)
    return masks, values


def property_columns(utilities: pd.DataFrame) -> list[str]:
    """The columns that are not fixed, in their order: one per property."""
    return [column for column in utilities.columns if column not in FIXED_COLUMNS]


def player_names(contributors: pd.DataFrame) -> list[str]:
    """The contributors' names in the order of the players.

    Raises:
        ValueError: players that are not 0..n-1, or names that are no text or occur twice.
    """
    problems = []
    ordered = contributors.sort_values("player", kind="stable")
    if ordered["player"].tolist() != list(range(len(ordered))) or ordered.empty:
        got = short_name(str(ordered["player"].tolist()), 120)
        problems.append(f"contributors: expected `player` 0..n-1, each once, got {got}.")
    names = ordered["contributor"].tolist()
    strange = [name for name in names if not isinstance(name, str) or not name]
    if strange:
        problems.append(f"contributors: expected names that are text, got {strange[:5]}. Read them with dtype=str.")
    twice = sorted({short_name(str(name), 60) for name, count in Counter(names).items() if count > 1})
    if twice:
        problems.append(f"contributors: expected distinct names, these occur twice: {', '.join(twice)}.")
    _raise_problems(problems)
    return names


def check_directions(properties: Sequence[str], directions: Mapping[str, bool]) -> None:
    """Refuse properties of which nobody says whether higher values are better: their sign would be a guess.

    Raises:
        ValueError: the properties without a direction, or with one that is neither true nor false.
    """
    bad = [name for name in properties if not isinstance(directions.get(name), bool)]
    if bad:
        raise ValueError(
            f"Expected `property_directions` to say true (higher is better) or false for every property, not so for "
            f"{', '.join(bad)}; it knows {', '.join(directions) or 'none'}. Run property_eval again."
        )


def _missing_columns(utilities: pd.DataFrame, contributors: pd.DataFrame) -> list[str]:
    tables = (("utilities", utilities, FIXED_COLUMNS), ("contributors", contributors, CONTRIBUTOR_COLUMNS))
    problems = [
        f"{name}: expected the columns {', '.join(expected)}, missing: {', '.join(missing)}."
        for name, table, expected in tables
        if (missing := [column for column in expected if column not in table.columns])
    ]
    if not property_columns(utilities):
        problems.append("utilities: expected one column per property, got none beside the fixed ones.")
    return problems


def _bad_property_names(utilities: pd.DataFrame) -> list[str]:
    # They become file names, so nothing else may pass.
    bad = [str(name) for name in property_columns(utilities) if not PROPERTY_NAME.fullmatch(str(name))]
    todo = "Rename the property (`name` of its class) or drop the column."
    return [f"property {name!r}: expected a name of a-z, 0-9 and _ only. {todo}" for name in bad]


def _members_by_row(rows: pd.DataFrame, names: Sequence[str]) -> tuple[list[list[int]], list[str]]:
    """Player numbers per row (an empty list where there is a problem), and the problems."""
    number_of = {name: player for player, name in enumerate(names)}
    members, problems = [], []
    for label, cell in zip(_labels(rows), rows["members"], strict=True):
        numbers: list[int] = []
        try:
            found = split_members(cell) if isinstance(cell, str) else None
        except ValueError as error:
            problems.append(f"{label}: {error}")
        else:
            numbers = [number_of[name] for name in found or [] if name in number_of]
            problems += _member_problems(label, cell, found, number_of)
        members.append(numbers)
    return members, problems


def _member_problems(label: str, cell: object, found: list[str] | None, number_of: dict[str, int]) -> list[str]:
    if found is None:
        return [f"{label}: expected `members` as text, got {cell!r}. {READ_AS_TEXT}"]
    unknown = [short_name(name, 60) for name in found if name not in number_of]
    problems = [f"{label}: expected members from the contributors table, unknown: {', '.join(unknown)}."]
    twice = sorted({short_name(name, 60) for name, count in Counter(found).items() if count > 1})
    return (problems if unknown else []) + (
        [f"{label}: expected every member once, got twice: {', '.join(twice)}."] if twice else []
    )


def _labels(rows: pd.DataFrame) -> list[str]:
    return [f"coalition {id_} replicate {r}" for id_, r in zip(rows["coalition_id"], rows["replicate"], strict=True)]


def _duplicates(rows: pd.DataFrame) -> list[str]:
    keys = rows[["coalition_id", "replicate"]]
    repeated = keys[keys.duplicated()].drop_duplicates()
    return [f"{label}: expected one row, got several. Keep the right one." for label in _labels(repeated)]


def _not_finite(rows: pd.DataFrame) -> list[str]:
    problems = []
    labels = _labels(rows)
    for column in (*property_columns(rows), *SECONDS_COLUMNS):
        kind = "" if column in SECONDS_COLUMNS else "property "
        numbers = pd.to_numeric(rows[column], errors="coerce").to_numpy(np.float64)
        for row in np.flatnonzero(~np.isfinite(numbers)):
            got = rows[column].iloc[row]
            problems.append(
                f"{kind}{column}, {labels[row]}: expected a finite number, got {got!r}. Measure this coalition again."
            )
    return problems


def _disagreeing_rows(rows: pd.DataFrame, masks: CoalitionMatrix) -> list[str]:
    problems = []
    for label, given, n_given, mask in zip(
        _labels(rows), rows["coalition_id"], rows["n_contributors"], masks, strict=True
    ):
        if given != (expected := coalition_id(mask)):
            problems.append(
                f"{label}: `coalition_id` disagrees with `members`, expected {expected}. The contributors table may "
                f"be of another run. {READ_AS_TEXT}"
            )
        elif n_given != mask.sum():
            problems.append(f"{label}: expected `n_contributors` {mask.sum()}, one per member, got {n_given}.")
    return problems


def _missing_end_points(masks: CoalitionMatrix) -> list[str]:
    sizes = masks.sum(axis=1)
    ends = {"empty coalition (no member)": 0, "grand coalition (all contributors)": masks.shape[1]}
    return [
        f"expected a row for the {name}, got none among {len(masks)} rows. Measure it: it is part of every plan."
        for name, size in ends.items()
        if not (sizes == size).any()
    ]


def _raise_problems(problems: Sequence[str]) -> None:
    if not problems:
        return
    shown = [f"  {number}. {problem}" for number, problem in enumerate(problems[:N_PROBLEMS_SHOWN], start=1)]
    rest = [f"  ... and {len(problems) - N_PROBLEMS_SHOWN} more."] if len(problems) > N_PROBLEMS_SHOWN else []
    head = f"{len(problems)} problem{'s' if len(problems) > 1 else ''} with the table of utilities:"
    raise ValueError("\n".join([head, *shown, *rest]))
