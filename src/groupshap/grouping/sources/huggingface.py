"""A data set of the Hugging Face hub, or one saved to disk, with a column of images and one of contributors.

``path`` is an id such as "user/artworks", a folder written by ``Dataset.save_to_disk``, or any folder that
``datasets.load_dataset`` reads. Code of a data set is never run: only data files are read.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from groupshap.grouping.checks import DataProblems, Problem, column_problems, elided, raise_problems
from groupshap.grouping.config import DataGroupingConfig
from groupshap.grouping.data import SourceData
from groupshap.grouping.sources.table import source_data_of_columns, wanted_columns

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["load_huggingface"]

logger = logging.getLogger(__name__)


def load_huggingface(config: DataGroupingConfig, cache: Path) -> SourceData:
    """Load one split of a data set; class labels become their names, columns that are not scalar are dropped.

    Raises:
        ImportError: ``datasets`` is not installed; the message says how to.
        DataProblems: it cannot be loaded, columns are missing, or everything that is wrong with names and images.
    """
    dataset = _load(config)
    where = f"data set {config.path}"
    raise_problems(column_problems(wanted_columns(config), dataset.column_names, where))
    folder = Path(config.path or "").expanduser()
    return source_data_of_columns(
        _encoded_images(dataset, config), _scalars(dataset), folder if folder.is_dir() else Path(), where, config
    )


def _load(config: DataGroupingConfig) -> Dataset:
    try:
        import datasets  # noqa: PLC0415  (an extra)
    except ImportError as error:
        message = 'source `huggingface` needs the package datasets: pip install "groupshap[huggingface]"'
        raise ImportError(message) from error
    path = Path(config.path or "").expanduser()
    wanted = config.huggingface
    try:
        if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
            loaded = datasets.load_from_disk(str(path))
            return loaded[wanted.split] if isinstance(loaded, datasets.DatasetDict) else loaded
        revision = None if path.is_dir() else wanted.revision
        return datasets.load_dataset(str(config.path), name=wanted.name, split=wanted.split, revision=revision)
    except Exception as error:  # network, hub, parsers, missing splits: the library's message is the best there is
        got = elided(f"{type(error).__name__}: {error}", 300)
        expected = f"a data set that `datasets` can load, with a split '{wanted.split}'"
        todo = "Check `data_grouping.path`, `data_grouping.huggingface.split` and the network."
        raise DataProblems([Problem(f"data set {config.path}", expected, got, todo)]) from error


def _encoded_images(dataset: Dataset, config: DataGroupingConfig) -> Any:
    """The column of images, one cell at a time, not decoded: our own rules decide about animated and broken ones."""
    from datasets import Image  # noqa: PLC0415

    column = dataset.select_columns([config.image_column])
    if isinstance(dataset.features[config.image_column], Image):
        column = column.cast_column(config.image_column, Image(decode=False))
    return (row[config.image_column] for row in column)


def _scalars(dataset: Dataset) -> pd.DataFrame:
    from datasets import ClassLabel, Value  # noqa: PLC0415

    scalars = {name: kind for name, kind in dataset.features.items() if isinstance(kind, Value | ClassLabel)}
    scalars = {name: kind for name, kind in scalars.items() if kind.dtype not in ("binary", "large_binary")}
    dropped = [name for name in dataset.column_names if name not in scalars]
    logger.info("Columns that are not scalar are dropped from the metadata: %s", ", ".join(dropped) or "none")
    if not scalars:
        return pd.DataFrame(index=range(len(dataset)))
    table = dataset.select_columns(list(scalars)).to_pandas()
    for name, kind in scalars.items():
        if isinstance(kind, ClassLabel):
            names = dict(enumerate(kind.names))
            table[name] = table[name].map(names).astype(object)  # -1, "no label", becomes missing
    return table
