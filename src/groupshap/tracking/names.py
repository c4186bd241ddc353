"""Names, tags and numbers in the shape that MLflow takes and people read."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

from groupshap.members import short_name, split_members

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "KEY_COLUMNS",
    "MAX_TAG_CHARS",
    "child_name",
    "child_tags",
    "cut",
    "finite_metrics",
    "first_line",
    "flat_parameters",
    "masked",
    "metric_name",
    "row_key",
    "row_metrics",
    "run_name",
    "table_metrics",
]

# Columns of the measured models that are no property; every other numeric column is a metric.
KEY_COLUMNS = ("split", "coalition_id", "replicate")
_TAG_COLUMNS = (*KEY_COLUMNS, "fingerprint", "members", "checkpoint", "checkpoint_sha256")
_NO_METRICS = (*_TAG_COLUMNS, "n_planned")  # of the plan, not of the model

# Limits of MLflow 3 (mlflow.utils.validation); beyond them the server refuses the whole batch.
MAX_TAG_CHARS = 5000  # 8000 now, 5000 in servers before 2.21
_MAX_PARAM_CHARS = 6000
_N_NAME_COLUMNS = 100


def run_name(source: str | None, n_contributors: int | None, seed: str | None, pipelines: str) -> str:
    """The parent's name, as far as it is known: "avatars · 10 contributors · seed 0 · all pipelines"."""
    words = [
        source,
        n_contributors is not None and f"{n_contributors} contributors",
        seed is not None and f"seed {seed}",
        "all pipelines" if pipelines == "__default__" else pipelines,
    ]
    return " · ".join(word for word in words if word)


def child_name(row: Mapping[str, Any], n_contributors: int) -> str:
    """A child's name: "estimation · 3 of 10: Ashley Seo | DiceBear | Lisa Wischofsky"; whole names, as many as fit."""
    names = split_members(str(row["members"]))
    head = f"{row['split']} · {len(names)} of {n_contributors}: "
    again = f" (replicate {row['replicate']})" if int(row["replicate"]) else ""
    if not names:
        return f"{head}nobody{again}"
    if len(names) == n_contributors:
        return f"{head}everybody{again}"
    return head + _as_fit(names, _N_NAME_COLUMNS - len(head)) + again


def _as_fit(names: list[str], n_chars: int) -> str:
    """Names joined by " | "; if they do not fit, as many whole ones as do, and how many are left out."""
    # A name takes four characters at least, its separator included: of thousands, the others need no look.
    short = [short_name(name, 40) for name in names[: max(1, n_chars // 4 + 1)]]
    for n_shown in range(len(short), 0, -1):
        rest = f" | … {len(names) - n_shown} more" if n_shown < len(names) else ""
        text = " | ".join(short[:n_shown]) + rest
        if len(text) <= n_chars:
            break
    return text


def flat_parameters(parameters: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested parameters as dotted keys and texts that MLflow accepts."""
    flat: dict[str, str] = {}
    for key, value in parameters.items():
        if isinstance(value, Mapping) and value:
            flat.update(flat_parameters(value, f"{prefix}{key}."))
        else:
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            flat[metric_name(f"{prefix}{key}")] = cut(text, _MAX_PARAM_CHARS)
    return flat


def row_key(values: Mapping[str, Any]) -> tuple[str, ...]:
    """What identifies a child run within its fingerprint."""
    return tuple(str(values.get(name)) for name in KEY_COLUMNS)


def child_tags(row: Mapping[str, Any]) -> dict[str, str]:
    """The descriptive columns of a row."""
    tags = {name: str(row[name]) for name in _TAG_COLUMNS if name in row and row[name] == row[name]}
    if "members" in tags:
        tags["members"] = _cut_members(tags["members"])
    return {name: cut(value, MAX_TAG_CHARS) for name, value in tags.items()}


def _cut_members(members: str) -> str:
    """A cell of members; if it does not fit, as many whole names as do, and how many are left out."""
    if len(members) <= MAX_TAG_CHARS:
        return members
    shown = members[: MAX_TAG_CHARS - 100].rpartition(" | ")[0]
    n_hidden = members.count(" | ") - shown.count(" | ")
    return f"{shown} | … {n_hidden} more, see the utilities table"


def row_metrics(row: Mapping[str, Any]) -> dict[str, float]:
    """The finite numeric columns of a row that are no tags."""
    return finite_metrics({name: value for name, value in row.items() if name not in _NO_METRICS})


def table_metrics(table: str, rows: pd.DataFrame, names: Sequence[str], value: str) -> dict[str, float]:
    """One metric per row, ``<table>_<words of the columns names>``; rows whose number is missing have none."""
    return {"_".join([table, *(str(row[name]) for name in names)]): row[value] for row in rows.to_dict("records")}


def finite_metrics(values: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers under names that MLflow allows."""
    numbers = {name: value for name, value in values.items() if isinstance(value, Real)}
    return {metric_name(name): float(value) for name, value in numbers.items() if math.isfinite(value)}


def metric_name(name: str) -> str:
    """A name of the characters that MLflow allows."""
    return re.sub(r"[^\w. /-]", "_", name)[:250]


def cut(text: str, n_chars: int) -> str:
    """A text of at most ``n_chars``; says so if it was cut."""
    note = f"… (cut, {len(text)} characters)"
    return text if len(text) <= n_chars else text[: n_chars - len(note)] + note


def masked(uri: str) -> str:
    """An address without the user name and password it may hold."""
    return re.sub(r"//[^/@]*@", "//***@", uri)


def first_line(error: Exception) -> str:
    """The gist of an error whose text may hold pages of HTML, and never a password."""
    line = (masked(str(error)).strip() or type(error).__name__).splitlines()[0]
    return line if len(line) <= 500 else f"{line[:497]}..."
