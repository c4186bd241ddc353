"""Rendered once: pictures made by packages are kept with a checksum of what they are and how they were made.

A cache file is never trusted: its recipe must be the one asked for and its bytes must hash to what it says. Anything
else is named in the log and rendered again. Writing is atomic, and a full disk costs the cache, not the run.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from groupshap.images import ImageArray

__all__ = ["Record", "Rendered", "rendered_once"]

logger = logging.getLogger(__name__)

Record: TypeAlias = dict[str, Any]
"""One image's row of the table: names to values that JSON knows."""

Rendered: TypeAlias = tuple[ImageArray, list[Record]]
"""Images, (n_images, channels, height, width) uint8, and one record for each."""


class _UnusableError(Exception):
    """A cache file that must not be used, and why."""


def rendered_once(folder: Path, name: str, recipe: Mapping[str, Any], render: Callable[[], Rendered]) -> Rendered:
    """Return what ``render`` makes, from the cache if it holds exactly that.

    Args:
        folder: where cache files lie; made if missing.
        name: what is cached, the start of the file's name.
        recipe: everything the result depends on (JSON-able): parameters and versions of packages.
        render: makes the images and their records.
    """
    recipe_text = json.dumps(recipe, sort_keys=True)
    file = Path(folder) / f"{name}-{hashlib.sha256(recipe_text.encode()).hexdigest()[:16]}.npz"
    if file.exists():
        try:
            return _read(file, recipe_text)
        except _UnusableError as error:
            logger.warning("Cache %s cannot be used: %s. It is rendered again.", file, error)
    logger.info("Rendering %s, once; they are kept in %s.", name, file)
    rendered = render()
    # Through JSON in any case, so that a first run and a cached one hand over the same types.
    images, records_text = rendered[0], json.dumps(rendered[1])
    _write(file, recipe_text, images, records_text)
    return images, json.loads(records_text)


def _sha256(images: ImageArray, records_text: str) -> str:
    digest = hashlib.sha256(f"{images.dtype} {images.shape} {records_text}".encode())
    digest.update(images.tobytes())
    return digest.hexdigest()


def _read(file: Path, recipe_text: str) -> Rendered:
    try:
        with np.load(file, allow_pickle=False) as stored:
            images = stored["images"]
            recipe, records_text, sha256 = (str(stored[key]) for key in ("recipe", "records", "sha256"))
    except Exception as error:  # a damaged zip raises anything from OSError to zlib.error
        raise _UnusableError(f"it is damaged ({type(error).__name__}: {error})") from None
    if recipe != recipe_text:
        raise _UnusableError("it was made by another recipe than its name says")
    if sha256 != _sha256(images, records_text):
        raise _UnusableError("its sha256 is not the one of its content")
    return images, json.loads(records_text)


def _write(file: Path, recipe_text: str, images: ImageArray, records_text: str) -> None:
    temporary = None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".", suffix=".tmp", delete=False) as stream:
            temporary = Path(stream.name)
            sha256 = _sha256(images, records_text)
            np.savez_compressed(stream, images=images, records=records_text, recipe=recipe_text, sha256=sha256)
        temporary.replace(file)
    except OSError as error:
        logger.warning("Cache %s could not be written (%s). The images are rendered again next time.", file, error)
        if temporary is not None:
            temporary.unlink(missing_ok=True)
