"""A table that a pipeline uses if an earlier one has made it, and does without otherwise."""

from __future__ import annotations

import pandas as pd
from kedro_datasets.pandas import CSVDataset

__all__ = ["OptionalCSVDataset"]


class OptionalCSVDataset(CSVDataset):
    """As ``pandas.CSVDataset``, but loads None where there is no file: the reading node says what it leaves out."""

    def load(self) -> pd.DataFrame | None:
        """The table, or None."""
        return super().load() if self.exists() else None
