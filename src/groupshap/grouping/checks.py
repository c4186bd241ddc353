"""Bad input, found before any training and reported all at once.

Every image goes through :func:`decode_image`, whatever its source:

==============================  ====================================================================================
what came                       what happens
==============================  ====================================================================================
missing, zero-byte, unreadable  refused by name
truncated                       refused by name, never filled up with grey
another format (HEIC, SVG, ...) refused by name; read are PNG, JPEG, WebP, BMP, TIFF and one-frame GIF
several frames (GIF, APNG, ...) refused by name; an MPO photograph counts as the JPEG it starts with
side > ``max_side_px``          refused before it is decoded
EXIF orientation                applied
palette, 1-bit                  converted to RGB
transparency of any kind        composited on white
CMYK, YCbCr, HSV                converted to RGB (no colour profiles, as everywhere here)
16-bit                          scaled to 8-bit, 65535 becomes 255
32-bit integers or floats       refused by name: nobody but the author knows their range
not square                      ``fit``: crop (centre), pad (white) or stretch
other size                      resampled to ``image_size`` (bicubic, with anti-aliasing when it shrinks)
other channels                  ``channels`` 1: ITU-R 601 luma; 3: grey is repeated
==============================  ====================================================================================

Contributors' names may hold anything but control characters; they are compared as Unicode NFC without white space at
the ends, and they are data, never paths: folders and files of the project are named by player index.
"""

from __future__ import annotations

import io
import os
import unicodedata
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image, ImageOps, UnidentifiedImageError

from groupshap.errors import UserError
from groupshap.grouping.config import DataGroupingConfig, normal_name
from groupshap.images import ImageArray

__all__ = [
    "DataProblems",
    "Problem",
    "check_names",
    "check_number_of_contributors",
    "column_problems",
    "decode_image",
    "decode_images",
    "elided",
    "fit_arrays",
    "raise_problems",
]

N_PROBLEMS_SHOWN = 20
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
_WHITE = (255, 255, 255)
_READABLE = f"an intact file of one of {', '.join(FORMATS)}"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where, what was expected, what came, what to do."""

    where: str
    expected: str
    got: str
    todo: str

    def __str__(self) -> str:
        return f"{elided(self.where, 160)}: expected {self.expected}, got {self.got}. {self.todo}"


class DataProblems(UserError, ValueError):  # noqa: N818  (it says what it holds)
    """Everything that is wrong with the data, in one message.

    Attributes:
        problems: all of them, also those that the message leaves out.
    """

    def __init__(self, problems: Iterable[Problem]):
        self.problems = tuple(problems)
        n = len(self.problems)
        shown = [f"  {number}. {problem}" for number, problem in enumerate(self.problems[:N_PROBLEMS_SHOWN], start=1)]
        rest = [f"  ... and {n - N_PROBLEMS_SHOWN} more."] if n > N_PROBLEMS_SHOWN else []
        head = "1 problem with the data:" if n == 1 else f"{n} problems with the data:"
        super().__init__("\n".join([head, *shown, *rest]))


def raise_problems(problems: Sequence[Problem]) -> None:
    """Raise :class:`DataProblems` if there are any."""
    if problems:
        raise DataProblems(problems)


def elided(text: str, n_max: int) -> str:
    """``text`` on one line of at most ``n_max`` characters, shortened in the middle, with nothing unprintable in it."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    if len(text) <= n_max:
        return text
    n_head = (n_max - 1) // 2
    return f"{text[:n_head]}…{text[len(text) - (n_max - 1 - n_head) :]}"


# --- images -----------------------------------------------------------------------------------------------------------


class _RefusedError(Exception):
    """An image that cannot be used: (expected, got, what to do)."""


def decode_images(
    items: Iterable[tuple[str, Path | bytes]], config: DataGroupingConfig
) -> tuple[ImageArray, list[Problem]]:
    """Decode many images and collect what is wrong with them.

    Args:
        items: (what to call it in a message, file or encoded bytes).
        config: gives size, channels, fit and limits.

    Returns:
        The readable images, (n_readable, channels, image_size, image_size) uint8, and one problem for each other.
    """
    images, problems = [], []
    for where, source in items:
        image = decode_image(source, where, config)
        (problems if isinstance(image, Problem) else images).append(image)
    shape = (0, config.channels, config.image_size, config.image_size)
    return np.stack(images) if images else np.zeros(shape, np.uint8), problems


def decode_image(source: Path | bytes, where: str, config: DataGroupingConfig) -> ImageArray | Problem:
    """Decode one image by the rules of this module.

    Returns:
        (channels, image_size, image_size) uint8, or the problem with it.
    """
    try:
        _refuse_empty(source)
        with _opened(source) as image:
            _refuse_frames(image)
            _refuse_huge(image, config.max_side_px)
            return _sized(_rgb_or_grey(_loaded(image, config.image_size)), config)
    except _RefusedError as refused:
        return Problem(where, *refused.args)


