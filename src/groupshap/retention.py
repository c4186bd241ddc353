"""Files that are deleted once they have served; the record of their task stays and says what they were.

A task whose files were discarded is still committed (see :mod:`groupshap.store`): who needs only its record, a
measurement or the cost, finds it there. Who needs the files asks :func:`has_files` first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from groupshap.store import RECORD_NAME, Record, atomic_write

__all__ = ["discard_files", "has_files"]


def discard_files(folder: Path) -> Record:
    """Delete the files of a committed task; sizes and hashes stay in its record, marked as discarded.

    The record is marked first: a kill in between leaves a file that nobody counts on, and this call, repeated, deletes
    it. Two processes may do the same.

    Args:
        folder: The task's folder in the store.

    Returns:
        The record as stored.
    """
    record = json.loads((folder / RECORD_NAME).read_text(encoding="utf-8"))
    record["files"] = {name: {**entry, "discarded": True} for name, entry in record["files"].items()}
    text = json.dumps(record, indent=2, allow_nan=False) + "\n"
    atomic_write(folder / RECORD_NAME, lambda file: file.write_text(text, encoding="utf-8"))
    for name in record["files"]:
        (folder / name).unlink(missing_ok=True)
    return record


def has_files(record: Mapping[str, Any]) -> bool:
    """Whether nothing of a committed task was discarded."""
    return not any(entry.get("discarded") for entry in record["files"].values())
