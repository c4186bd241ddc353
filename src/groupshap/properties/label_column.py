"""Which column of the image table holds the labels, and the labels as numbers."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from groupshap.properties.errors import PropertyError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DEMOGRAPHIC_COLUMN", "find_column", "label_codes"]

logger = logging.getLogger(__name__)

DEMOGRAPHIC_COLUMN = "skin_tone"
"""The column that ``auto`` takes where it exists."""


def find_column(wanted: str, image_table: pd.DataFrame, name: str, setting: str) -> str | None:
    """The column that a setting means; None: no labels.

    Args:
        wanted: A column, ``auto`` (``skin_tone`` where it exists with at least two labels) or ``none``.
        image_table: One row per image.
        name: Of the property, for the message.
        setting: That holds ``wanted``, for the message.

    Raises:
        PropertyError: no such column.
    """
    if wanted == "none":
        return None
    if wanted == "auto":
        has_labels = DEMOGRAPHIC_COLUMN in image_table and image_table[DEMOGRAPHIC_COLUMN].nunique() >= 2
        return DEMOGRAPHIC_COLUMN if has_labels else None
    if wanted not in image_table:
        raise PropertyError(
            f"property '{name}': expected a column '{wanted}' (`{setting}`) in the "
            f"image table, got the columns {', '.join(map(str, image_table))}; name one of them, or 'none'."
        )
    return wanted


def label_codes(
    column: pd.Series, column_name: str, name: str, setting: str
) -> tuple[npt.NDArray[np.bool_], list[str], npt.NDArray[np.int64]]:
    """Which images (n_images,) have a label, the labels in order, and the number of the label of each that has one.

    Raises:
        PropertyError: fewer than two labels, or labels that are almost all different.
    """
    has_label = column.notna().to_numpy()
    if not has_label.all():
        logger.info("%s: %d images without '%s' are not used.", name, int((~has_label).sum()), column_name)
    labels, codes = np.unique(column[has_label].astype(str).to_numpy(dtype=str), return_inverse=True)
    if not 2 <= len(labels) <= max(2, has_label.sum() / 2):
        raise PropertyError(
            f"property '{name}': expected a column with at least two labels and two images for each on "
            f"average, got {len(labels)} in '{column_name}' for {int(has_label.sum())} images; choose another "
            f"`{setting}`, or 'none'."
        )
    return has_label, labels.tolist(), codes