def fit_arrays(arrays: npt.NDArray[np.uint8], config: DataGroupingConfig) -> ImageArray:
    """Bring (n, height, width) grey or (n, height, width, 3) RGB uint8 arrays to the configured size and channels."""
    return np.stack([_sized(Image.fromarray(array), config) for array in arrays])


def _refuse_empty(source: Path | bytes) -> None:
    if isinstance(source, bytes):
        size = len(source)
    else:
        try:
            size = source.stat().st_size
        except (OSError, ValueError) as error:  # ValueError: a path with a null byte
            got = getattr(error, "strerror", None) or str(error)
            raise _RefusedError("a readable image file", got, "Give an existing, readable file.") from None
        if not source.is_file():
            raise _RefusedError("an image file", "something that is not a file", "Remove it or give the file itself.")
    if size == 0:
        raise _RefusedError("an image", "0 bytes", "Restore the file from its original or remove it.")


def _opened(source: Path | bytes) -> Image.Image:
    try:
        with warnings.catch_warnings():
            # `max_side_px` decides about size; Pillow's warning would only repeat it for some sizes.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise _RefusedError("an image of reasonable size", str(error), "Give a smaller copy of it.") from None
    except UnidentifiedImageError:
        raise _RefusedError(_READABLE, "content of no such format", "Convert it to PNG or remove it.") from None
    except Exception as error:  # Pillow's readers raise almost anything on files that are not what they claim to be
        raise _RefusedError(
            _READABLE, f"unreadable content ({_short(error)})", "Convert it to PNG or remove it."
        ) from None


def _refuse_frames(image: Image.Image) -> None:
    # Cameras store previews and gain maps as further "frames" of an MPO file; the first is the photograph.
    n_frames = 1 if image.format == "MPO" else _n_frames(image)
    if n_frames > 1:
        raise _RefusedError(
            "one still image",
            f"an animated or multi-page {image.format} of {n_frames} frames",
            "Save the frame you mean.",
        )


def _n_frames(image: Image.Image) -> int:
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception as error:
        raise _RefusedError(
            "an intact image", f"a broken file ({_short(error)})", "Restore it from its original."
        ) from None


def _refuse_huge(image: Image.Image, max_side_px: int) -> None:
    if max(image.size) > max_side_px:
        raise _RefusedError(
            f"sides of at most {max_side_px} px",
            f"{image.width} x {image.height} px",
            "Give a smaller copy of it or raise `data_grouping.max_side_px`.",
        )


def _loaded(image: Image.Image, image_size: int) -> Image.Image:
    """Decode the pixels and turn them upright."""
    try:
        # A large JPEG is decoded at 1/2, 1/4 or 1/8 when that still leaves four times the pixels that are kept.
        image.draft(None, (4 * image_size, 4 * image_size))
        image.load()
        return ImageOps.exif_transpose(image)
    except Exception as error:
        raise _RefusedError(
            "an intact image",
            f"a broken or truncated file ({_short(error)})",
            "Restore it from its original or remove it.",
        ) from None


