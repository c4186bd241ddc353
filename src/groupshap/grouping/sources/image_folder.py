"""A user's own images: ``<path>/<contributor>/**.{png,jpg,jpeg,webp,bmp,tif,tiff}``, upper or lower case.

Files are read in the order of their paths, so the result does not depend on the file system. Files that are no images,
and hidden files and folders inside a contributor's, are passed over; a contributor's own name may start with a dot.
Images that we cannot read are *not* passed over: leaving out what someone contributed would be unfair to them, so they
are refused by name. That holds for images outside any contributor's folder, for formats such as HEIC, and for links
that lead to folders or out of ``path``.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pandas as pd

from groupshap.grouping.checks import (
    DataProblems,
    Problem,
    check_names,
    check_number_of_contributors,
    decode_images,
    elided,
    path_problem,
    raise_problems,
)
from groupshap.grouping.config import DataGroupingConfig
from groupshap.grouping.data import SourceData

__all__ = ["READ_SUFFIXES", "load_image_folder"]

logger = logging.getLogger(__name__)

READ_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
# An animated GIF is refused by name when it is decoded; a still one is as good as a PNG.
_ALSO_READ = (".gif", ".apng", ".jfif", ".dib")
_REFUSED_SUFFIXES = (".heic", ".heif", ".avif", ".svg", ".jp2", ".jxl", ".psd", ".ico", ".eps", ".dng", ".cr2", ".nef")

_TOOL_FOLDERS = (".git", ".ipynb_checkpoints", ".cache", ".thumbnails", ".AppleDouble", ".Trashes", ".venv")

_EXPECTED = "a folder with one folder of images per contributor"
_TODO = "Set `data_grouping.path` to a folder such as photos/, with photos/alice/1.png, photos/bob/1.png, ..."


def load_image_folder(config: DataGroupingConfig, cache: Path) -> SourceData:
    """Read all images below ``config.path``.

    ``source_item`` is the file's path relative to ``path`` with "/"; the label column ``folder`` is the contributor's
    folder, so that a folder of classes can be split.

    Raises:
        DataProblems: everything that is wrong with folder, names and files.
    """
    root = Path(config.path or "").expanduser()
    folders, problems = _contributor_folders(root)
    files: list[tuple[str, Path]] = []
    n_per_folder = {}
    for folder in folders:
        found, bad = _scan(folder, root)
        files += [(folder.name, file) for file in found]
        problems += bad
        n_per_folder[folder.name] = len(found) + len(bad)  # who is named for a bad file is not named for having none
    problems += check_names([folder.name for folder in folders], str(root), unit="folder")[1]
    if config.split.by == "none":
        problems += check_number_of_contributors(n_per_folder, str(root))
    logger.info("Reading %d images of %d contributors from %s.", len(files), len(folders), root)
    images, unreadable = decode_images(((str(file), file) for _, file in files), config)
    raise_problems([*problems, *unreadable])
    names, _ = check_names([folder for folder, _ in files], str(root))
    table = pd.DataFrame(
        {
            "image_id": np.arange(len(files)),
            "contributor": names,
            "source_item": [_printable(file.relative_to(root).as_posix()) for _, file in files],
            "folder": names,
        }
    )
    unknown = pd.DataFrame({"contributor": [], "licence": [], "credit": []}, dtype=object)
    return SourceData(images, table, unknown, label_column="folder")


def _contributor_folders(root: Path) -> tuple[list[Path], list[Problem]]:
    problem = path_problem(root, _EXPECTED, _TODO)
    if problem is None and not root.is_dir():
        problem = Problem(str(root.absolute()), _EXPECTED, "a file", _TODO)
    if problem is not None:
        raise DataProblems([problem])
    entries, problems = _entries(root)
    entries = [entry for entry in entries if not entry.name.startswith(".") or _is_contributor(entry, root)]
    folders = [entry for entry in entries if entry.is_dir() and not entry.is_symlink()]
    problems += [
        _misplaced(entry) for entry in entries if entry not in folders and (entry.is_dir() or _kind(entry) != "other")
    ]
    if not folders:
        problems.append(Problem(str(root.absolute()), _EXPECTED, "no folder in it", _TODO))
        raise DataProblems(problems)
    return folders, problems


def _scan(folder: Path, root: Path) -> tuple[list[Path], list[Problem]]:
    """Image files below one contributor's folder, in the order of their paths, and what is wrong there."""
    pending, found, problems = [folder], [], []
    while pending:
        entries, unreadable = _entries(pending.pop())
        problems += unreadable
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_symlink() and (problem := _bad_link(entry, root)):
                problems.append(problem)
            elif entry.is_dir():
                pending.append(entry)
            elif _kind(entry) == "image":
                found.append(entry)
            elif _kind(entry) == "refused":
                expected, todo = "one of " + " ".join(READ_SUFFIXES), "Convert it to PNG or remove it."
                problems.append(Problem(str(entry), expected, f"a {entry.suffix} file", todo))
    return sorted(found, key=lambda file: file.parts), problems


def _is_contributor(hidden: Path, root: Path) -> bool:
    """Whether a folder whose name starts with a dot is someone's images rather than some tool's."""
    return hidden.name not in _TOOL_FOLDERS and hidden.is_dir() and bool(_scan(hidden, root)[0])


def _entries(folder: Path) -> tuple[list[Path], list[Problem]]:
    try:
        return sorted(folder.iterdir()), []
    except OSError as error:
        return [], [Problem(str(folder), "a readable folder", str(error.strerror), "Change its permissions.")]


def _kind(file: Path) -> str:
    suffix = file.suffix.lower()
    if suffix in READ_SUFFIXES or suffix in _ALSO_READ:
        return "image"
    return "refused" if suffix in _REFUSED_SUFFIXES else "other"


def _bad_link(link: Path, root: Path) -> Problem | None:
    target = Path(os.path.realpath(link))
    if target.is_dir():
        got = f"a link to the folder {target}"
    elif _kind(link) != "other" and not target.is_relative_to(os.path.realpath(root)):
        got = f"a link out of `path`, to {target}"
    else:
        return None
    return Problem(str(link), "a file or folder of its own", elided(got, 160), "Copy what it links to.")


def _misplaced(entry: Path) -> Problem:
    if entry.is_dir():
        return Problem(str(entry), "a folder of its own", "a link to a folder", "Copy what it links to.")
    return Problem(
        str(entry), "images inside a contributor's folder", "an image of nobody", "Move it into one or away."
    )


def _printable(path: str) -> str:
    """File names that are not UTF-8 carry surrogates, which no text file can store."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")
