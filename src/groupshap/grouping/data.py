"""What a source hands over and what the rest of the project receives."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np
import pandas as pd

from groupshap.images import ImageArray, check_images

__all__ = ["RESERVED_COLUMNS", "GroupedImages", "SourceData", "data_checksum"]

RESERVED_COLUMNS = ("image_id", "player", "contributor", "source_contributor", "source_item", "defect")
"""Columns of the image table that are ours; a user's metadata may not use these names."""


@dataclass(frozen=True)
class SourceData:
    """One data set as read from its source, before it is grouped.

    Attributes:
        images: (n_images, channels, image_size, image_size) uint8 in [0, 255].
        table: one row per image, in the same order. Columns: ``image_id`` (int, 0..n_images-1), ``contributor`` (str,
            or None for every image when the source has no contributors of its own), ``source_item`` (str: what the
            source calls this image), then labels and further metadata.
        credits: columns ``contributor``, ``licence``, ``credit`` (str, "" when unknown). A row whose contributor is
            None holds for every image.
        credits_text: Markdown for the credits file beside the data; "" when the source knows nothing to say.
        label_column: the column of ``table`` used as label when the configuration names none; None: no labels.
    """

    images: ImageArray
    table: pd.DataFrame
    credits: pd.DataFrame
    credits_text: str = ""
    label_column: str | None = None

    def __post_init__(self) -> None:
        check_images(self.images)
        missing = [name for name in ("image_id", "contributor", "source_item") if name not in self.table]
        if missing or len(self.table) != len(self.images):
            raise ValueError(
                f"`table` must have one row per image and the columns image_id, contributor, source_item; got "
                f"{len(self.table)} rows for {len(self.images)} images, missing columns {missing}."
            )


@dataclass(frozen=True)
class GroupedImages:
    """Images whose every row belongs to one player.

    Attributes:
        images: (n_images, channels, image_size, image_size) uint8 in [0, 255].
        image_table: one row per image, same order. Columns: ``image_id`` (int, the row), ``player`` (int,
            0..n_players-1), ``contributor`` (str), ``source_contributor`` (str or None: who it was before a split),
            ``source_item`` (str), ``defect`` (str, "" for none), then labels and metadata of the source.
        contributors: one row per player, in the order of the players, which is that of the names' code points. Columns:
            ``player`` (int), ``contributor`` (str), ``n_images`` (int >= 1), ``licence``, ``credit``, ``defect`` (str).
        left_out: contributors below ``min_images_per_contributor``. Columns: ``contributor``, ``n_images``.
        credits_text: Markdown for the credits file; "" when nothing is known.
        checksum: sha256 of images and image table (hex); changes whenever a run would see other data.
        label_column: the column of ``image_table`` with labels, or None.
    """

    images: ImageArray
    image_table: pd.DataFrame
    contributors: pd.DataFrame
    left_out: pd.DataFrame
    credits_text: str
    checksum: str
    label_column: str | None = None

    @property
    def n_players(self) -> int:
        """Number of contributors."""
        return len(self.contributors)


def data_checksum(images: ImageArray, table: pd.DataFrame) -> str:
    """sha256 (hex) of pixels, their shape, and the table as text; the same on every platform."""
    digest = hashlib.sha256(json.dumps([str(images.dtype), list(images.shape)]).encode())
    digest.update(np.ascontiguousarray(images).tobytes())
    digest.update(table.to_csv(index=False, lineterminator="\n").encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
