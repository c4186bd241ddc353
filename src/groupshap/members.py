r"""The members of a coalition as one cell of a table, and names as one line of a picture or a message.

A cell holds the contributors' names joined by " | "; a backslash or a bar inside a name is preceded by a backslash,
so a bar that follows a space always separates two names. The empty coalition is the empty cell.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

__all__ = ["join_members", "short_name", "split_members"]

_SEPARATOR = " | "
_ESCAPED_NAME = re.compile(r"(?:[^\\|]|\\[\\|])+", re.DOTALL)


def join_members(names: Iterable[str]) -> str:
    """One cell that :func:`split_members` turns into the same names again, whatever characters they hold.

    Raises:
        ValueError: an empty name, which could not be told from the empty coalition.
    """
    names = list(names)
    if "" in names:
        raise ValueError(f"Expected members with a name, got an empty one at position {names.index('')} of {names}.")
    text = _SEPARATOR.join(names)
    if "\\" not in text and text.count("|") == max(0, len(names) - 1):
        return text  # nothing to escape; a plan of thousands of contributors has millions of names
    return _SEPARATOR.join(map(_escaped, names))


def _escaped(name: str) -> str:
    return re.sub(r"([\\|])", r"\\\1", name)


def split_members(text: str) -> list[str]:
    """The names in a cell written by :func:`join_members`; none for the empty cell.

    Raises:
        ValueError: the cell was not written by :func:`join_members` (a bar or a backslash that is not escaped).
    """
    if text == "":
        return []
    parts = text.split(_SEPARATOR)
    if "\\" not in text and text.count("|") == len(parts) - 1 and all(parts):
        return parts  # nothing is escaped
    bad = [part for part in parts if not _ESCAPED_NAME.fullmatch(part)]
    if bad:
        raise ValueError(
            f"Expected names joined by {_SEPARATOR!r}, with '|' and '\\' inside a name escaped by a backslash, "
            f"got {bad[0]!r} in {short_name(text, 200)!r}. Write the column with groupshap.members.join_members."
        )
    return [re.sub(r"\\([\\|])", r"\1", part) for part in parts]


def short_name(name: str, n_columns: int) -> str:
    """``name`` on one line of at most ``n_columns`` columns, shortened in the middle, nothing unprintable in it.

    Wide characters (Chinese, Japanese, Korean, emoji) count as two columns, combining ones as none.
    """
    name = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in name)
    if _n_columns(name) <= n_columns:
        return name
    head, tail = "", ""
    for character in name:
        if _n_columns(head + character) > (n_columns - 1) // 2:
            break
        head += character
    for character in reversed(name[len(head) :]):
        if _n_columns(head + character + tail) > n_columns - 1:
            break
        tail = character + tail
    return f"{head}…{tail}"


def _n_columns(text: str) -> int:
    wide = sum(unicodedata.east_asian_width(c) in ("W", "F") for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)
