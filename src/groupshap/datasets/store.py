"""A result store as a node's input, so that its path stays in the catalog."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError

from groupshap.store import Store

__all__ = ["StoreDataset"]


class StoreDataset(AbstractDataset[None, Store]):
    """Loads as a ``Store`` handle on a folder, which need not exist yet; never saves.

    Two entries may lie on one folder: this one as the input of the node that fills the store, and for example a
    PartitionedDataset as its output (a node may not have one dataset as both).

    Args:
        path: The folder; Kedro makes it absolute.
        metadata: Ignored by Kedro; kedro-viz reads the layer from it.
    """

    def __init__(self, path: str, metadata: dict[str, Any] | None = None) -> None:
        self._path = Path(path).absolute()
        self.metadata = metadata

    def load(self) -> Store:
        """A handle; touches nothing on the disk."""
        return Store(self._path)

    def save(self, data: None) -> NoReturn:
        """Refused: workers commit to the store, one task at a time."""
        raise DatasetError(f"The store {self._path} is filled by `groupshap.store.commit`, not by saving a dataset.")

    def _exists(self) -> bool:
        return self._path.is_dir()

    def _describe(self) -> dict[str, Any]:
        return {"path": str(self._path)}