def _rgb_or_grey(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        samples = np.asarray(image).astype(np.float64)
        return Image.fromarray(np.rint(samples / 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise _RefusedError(
            "8 or 16 bits per channel",
            "32-bit integer or float samples",
            "Scale it to 8 bits yourself and save it as PNG.",
        )
    try:
        if image.has_transparency_data:
            background = Image.new("RGBA", image.size, (*_WHITE, 255))
            return Image.alpha_composite(background, image.convert("RGBA")).convert("RGB")
        return image if image.mode == "L" else image.convert("RGB")
    except Exception as error:
        raise _RefusedError(
            "an image that can be shown in RGB", f"mode {image.mode} ({_short(error)})", "Convert it to PNG."
        ) from None


def _sized(image: Image.Image, config: DataGroupingConfig) -> ImageArray:
    """An L or RGB image as (channels, image_size, image_size) uint8."""
    array = np.asarray(_fitted(image.convert("L" if config.channels == 1 else "RGB"), config.image_size, config.fit))
    return array[None] if config.channels == 1 else np.ascontiguousarray(array.transpose(2, 0, 1))


def _fitted(image: Image.Image, size: int, fit: str) -> Image.Image:
    resample = Image.Resampling.BICUBIC
    if fit == "stretch":
        return image.resize((size, size), resample)
    if fit == "crop":
        return ImageOps.fit(image, (size, size), resample)
    scale = size / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    canvas = Image.new(image.mode, (size, size), 255 if image.mode == "L" else _WHITE)
    canvas.paste(image.resize((width, height), resample), ((size - width) // 2, (size - height) // 2))
    return canvas


def _short(error: Exception) -> str:
    return elided(f"{type(error).__name__}: {error}" if not isinstance(error, OSError) else str(error), 120)


# --- contributors and columns -----------------------------------------------------------------------------------------


def check_names(values: Sequence[object], where: str, unit: str = "row") -> tuple[list[str], list[Problem]]:
    """Bring contributors' names to their one spelling.

    Args:
        values: one per image; whatever the source gave (text, numbers, missing values).
        where: what to call their place in a message, for example a column of a file.
        unit: what one value is called there; they count from 1.

    Returns:
        The names (one per image; useless where there are problems), and one problem for each bad name.
    """
    positions: dict[object, list[int]] = {}
    for row, value in enumerate(values):
        positions.setdefault(_as_text(value), []).append(row)
    problems = [
        Problem(
            f"{where}, {_numbered(unit, rows)}", "a contributor's name", reason, "Give the contributor a visible name."
        )
        for text, rows in positions.items()
        if (reason := _bad_name(text))
    ]
    problems += _two_spellings([text for text in positions if not _bad_name(text)], where)
    return ["" if text is None else normal_name(text) for text in map(_as_text, values)], problems


def _as_text(value: object) -> str | None:
    if value is None or (np.isscalar(value) and pd.isna(value)):
        return None
    # A column of whole numbers that once had gaps arrives as floats: contributor 7 is not called "7.0".
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _bad_name(name: str | None) -> str:
    """Why a name is refused, "" if it is not."""
    if name is None:
        return "a missing value"
    if not name.strip():
        return "an empty name"
    # Cc control characters, Cs bytes that are not UTF-8, Zl and Zp line and paragraph separators.
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in name):
        return f"control characters or undecodable bytes in '{elided(name, 60)}'"
    return ""


def _numbered(unit: str, rows: Sequence[int]) -> str:
    shown = ", ".join(str(row + 1) for row in rows[:5])
    return f"{unit}{'s' if len(rows) > 1 else ''} {shown}" + (f", ... ({len(rows)} in all)" if len(rows) > 5 else "")


def _two_spellings(names: Iterable[str], where: str) -> list[Problem]:
    spellings: dict[str, list[str]] = {}
    for name in names:
        spellings.setdefault(normal_name(name), []).append(name)
    return [
        Problem(
            where,
            "one spelling per contributor",
            f"{len(group)} spellings of '{elided(name, 60)}' that differ in Unicode form or outer white space only: "
            + ", ".join(elided(ascii(spelling), 60) for spelling in group),
            "Merge them if they are one contributor, rename one if they are not.",
        )
        for name, group in spellings.items()
        if len(group) > 1
    ]


def check_number_of_contributors(counts: Mapping[str, int], where: str) -> list[Problem]:
    """Credit is shared among at least two: a problem when there are fewer, or when one has no image."""
    problems = [
        Problem(
            f"{where}, contributor '{elided(name, 60)}'",
            "at least one image",
            "none",
            "Give them an image or remove the contributor.",
        )
        for name, count in counts.items()
        if count == 0
    ]
    if len(counts) < 2:
        got = f"only '{elided(next(iter(counts)), 60)}'" if counts else "none"
        problems.append(
            Problem(
                where,
                "at least two contributors",
                got,
                "Credit is shared among several: add contributors or set `data_grouping.split`.",
            )
        )
    return problems


def column_problems(wanted: Mapping[str, str | None], existing: Sequence[str], where: str) -> list[Problem]:
    """One problem for each wanted column that does not exist.

    Args:
        wanted: name of the parameter to the column it names; None is not looked for.
        existing: the columns that are there.
        where: file or data set.
    """
    return [
        Problem(
            where,
            f"a column '{elided(column, 60)}' (data_grouping.{parameter})",
            "the columns " + (elided(", ".join(map(str, existing)), 300) or "(none)"),
            f"Set `data_grouping.{parameter}` to one of them or add the column.",
        )
        for parameter, column in wanted.items()
        if column is not None and column not in existing
    ]


def path_problem(path: Path, expected: str, todo: str) -> Problem | None:
    """The problem with a path that should be a readable file or folder, or None."""
    try:
        exists = path.exists()
    except OSError:  # for example a name that is too long for the file system
        exists = False
    if not exists:
        return Problem(str(path.absolute()), expected, "nothing there", todo)
    if not os.access(path, os.R_OK):
        return Problem(str(path.absolute()), expected, "no permission to read it", "Change its permissions.")
    return None
