"""Results that survive crashes: one folder per recipe, one sub-folder per task, the record written last.

    <root>/<fingerprint>/recipe.json               what the fingerprint was made of
    <root>/<fingerprint>/<task id>/<files>         for example weights.safetensors
    <root>/<fingerprint>/<task id>/record.json     written last: the commit marker

Another recipe gets another folder, so it overwrites nothing, and going back to an earlier recipe finds its results
again. Every file appears at once or not at all, so a process may be killed at any moment, and two processes may do the
same task at the same time, if they get the same bits; two drivers are kept apart by :mod:`groupshap.store_lock`. Go by
the manifest of the planned tasks, never by what lies in a folder.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import math
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groupshap.errors import UserError

__all__ = [
    "DiskSpaceError",
    "FileRef",
    "MissingTasksError",
    "Record",
    "Store",
    "StoreRun",
    "Writer",
    "atomic_write",
    "canonical_fingerprint",
    "check_disk",
    "commit",
    "free_bytes",
    "sha256_of_file",
]

logger = logging.getLogger(__name__)

Record = dict[str, Any]
"""What is known about one finished task: a small dict of JSON values."""

Writer = Callable[[Path], object]
"""Writes one complete file to the path it is given; what it returns is ignored."""

RECIPE_NAME = "recipe.json"
RECORD_NAME = "record.json"
_TASK_ID = re.compile(r"[0-9a-zA-Z_-]{1,128}")
_FILE_NAME = re.compile(r"[0-9a-zA-Z_][0-9a-zA-Z_.-]{0,127}")
_N_NAMED = 10  # how many task ids or recipe fields a message lists before it only counts


class MissingTasksError(UserError, RuntimeError):
    """Planned tasks have no committed result."""

    def __init__(self, task_ids: Sequence[str], folder: Path, n_planned: int) -> None:
        self.task_ids = list(task_ids)
        named = ", ".join(self.task_ids[:_N_NAMED])
        more = f", and {len(self.task_ids) - _N_NAMED} more" if len(self.task_ids) > _N_NAMED else ""
        super().__init__(
            f"{len(self.task_ids)} of {n_planned} planned tasks have no committed result in {folder}: {named}{more}. "
            "Run the pipeline that makes them again; what is committed is kept."
        )


class DiskSpaceError(UserError, OSError):
    """The disk is too small for what is about to be written."""


@dataclass(frozen=True)
class FileRef:
    """A file as a value: where it lies and what is in it.

    Attributes:
        path: Absolute path, so that a worker with another working directory finds the file.
        sha256: Hash of its bytes, 64 hex digits; belongs into the recipe of everything computed from the file.
    """

    path: Path
    sha256: str

    @classmethod
    def of(cls, path: str | Path) -> FileRef:
        """Reference to an existing file; reads it once for the hash."""
        absolute = Path(path).absolute()
        return cls(absolute, sha256_of_file(absolute))


def sha256_of_file(path: str | Path) -> str:
    """Sha256 of a file's bytes, 64 hex digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical_fingerprint(recipe: Mapping[str, object]) -> str:
    """First 16 hex digits of the sha256 of the recipe's canonical JSON.

    The same in every process and for every order of keys; a tuple counts as a list, ``1`` and ``1.0`` differ.

    Raises:
        TypeError: a value that is not JSON (or a key that is not a string); the message names the key.
        ValueError: NaN or infinity; the message names the key.
    """
    text = json.dumps(_plain(recipe, "recipe"), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(value: object, where: str) -> Any:
    """The value in plain JSON types (dict, list, str, int, float, bool, None), or an error that names ``where``."""
    if isinstance(value, Mapping):
        return {_string_key(key, where): _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{position}]") for position, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"`{where}` is {value}: only finite numbers can be stored.")
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(
        f"`{where}` is a {type(value).__name__}: expected str, int, float, bool, None, or a list or dict of these. "
        "Convert it first (a path with str(), a numpy number with .item(), a config with .model_dump(mode='json'))."
    )


def _string_key(key: object, where: str) -> str:
    """The key itself; JSON would silently turn 1 into "1", and two recipes into one."""
    if not isinstance(key, str):
        raise TypeError(f"`{where}` has the key {key!r} of type {type(key).__name__}: keys must be strings.")
    return key


def atomic_write(path: str | Path, writer: Writer) -> None:
    """Write a file so that it is there completely or not at all, whatever gets killed.

    ``writer`` gets a temporary path in the same folder (made if needed). Its name is drawn, so two processes, on two
    machines even, may write the same file; it ends in the final name, for writers that go by the suffix.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp.{path.name}")
    try:
        writer(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())  # else a power cut may keep the new name and lose the bytes
        os.replace(temporary, path)  # noqa: PTH105 - named for what it guarantees
    finally:
        temporary.unlink(missing_ok=True)


def commit(folder: str | Path, record: Mapping[str, object], writers: Mapping[str, Writer]) -> Record:
    """Write the files of one task, then its record: only then does the task count as done.

    Args:
        folder: The task's folder, ``<root>/<fingerprint>/<task id>``, see :meth:`StoreRun.task_folder`.
        record: JSON values. ``task_id`` and ``fingerprint`` are filled in from the folder, and ``files`` with size in
            bytes and sha256 of each file.
        writers: File name to function that writes this file; written in this order.

    Returns:
        The record as stored.

    Raises:
        TypeError: a record value that is not JSON.
        ValueError: a non-finite number; a file name with a path in it; an id that contradicts the folder.
    """
    folder = Path(folder)
    complete = _record_for(folder, record, writers)
    # A stale record must not vouch for the new files if we are killed between two of them.
    (folder / RECORD_NAME).unlink(missing_ok=True)
    for name, writer in writers.items():
        atomic_write(folder / name, writer)
        complete["files"][name] = {
            "size": (folder / name).stat().st_size,
            "sha256": sha256_of_file(folder / name),
        }
    _write_json(folder / RECORD_NAME, complete)
    _sync_folder(folder)
    return complete


def _record_for(folder: Path, record: Mapping[str, object], writers: Mapping[str, Writer]) -> Record:
    """The record without its files, checked before anything is written."""
    identity = {"task_id": folder.name, "fingerprint": folder.parent.name}
    for key, value in identity.items():
        if record.get(key, value) != value:
            raise ValueError(f"`record.{key}` is {record[key]!r}, but the folder {folder} says {value!r}.")
    for name in writers:
        if not _FILE_NAME.fullmatch(name) or name == RECORD_NAME:
            raise ValueError(f"{name!r} is no valid file name here: no path, no leading dot, not {RECORD_NAME}.")
    return {**identity, **_plain(record, "record"), "files": {}}


def _write_json(path: Path, value: object) -> None:
    """Write JSON atomically, readable and with full float precision."""
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    atomic_write(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _sync_folder(folder: Path) -> None:
    """Make the new names durable; only POSIX can open a folder for this."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Store:
    """A folder of results, sorted by the recipe that made them.

    Args:
        root: The folder; made on first use. Kept as an absolute path, because workers get paths below it.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).absolute()

    def __repr__(self) -> str:
        return f"Store({str(self.root)!r})"

    def open(self, recipe: Mapping[str, object]) -> StoreRun:
        """The results of one recipe, old ones included.

        If the recipe used last was another one, the log says (INFO) which of its fields differ, because this is why
        nothing can be re-used.

        Raises:
            TypeError, ValueError: see :func:`canonical_fingerprint`.
        """
        fingerprint = canonical_fingerprint(recipe)
        path = self.root / fingerprint / RECIPE_NAME
        newest = self._newest_recipe()
        if newest is not None and newest != path:
            self._log_difference(_read_json(newest), _plain(recipe, "recipe"), fingerprint)
        if _read_json(path) is None:
            _write_json(path, _plain(recipe, "recipe"))
        os.utime(path)  # newest means used last, not made last
        return StoreRun(self.root / fingerprint)

    def _newest_recipe(self) -> Path | None:
        """The recipe file used last, or None in an empty store."""
        return max(self.root.glob(f"*/{RECIPE_NAME}"), key=lambda path: path.stat().st_mtime_ns, default=None)

    def _log_difference(self, old: Any, new: Any, fingerprint: str) -> None:
        """Log the fields in which two recipes differ, unless they are for another kind of thing altogether."""
        if isinstance(old, dict) and old.get("recipe") != new.get("recipe"):
            return
        old_fields, new_fields = _flat(old), _flat(new)
        names = sorted(name for name in old_fields | new_fields if old_fields.get(name) != new_fields.get(name))
        shown = [f"{name} {_short(old_fields, name)} -> {_short(new_fields, name)}" for name in names[:_N_NAMED]]
        if len(names) > _N_NAMED:
            shown.append(f"and {len(names) - _N_NAMED} more")
        logger.info("%s: recipe %s differs from the one used last in: %s", self.root, fingerprint, "; ".join(shown))


def _flat(value: object, prefix: str = "") -> dict[str, object]:
    """Nested dicts as one dict with dotted keys; lists stay whole."""
    if not isinstance(value, dict):
        return {prefix: value}
    flat: dict[str, object] = {}
    for key, item in value.items():
        flat.update(_flat(item, f"{prefix}.{key}" if prefix else key))
    return flat


def _short(fields: Mapping[str, object], name: str) -> str:
    """A field's value for a log line."""
    text = json.dumps(fields[name]) if name in fields else "(absent)"
    return text if len(text) <= 40 else f"{text[:37]}..."


def _read_json(path: Path) -> Any:
    """Parsed JSON, or None if the file is not there or cannot be parsed."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


class StoreRun:
    """The results of one recipe.

    Attributes:
        folder: ``<root>/<fingerprint>``, absolute.
        fingerprint: 16 hex digits, see :func:`canonical_fingerprint`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fingerprint = folder.name

    def __repr__(self) -> str:
        return f"StoreRun({str(self.folder)!r})"

    def task_folder(self, task_id: str) -> Path:
        """Where one task's files belong, for :func:`commit`; does not make the folder.

        Raises:
            ValueError: an id that is not 1 to 128 of ``0-9 a-z A-Z _ -``; so no id leaves the store.
        """
        if not isinstance(task_id, str) or not _TASK_ID.fullmatch(task_id):
            raise ValueError(f"{task_id!r} is no task id: expected 1 to 128 of the characters 0-9 a-z A-Z _ -.")
        return self.folder / task_id

    def is_committed(self, task_id: str) -> bool:
        """Whether the record is whole, belongs to this recipe, and its files are there with the recorded size.

        A damaged result is logged as a WARNING and counts as not committed.
        """
        return self._load(task_id) is not None

    def record(self, task_id: str) -> Record:
        """The record of one committed task.

        Raises:
            MissingTasksError: the task is not committed.
        """
        return self.manifest([task_id])[0]

    def committed(self) -> list[Record]:
        """The records of all committed tasks, planned or not, sorted by task id."""
        found = (self._load(path.parent.name) for path in sorted(self.folder.glob(f"*/{RECORD_NAME}")))
        return [record for record in found if record is not None]

    def missing(self, task_ids: Iterable[str]) -> list[str]:
        """Those of the planned tasks that are not committed, in the given order."""
        return [task_id for task_id in task_ids if not self.is_committed(task_id)]

    def manifest(self, task_ids: Iterable[str]) -> list[Record]:
        """The records of all planned tasks, in the given order.

        Raises:
            MissingTasksError: some are not committed; the first ten are named.
        """
        records = {task_id: self._load(task_id) for task_id in task_ids}
        missing = [task_id for task_id, record in records.items() if record is None]
        if missing:
            raise MissingTasksError(missing, self.folder, len(records))
        return [record for record in records.values() if record is not None]

    def _load(self, task_id: str) -> Record | None:
        """The record if the task is committed, else None."""
        path = self.task_folder(task_id) / RECORD_NAME
        if not path.exists():
            return None
        record = _read_json(path)
        damage = self._damage(record, path.parent)
        if damage:
            logger.warning("%s: %s; task %s will be recomputed.", path.parent, damage, task_id)
            return None
        return record

    def _damage(self, record: Any, folder: Path) -> str | None:
        """What is wrong with a stored task, or None."""
        if not isinstance(record, dict) or not isinstance(record.get("files"), dict):
            return f"{RECORD_NAME} is damaged"
        if record.get("fingerprint") != self.fingerprint:
            return f"{RECORD_NAME} belongs to recipe {record.get('fingerprint')}, not {self.fingerprint}"
        for name, entry in record["files"].items():
            expected = entry.get("size") if isinstance(entry, dict) else None
            if expected is not None and entry.get("discarded"):  # on purpose, see groupshap.retention
                continue
            size = (folder / name).stat().st_size if (folder / name).is_file() else None
            if size is None or size != expected:
                return f"{name} has {size} bytes instead of {expected}" if size is not None else f"{name} is missing"
        return None


def free_bytes(path: str | Path) -> int:
    """Free bytes on the disk that holds ``path``, or will hold it once it is made."""
    path = Path(path).absolute()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def check_disk(root: str | Path, needed_bytes: int, what: str) -> None:
    """Refuse to start what would not fit; meant for the moment before any compute.

    Args:
        root: Where it will be written.
        needed_bytes: Its estimated size.
        what: For the message, for example "checkpoints of 64 coalitions".

    Raises:
        DiskSpaceError: an OSError (ENOSPC) that says what is needed, what is free and what to do.
    """
    free = free_bytes(root)
    if free < needed_bytes:
        raise DiskSpaceError(
            errno.ENOSPC,
            f"Not enough disk space: {what} will take about {needed_bytes / 2**20:,.1f} MiB, but only "
            f"{free / 2**20:,.1f} MiB are free. Free some space, or move the project's data folder to a larger disk",
            str(root),
        )
