"""From a source's images to players: names, split, caps, planted defects, in this order."""

from __future__ import annotations

import logging
from collections.abc import Collection

import numpy as np
import pandas as pd

from groupshap.grouping.checks import (
    DataProblems,
    Problem,
    check_names,
    check_number_of_contributors,
    column_problems,
    elided,
    raise_problems,
)
from groupshap.grouping.config import DataGroupingConfig, normal_name
from groupshap.grouping.data import GroupedImages, SourceData, data_checksum
from groupshap.grouping.defects import plant_defects
from groupshap.grouping.split import split_into_contributors
from groupshap.seeds import generator_for

__all__ = ["group_images", "images_of_others"]

logger = logging.getLogger(__name__)


def group_images(source_data: SourceData, config: DataGroupingConfig) -> GroupedImages:
    """Make players of the contributors (or of a split) and plant the configured defects.

    The result depends on the source's data and ``config`` alone, bit for bit.

    Raises:
        DataProblems: bad names, fewer than two contributors, none and no split, impossible splits or defects.
    """
    label_column = _label_column(source_data, config)
    table = source_data.table.assign(source_contributor=source_data.table["contributor"])
    table["contributor"] = _contributors(table, label_column, config)
    rows = _wanted(table["contributor"], config)
    table, images = table.iloc[rows].reset_index(drop=True), source_data.images[rows]
    kept, left_out = _without_small(table["contributor"], config)
    table, images = table.iloc[kept].reset_index(drop=True), images[kept]
    rows = _drawn(table["contributor"], config)
    table, images = table.iloc[rows].reset_index(drop=True), images[rows]
    rows = _capped(table["contributor"], config)
    table, images = table.iloc[rows].reset_index(drop=True), images[rows]
    images, table = plant_defects(images, table.assign(defect=""), label_column, config)
    names = sorted(set(table["contributor"]))
    table["image_id"] = np.arange(len(table))
    table["player"] = table["contributor"].map({name: player for player, name in enumerate(names)}).astype(int)
    table = _ours_first(table)
    return GroupedImages(
        images=images,
        image_table=table,
        contributors=_contributor_table(table, names, source_data.credits),
        left_out=left_out,
        credits_text=source_data.credits_text,
        checksum=data_checksum(images, table),
        label_column=label_column,
    )


def _label_column(source_data: SourceData, config: DataGroupingConfig) -> str | None:
    columns = list(source_data.table)
    raise_problems(column_problems({"label_column": config.label_column}, columns, f"source `{config.source}`"))
    return config.label_column or source_data.label_column


def _contributors(table: pd.DataFrame, label_column: str | None, config: DataGroupingConfig) -> list[str]:
    where = f"source `{config.source}`"
    if config.split.by != "none":
        names = split_into_contributors(table, label_column, config)
    elif table["contributor"].isna().all():
        todo = "Make some: --params data_grouping.split.by=shards (or label, dirichlet)."
        raise DataProblems([Problem(where, "images with contributors", "a source that has none of its own", todo)])
    else:
        names, problems = check_names(table["contributor"].tolist(), where)
        raise_problems(problems)
    raise_problems(check_number_of_contributors(pd.Series(names).value_counts().to_dict(), where))
    return names


def _wanted(contributors: pd.Series, config: DataGroupingConfig) -> np.ndarray:
    """Rows of the contributors that ``only`` names, if it names any, and ``leave_out`` does not."""
    only, names = ({normal_name(name) for name in listed} for listed in (config.only, config.leave_out))
    known = set(contributors)
    raise_problems(
        [
            Problem(
                f"data_grouping.{field}", f"a contributor '{elided(name, 60)}'",
                "the contributors " + elided(", ".join(sorted(known)), 300), "Name one of them.",
            )
            for field, listed in (("only", only), ("leave_out", names))
            for name in sorted(listed - known)
        ]
    )  # fmt: skip
    kept = (only or known) - names
    field = "data_grouping.leave_out" if names else "data_grouping.only"
    raise_problems(check_number_of_contributors(dict.fromkeys(kept, 1), field))
    if names:
        logger.info("Left out as asked: %s.", elided(", ".join(sorted(names)), 300))
    return np.flatnonzero(contributors.isin(kept))


