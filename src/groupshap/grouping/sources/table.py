"""A CSV or Parquet table with a column of images and a column of contributors; further columns are kept as metadata.

Images are paths, relative to the table's folder or absolute (whoever wrote the table may point anywhere on their disk),
or encoded bytes, as Parquet files from the Hugging Face hub hold them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from groupshap.grouping.checks import (
    DataProblems,
    Problem,
    check_names,
    check_number_of_contributors,
    column_problems,
    decode_image,
    elided,
    path_problem,
    raise_problems,
)
from groupshap.grouping.config import DataGroupingConfig
from groupshap.grouping.data import RESERVED_COLUMNS, SourceData
from groupshap.images import ImageArray

__all__ = ["load_table", "source_data_of_columns", "wanted_columns"]

_EXPECTED = "a .csv, .tsv or .parquet file"
_MISSING = ["", "NA", "N/A", "NaN", "nan", "null", "NULL"]
_TODO = "Set `data_grouping.path` to the table."


def load_table(config: DataGroupingConfig, cache: Path) -> SourceData:
    """Read the table ``config.path`` and the images it names.

    ``source_item`` is the image's path as written, or "row 12" for encoded bytes. Columns ``licence`` and ``credit``,
    if there are any, become the contributors'.

    Raises:
        DataProblems: everything that is wrong with the table, names and files. Rows count from 1, without the header.
    """
    path = Path(config.path or "").expanduser()
    table = _read(path, config)
    raise_problems(column_problems(wanted_columns(config), list(table.columns), str(path)))
    cells = table.pop(config.image_column)
    return source_data_of_columns(cells.tolist(), _scalar_columns(table), path.parent, str(path), config)


def wanted_columns(config: DataGroupingConfig) -> dict[str, str | None]:
    """Parameter to the column it names; contributors are not needed when a split makes them."""
    own = config.contributor_column if config.split.by == "none" else None
    return {
        "image_column": config.image_column,
        "contributor_column": own,
        "label_column": config.label_column,
        "split.column": config.split.column if config.split.by != "none" else None,
    }


def source_data_of_columns(
    cells: Any, table: pd.DataFrame, folder: Path, where: str, config: DataGroupingConfig
) -> SourceData:
    """Decode one image per cell and check the other columns.

    Args:
        cells: iterable of paths (str), encoded bytes, or dicts with "bytes" and "path"; one per row of ``table``.
        table: contributors (column ``config.contributor_column``, optional with a split) and metadata.
        folder: what relative paths are relative to.
        where: the table's name in messages.
        config: size, limits, column names.

    Raises:
        DataProblems: all bad names, columns and images.
    """
    if len(table) == 0:
        raise DataProblems([Problem(where, "a table with rows", "none", "Add rows or set `data_grouping.path`.")])
    names, problems = _contributors(table, where, config)
    metadata = table.drop(columns=config.contributor_column, errors="ignore")
    problems += _reserved(metadata, where)
    images, items = [], []
    for item, image in _decoded(cells, folder, where, config):
        items.append(item)
        (problems if isinstance(image, Problem) else images).append(image)
    raise_problems(problems)
    ours = pd.DataFrame({"image_id": np.arange(len(items)), "contributor": names, "source_item": items})
    return SourceData(
        np.stack(images),
        pd.concat([ours, metadata.reset_index(drop=True)], axis=1),
        _credits(ours, metadata),
        label_column=config.label_column,
    )


def _read(path: Path, config: DataGroupingConfig) -> pd.DataFrame:
    problem = path_problem(path, _EXPECTED, _TODO)
    suffix = path.suffix.lower()
    if problem is None and (not path.is_file() or suffix not in (".csv", ".tsv", ".parquet", ".pq")):
        problem = Problem(str(path.absolute()), _EXPECTED, "a folder" if path.is_dir() else f"'{suffix}'", _TODO)
    if problem is not None:
        raise DataProblems([problem])
    try:
        if suffix in (".parquet", ".pq"):
            return pd.read_parquet(path)
        return _read_csv(path, "\t" if suffix == ".tsv" else ",", (config.image_column, config.contributor_column))
    except Exception as error:  # parsers and decoders of two libraries
        got = elided(f"{type(error).__name__}: {error}", 200)
        todo = "Save it again, as UTF-8 and comma-separated if it is a CSV."
        raise DataProblems([Problem(str(path.absolute()), _EXPECTED, got, todo)]) from error


def _read_csv(path: Path, separator: str, text_columns: tuple[str, ...]) -> pd.DataFrame:
    """Read some columns as the text they are: a contributor may be called "NA" or "007"."""
    header = pd.read_csv(path, sep=separator, encoding="utf-8-sig", nrows=0).columns
    return pd.read_csv(
        path,
        sep=separator,
        encoding="utf-8-sig",
        dtype=dict.fromkeys(text_columns, str),
        keep_default_na=False,
        na_values={column: _MISSING for column in header if column not in text_columns},
    )


def _scalar_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Without the columns that hold lists, dicts or bytes: they are no metadata that a table of images can show."""
    nested = (list, dict, bytes, np.ndarray)
    objects = [column for column in table.columns if table[column].dtype == object]
    return table.drop(columns=[c for c in objects if table[c].map(lambda cell: isinstance(cell, nested)).any()])


def _contributors(table: pd.DataFrame, where: str, config: DataGroupingConfig) -> tuple[Any, list[Problem]]:
    column = config.contributor_column
    if config.split.by != "none":
        return (table[column].astype(object).tolist() if column in table else None), []
    if column not in table:
        todo = "Give a column of text or class labels."
        return None, [Problem(where, "one name in each cell", f"lists, dicts or bytes in '{elided(column, 60)}'", todo)]
    names, problems = check_names(table[column].tolist(), f"{where}, column '{elided(column, 60)}'")
    return names, problems + check_number_of_contributors(pd.Series(names).value_counts().to_dict(), where)


def _reserved(metadata: pd.DataFrame, where: str) -> list[Problem]:
    todo = "Rename it: the table of images has a column of that name."
    return [
        Problem(where, "other names for further columns", f"a column '{name}'", todo)
        for name in RESERVED_COLUMNS
        if name in metadata
    ]


def _decoded(
    cells: Any, folder: Path, where: str, config: DataGroupingConfig
) -> Iterator[tuple[str, ImageArray | Problem]]:
    for number, cell in enumerate(cells, start=1):
        at = f"{where}, row {number}"
        content, path = (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (cell, cell)
        if isinstance(content, bytes):
            yield f"row {number}", decode_image(content, at, config)
        elif isinstance(path, str) and path:
            yield path, decode_image(folder / path, f"{at}: {path}", config)
        else:
            empty = path == "" if isinstance(path, str) else pd.api.types.is_scalar(path) and pd.isna(path)
            got = "an empty cell" if empty else f"a {type(path).__name__}"
            yield f"row {number}", Problem(at, "an image's path or bytes", got, "Fill it in or remove the row.")


def _credits(ours: pd.DataFrame, metadata: pd.DataFrame) -> pd.DataFrame:
    known = pd.DataFrame({"contributor": ours["contributor"]})
    for column in ("licence", "credit"):
        known[column] = metadata[column].fillna("").astype(str).to_numpy() if column in metadata else ""
    return known.drop_duplicates(ignore_index=True)
