"""Planted defects: deliberate, known harm to one contributor's images or labels, to see whether their value drops.

Each affected image says so in the table's column ``defect`` (several are joined by "; "):

=============  =======================================================================  =============================
kind           what happens                                                             recorded as
=============  =======================================================================  =============================
``noise``      mixed with uniform noise, which has the share ``strength``               ``noise(strength=1)``
``blur``       Gaussian blur, sigma = ``strength`` * image_size / 4 pixels              ``blur(strength=0.5)``
``duplicate``  replaced, with its labels, by an image of the contributor ``of``; all    ``duplicate(image_id=12)``
               of theirs are used before one is used twice
``mislabel``   label replaced by another label that occurs in the data                  ``mislabel(digit was 3)``
``unused``     no model is ever trained on it: the null player of the theory            ``unused``
=============  =======================================================================  =============================

Defects are applied in the order given: a duplicate of a blurred image is blurred.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.ndimage import gaussian_filter

from groupshap.grouping.checks import Problem, elided, raise_problems
from groupshap.grouping.config import DataGroupingConfig, DefectConfig, normal_name
from groupshap.grouping.data import RESERVED_COLUMNS
from groupshap.images import ImageArray
from groupshap.seeds import generator_for

__all__ = ["is_used", "plant_defects"]

Rows = npt.NDArray[np.int64]
UNUSED = "unused"


def is_used(table: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """(n_images,) bool: whether models may be trained on an image, from the table's column ``defect``."""
    return np.array([UNUSED not in str(note).split("; ") for note in table["defect"]], dtype=bool)


def plant_defects(
    images: ImageArray, table: pd.DataFrame, label_column: str | None, config: DataGroupingConfig
) -> tuple[ImageArray, pd.DataFrame]:
    """Apply ``config.defects``, in order, to copies of images and table.

    Args:
        images: (n_images, channels, height, width) uint8.
        table: one row per image with ``contributor`` and ``defect``.
        label_column: what ``mislabel`` changes.
        config: ``defects`` and ``seed``.

    Raises:
        DataProblems: a defect names a contributor that does not exist, or there is no second label to give.
    """
    raise_problems(_defect_problems(table, label_column, config))
    images, table = images.copy(), table.copy()
    contributors = table["contributor"].to_numpy()
    for number, defect in enumerate(config.defects):
        rng = generator_for(config.seed, "defect", number, defect.kind, normal_name(defect.contributor))
        rows = _affected(np.flatnonzero(contributors == normal_name(defect.contributor)), defect.fraction, rng)
        if defect.kind == "noise":
            notes = _add_noise(images, rows, defect, rng)
        elif defect.kind == "blur":
            notes = _blur(images, rows, defect)
        elif defect.kind == "duplicate":
            of_rows = np.flatnonzero(contributors == normal_name(defect.of or ""))
            notes = _duplicate(images, table, rows, of_rows, rng)
        elif defect.kind == "unused":
            notes = [UNUSED] * len(rows)
        else:
            notes = _mislabel(table, rows, str(label_column), rng)
        table.loc[rows, "defect"] = [
            f"{old}; {new}" if old else new for old, new in zip(table.loc[rows, "defect"], notes, strict=True)
        ]
    return images, table


def _defect_problems(table: pd.DataFrame, label_column: str | None, config: DataGroupingConfig) -> list[Problem]:
    known = sorted(set(table["contributor"]))
    named = [(d.kind, name) for d in config.defects for name in (d.contributor, d.of) if name is not None]
    problems = [
        Problem(
            f"data_grouping.defects, `{kind}`",
            f"a contributor '{elided(name, 60)}'",
            "the contributors " + elided(", ".join(elided(one, 60) for one in known), 300),
            "Name one of them.",
        )
        for kind, name in named
        if normal_name(name) not in known
    ]
    if any(defect.kind == "mislabel" for defect in config.defects):
        n_labels = 0 if label_column is None else table[label_column].nunique()
        if n_labels < 2:
            got = "no label column" if label_column is None else f"{n_labels} in column '{label_column}'"
            problems.append(
                Problem(
                    "data_grouping.defects, `mislabel`", "at least two labels", got, "Set `data_grouping.label_column`."
                )
            )
    return problems


def _affected(rows: Rows, fraction: float, rng: np.random.Generator) -> Rows:
    return np.sort(rng.choice(rows, size=math.ceil(fraction * len(rows)), replace=False))


def _add_noise(images: ImageArray, rows: Rows, defect: DefectConfig, rng: np.random.Generator) -> list[str]:
    noise = rng.integers(0, 256, size=images[rows].shape)
    mixed = (1 - defect.strength) * images[rows] + defect.strength * noise
    images[rows] = np.rint(mixed).astype(np.uint8)
    return [f"noise(strength={defect.strength:g})"] * len(rows)


def _blur(images: ImageArray, rows: Rows, defect: DefectConfig) -> list[str]:
    sigma = defect.strength * images.shape[-1] / 4
    blurred = gaussian_filter(images[rows].astype(np.float64), sigma=(0, 0, sigma, sigma), mode="nearest")
    images[rows] = np.rint(blurred).astype(np.uint8)
    return [f"blur(strength={defect.strength:g})"] * len(rows)


def _duplicate(
    images: ImageArray, table: pd.DataFrame, rows: Rows, of_rows: Rows, rng: np.random.Generator
) -> list[str]:
    copied = np.resize(rng.permutation(of_rows), len(rows))
    images[rows] = images[copied]
    for column in table.columns.difference(RESERVED_COLUMNS):  # labels describe the picture, so they go with it
        table.loc[rows, column] = table.loc[copied, column].to_numpy()
    return [f"duplicate(image_id={row})" for row in copied]


def _mislabel(table: pd.DataFrame, rows: Rows, label_column: str, rng: np.random.Generator) -> list[str]:
    labels = table[label_column].dropna().unique()
    labels = labels[np.argsort([str(label) for label in labels], kind="stable")]
    old = table.loc[rows, label_column].to_list()
    new = [rng.choice([index for index, other in enumerate(labels) if other != label]) for label in old]
    table.loc[rows, label_column] = labels[new]
    return [f"mislabel({label_column} was {elided(str(label), 60)})" for label in old]
