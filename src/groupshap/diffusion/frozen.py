"""Networks that training never changes: a folder as diffusers' ``save_pretrained`` writes it. Imports no torch.

A model file names its frozen parts by the sha256 of their content. Where they lie is written in
``frozen/<first 16 hex digits>.json`` in a folder above the model file, so that model files hold no path: they are the
same bits wherever the project lies, and so is everything that is computed from them.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from groupshap.errors import UserError
from groupshap.store import RECORD_NAME, atomic_write, sha256_of_file

__all__ = ["FROZEN", "FrozenParts", "FrozenPartsError", "find_frozen", "register_frozen"]

FROZEN = "frozen"
"""Name of the folder, beside or above the model files, that says where frozen parts lie."""

_SHA256 = re.compile(r"[0-9a-f]{64}")  # it becomes part of a path
_SUFFIXES = (".json", ".safetensors", ".txt", ".model")  # configs, weights, vocabularies


class FrozenPartsError(UserError, RuntimeError):
    """Frozen parts of a model are missing or have changed."""


@dataclass(frozen=True)
class FrozenParts:
    """A folder of frozen networks and what is in it.

    Attributes:
        folder: Absolute path.
        sha256: Hash of names and bytes of all configs, weights and vocabularies in it, 64 hex digits.
        encodings: Folder of the store with images that these networks have encoded; None: there is none.
    """

    folder: Path
    sha256: str
    encodings: Path | None = None

    @classmethod
    def of(cls, folder: str | Path, encodings: Path | None = None) -> FrozenParts:
        """Reference to an existing folder; reads it once for the hash."""
        absolute = Path(folder).absolute()
        return cls(absolute, _folder_sha256(absolute, _state(absolute)), encodings)


def register_frozen(registry: Path, parts: FrozenParts) -> None:
    """Write where the parts lie, so that :func:`find_frozen` finds them from the model files beside the registry.

    Args:
        registry: A folder named ``frozen``.
        parts: What it shall know.
    """
    if registry.name != FROZEN:
        raise ValueError(f"Expected a folder named {FROZEN!r}, because it is found by its name, got {registry}.")
    encodings = str(parts.encodings) if parts.encodings else None
    text = json.dumps({"folder": str(parts.folder), "sha256": parts.sha256, "encodings": encodings}, indent=2)
    atomic_write(_entry(registry, parts.sha256), lambda file: file.write_text(text + "\n", encoding="utf-8"))


def find_frozen(model_file: Path, sha256: str) -> FrozenParts:
    """The frozen parts of a stored model, checked.

    Args:
        model_file: Absolute path of the model.
        sha256: What the model's header says.

    Raises:
        FrozenPartsError: nobody knows where they are, they are not there, or they are no longer what they were.
    """
    if not _SHA256.fullmatch(sha256):
        raise FrozenPartsError(f"{model_file} names its frozen parts by {sha256!r}, expected 64 hex digits.")
    todo = "Put the folder back as it was, or run `kedro run --pipelines base_training` again with the one you want."
    entries = [_entry(parent / FROZEN, sha256) for parent in Path(model_file).absolute().parents]
    entry = next((path for path in entries if path.is_file()), None)
    if entry is None:
        raise FrozenPartsError(
            f"{model_file} needs frozen parts with sha256 {sha256}, but no folder {FROZEN!r} above it says where they "
            f"are. {todo}"
        )
    known = json.loads(entry.read_text(encoding="utf-8"))
    folder = Path(known["folder"])
    if not folder.is_dir():
        raise FrozenPartsError(f"{model_file} needs the frozen parts in {folder}, which is not there. {todo}")
    parts = FrozenParts.of(folder, Path(known["encodings"]) if known.get("encodings") else None)
    if parts.sha256 != sha256:
        raise FrozenPartsError(
            f"The frozen parts in {folder} have changed: {model_file} was made with sha256 {sha256}, now it is "
            f"{parts.sha256}. {todo}"
        )
    return parts


def _entry(registry: Path, sha256: str) -> Path:
    return registry / f"{sha256[:16]}.json"


def _files(folder: Path) -> list[Path]:
    """What the hash is made of, in a fixed order; caches and records of our own store are no part of the networks."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix in _SUFFIXES
        and path.name != RECORD_NAME
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )


def _state(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Name, size and time of every file: gigabytes are hashed once per process, unless something changed."""
    return tuple((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in _files(folder))


@lru_cache(maxsize=16)
def _folder_sha256(folder: Path, _unchanged: tuple[tuple[str, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for path in _files(folder):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{sha256_of_file(path)}\n".encode())
    return digest.hexdigest()
