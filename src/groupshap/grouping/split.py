"""Contributors for images that have none: by label, by Dirichlet shares over labels, or shards of each label.

Every image goes to exactly one contributor. Draws are addressed by (data seed, label), so the shares of one label do
not depend on the others.
"""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt
import pandas as pd

from groupshap.grouping.checks import DataProblems, Problem, column_problems, elided, raise_problems
from groupshap.grouping.config import DataGroupingConfig
from groupshap.seeds import generator_for

__all__ = ["split_into_contributors"]

logger = logging.getLogger(__name__)

N_ATTEMPTS = 100


def split_into_contributors(table: pd.DataFrame, label_column: str | None, config: DataGroupingConfig) -> list[str]:
    """Assign a contributor to every row.

    ``label``: the labels themselves. ``dirichlet``: "contributor 01", ...; each label is cut by shares drawn from
    Dirichlet(concentration, ..., concentration), and all is drawn again, at most 100 times, until every contributor has
    ``min_images_per_contributor`` images. ``shards``: "<label> (1 of 2)", ...; equal parts up to one image.

    Args:
        table: one row per image with the label column.
        label_column: used when ``split.column`` is None.
        config: ``split``, ``seed`` and ``min_images_per_contributor``.

    Returns:
        One name per row.

    Raises:
        DataProblems: no such column, missing labels, or too few images for so many contributors.
    """
    rows_of = _rows_of_labels(table, config.split.column or label_column)
    if config.split.by == "label":
        owners = [(label, rows) for label, rows in rows_of.items()]
    elif config.split.by == "shards":
        owners = _shards(rows_of, config)
    else:
        owners = _dirichlet(rows_of, config)
    names = np.empty(len(table), dtype=object)
    for name, rows in owners:
        names[rows] = name
    return names.tolist()


def _rows_of_labels(table: pd.DataFrame, column: str | None) -> dict[str, npt.NDArray[np.int64]]:
    """Label, as text that sorts like the labels, to its rows."""
    where = "data_grouping.split"
    if column is None:
        got, todo = "no label column in this source", "Set `data_grouping.split.column` to one of " + ", ".join(table)
        raise DataProblems([Problem(where, "a label column", got, todo)])
    raise_problems(column_problems({"split.column": column}, list(table), where))
    labels = table[column]
    if labels.isna().any():
        got = f"{int(labels.isna().sum())} missing, the first in row {int(np.argmax(labels.isna())) + 1}"
        raise DataProblems(
            [Problem(f"{where}, column '{column}'", "a label for every image", got, "Fill or drop them.")]
        )
    texts = [_text(label) for label in labels]
    if all(text.isdecimal() for text in texts):  # so that 10 comes after 9
        width = max(map(len, texts))
        texts = [text.zfill(width) for text in texts]
    array = np.array(texts, dtype=object)
    return {text: np.flatnonzero(array == text) for text in sorted(set(texts))}


def _text(label: object) -> str:
    return str(int(label)) if isinstance(label, float | np.floating) and float(label).is_integer() else str(label)


def _shards(
    rows_of: dict[str, npt.NDArray[np.int64]], config: DataGroupingConfig
) -> list[tuple[str, npt.NDArray[np.int64]]]:
    n_shards = config.split.shards_per_label
    raise_problems(
        [
            Problem(
                f"data_grouping.split, label '{elided(label, 60)}'",
                f"at least {n_shards} images for {n_shards} shards",
                f"{len(rows)}",
                "Lower `data_grouping.split.shards_per_label`.",
            )
            for label, rows in rows_of.items()
            if len(rows) < n_shards
        ]
    )
    width = len(str(n_shards))
    return [
        (f"{label} ({index:0{width}d} of {n_shards})", part)
        for label, rows in rows_of.items()
        for index, part in enumerate(
            np.array_split(generator_for(config.seed, "split-shards", label).permutation(rows), n_shards), start=1
        )
    ]


def _dirichlet(
    rows_of: dict[str, npt.NDArray[np.int64]], config: DataGroupingConfig
) -> list[tuple[str, npt.NDArray[np.int64]]]:
    n, wanted = config.split.n_contributors, config.min_images_per_contributor
    counts = np.zeros(n, dtype=int)
    for attempt in range(N_ATTEMPTS):
        parts = [_dirichlet_parts(label, rows, attempt, config) for label, rows in rows_of.items()]
        owned = [np.concatenate([part[k] for part in parts]) for k in range(n)]
        counts = np.array([len(rows) for rows in owned])
        if counts.min() >= wanted:
            logger.info("Dirichlet split: attempt %d gives %d to %d images.", attempt + 1, counts.min(), counts.max())
            return [(f"contributor {k + 1:0{max(2, len(str(n)))}d}", rows) for k, rows in enumerate(owned)]
    got = f"{int((counts < wanted).sum())} with fewer in each of {N_ATTEMPTS} draws, {int(counts.sum())} images in all"
    todo = "Raise `split.concentration`, lower `split.n_contributors`, or give more images."
    raise DataProblems([Problem("data_grouping.split", f"{n} contributors with at least {wanted} images", got, todo)])


def _dirichlet_parts(
    label: str, rows: npt.NDArray[np.int64], attempt: int, config: DataGroupingConfig
) -> list[npt.NDArray[np.int64]]:
    rng = generator_for(config.seed, "split-dirichlet", label, attempt)
    shares = rng.dirichlet(np.full(config.split.n_contributors, config.split.concentration))
    cuts = np.rint(np.cumsum(shares)[:-1] * len(rows)).astype(int)
    return np.split(rng.permutation(rows), cuts)