def _without_small(contributors: pd.Series, config: DataGroupingConfig) -> tuple[np.ndarray, pd.DataFrame]:
    """Rows of the contributors that stay, and a table of those that do not."""
    counts = contributors.value_counts().sort_index()
    small = counts[counts < config.min_images_per_contributor]
    if len(counts) - len(small) < 2:
        expected = f"at least two contributors with {config.min_images_per_contributor} images"
        got = f"{len(counts) - len(small)}; the largest have {sorted(counts, reverse=True)[:5]} images"
        todo = "Lower `data_grouping.min_images_per_contributor`."
        raise DataProblems([Problem(f"source `{config.source}`", expected, got, todo)])
    if len(small):
        logger.warning(
            "%d contributors with fewer than %d images are left out: %s",
            len(small), config.min_images_per_contributor, elided(", ".join(small.index), 300),
        )  # fmt: skip
    left_out = pd.DataFrame({"contributor": small.index.astype(object), "n_images": small.to_numpy()})
    return np.flatnonzero(~contributors.isin(small.index)), left_out


def _drawn(contributors: pd.Series, config: DataGroupingConfig) -> np.ndarray:
    """Rows that stay when there are at most ``max_contributors``."""
    names = sorted(set(contributors))
    if config.max_contributors is None or len(names) <= config.max_contributors:
        return np.arange(len(contributors))
    drawn = generator_for(config.seed, "contributors").choice(names, size=config.max_contributors, replace=False)
    logger.info("%d of %d contributors drawn, see `data_grouping.max_contributors`.", len(drawn), len(names))
    return np.flatnonzero(contributors.isin(drawn))


def images_of_others(
    source_data: SourceData, config: DataGroupingConfig, contributors: Collection[str]
) -> GroupedImages:
    """What everybody but the contributors of a run contributed to its source: images of which it knows nothing.

    Args:
        source_data: As :func:`group_images` gets it.
        config: Of the run; its selection of contributors, caps and defects do not count here.
        contributors: Of the run.

    Raises:
        DataProblems: fewer than two others, or contributors that a split made: they share all images of the source.
    """
    if config.split.by != "none":
        todo = "Use a source with contributors of its own, and data_grouping.split.by=none."
        raise DataProblems([Problem("data_grouping.split", "contributors of the source itself", "a split", todo)])
    every = {"min_images_per_contributor": 1, "max_contributors": None, "n_images_per_contributor": None, "defects": ()}
    every |= {"only": ()}
    others = {"leave_out": (*config.leave_out, *contributors)}
    return group_images(source_data, config.model_copy(update=every | others))


def _capped(contributors: pd.Series, config: DataGroupingConfig) -> np.ndarray:
    """Rows that stay when every contributor has at most ``n_images_per_contributor``, in their order."""
    limit = config.n_images_per_contributor
    if limit is None:
        return np.arange(len(contributors))
    kept = []
    for name, rows in contributors.groupby(contributors).indices.items():
        rng = generator_for(config.seed, "cap", str(name))
        kept.append(rng.choice(rows, size=limit, replace=False) if len(rows) > limit else rows)
    return np.sort(np.concatenate(kept))


def _ours_first(table: pd.DataFrame) -> pd.DataFrame:
    ours = ["image_id", "player", "contributor", "source_contributor", "source_item", "defect"]
    return table[[*ours, *(column for column in table if column not in ours)]]


def _contributor_table(table: pd.DataFrame, names: list[str], credits_table: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for player, name in enumerate(names):
        own = table[table["player"] == player]
        sources = set(own["source_contributor"].dropna())
        known = credits_table[credits_table["contributor"].isna() | credits_table["contributor"].isin(sources)]
        rows.append(
            {
                "player": player,
                "contributor": name,
                "n_images": len(own),
                "licence": _joined(known["licence"]),
                "credit": _joined(known["credit"]),
                "defect": _defect_summary(own["defect"]),
            }
        )
    return pd.DataFrame(rows)


def _joined(texts: pd.Series) -> str:
    return "; ".join(dict.fromkeys(text for text in texts if text))


def _defect_summary(defects: pd.Series) -> str:
    """For example "noise(strength=1) on 12 of 24 images"; details in brackets stay where all images share them."""
    affected = defects[defects != ""]
    if affected.empty:
        return ""
    kinds = affected.iloc[0] if affected.nunique() == 1 else ", ".join(sorted({_kind(text) for text in affected}))
    return f"{kinds} on {len(affected)} of {len(defects)} images"


def _kind(defect: str) -> str:
    return "; ".join(part.split("(")[0] for part in defect.split("; "))
