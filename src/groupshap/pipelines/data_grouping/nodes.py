"""Nodes of ``data_grouping``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from groupshap.grouping.config import DataGroupingConfig
from groupshap.image_pack import ImagePack

__all__ = ["group_images_of_contributors"]


def group_images_of_contributors(
    config: DataGroupingConfig, cache: Path
) -> tuple[ImagePack, pd.DataFrame, pd.DataFrame, str, Any]:
    """Read the source, refuse what is wrong with it, and make players of the contributors.

    Returns:
        Image pack, table of the images, table of the contributors, credits as Markdown, contact sheet.
    """
    from groupshap.grouping.assemble import group_images
    from groupshap.grouping.contact_sheet import draw_contact_sheet
    from groupshap.grouping.defects import is_used
    from groupshap.grouping.prompts import prompts_of
    from groupshap.grouping.sources import SOURCES

    grouped = group_images(SOURCES[config.source](config, cache), config)
    used = is_used(grouped.image_table)
    players = grouped.image_table["player"].to_numpy("int64")
    prompts = prompts_of(grouped, config)
    pack = ImagePack(grouped.images, players, None if used.all() else used, prompts)
    table = grouped.image_table if prompts is None else grouped.image_table.assign(prompt=prompts)
    sheet = draw_contact_sheet(pack.images, pack.players, grouped.contributors)
    return pack, table, grouped.contributors, grouped.credits_text or "# Credits\n\nUnknown.\n", sheet
