"""What a pipeline uses if an earlier one has made it, and does without otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
from kedro_datasets.pandas import CSVDataset
from kedro_datasets.partitions import PartitionedDataset

from groupshap.datasets.file_ref import FileRefDataset
from groupshap.store import FileRef

__all__ = ["OptionalCSVDataset", "OptionalFileRefDataset", "OptionalPartitionedDataset"]


class OptionalCSVDataset(CSVDataset):
    """As ``pandas.CSVDataset``, but loads None where there is no file: the reading node says what it leaves out."""

    def load(self) -> pd.DataFrame | None:
        """The table, or None."""
        return super().load() if self.exists() else None


class OptionalFileRefDataset(FileRefDataset):
    """As :class:`FileRefDataset`, but loads None where there is no file."""

    def load(self) -> FileRef | None:
        """The reference, or None."""
        return super().load() if self.exists() else None


class OptionalPartitionedDataset(PartitionedDataset):
    """As ``partitions.PartitionedDataset``, but loads no partitions where it refuses an empty folder."""

    def load(self) -> dict[str, Callable[[], Any]]:
        """Partition name to its load function; empty where there are none."""
        return super().load() if self.exists() else {}
