"""A folder as a node's input, so that its path stays in the catalog."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError

__all__ = ["FolderDataset"]


class FolderDataset(AbstractDataset[None, Path]):
    """Loads as the absolute path of a folder, which need not exist yet; never saves.

    Args:
        path: The folder; Kedro makes it absolute.
        metadata: Ignored by Kedro; kedro-viz reads the layer from it.
    """

    def __init__(self, path: str, metadata: dict[str, Any] | None = None) -> None:
        self._path = Path(path).absolute()
        self.metadata = metadata

    def load(self) -> Path:
        """The path; touches nothing on the disk."""
        return self._path

    def save(self, data: None) -> NoReturn:
        """Refused: whoever got the path writes there."""
        raise DatasetError(f"{self._path} is handed out as a path; nothing is saved through the catalog.")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"path": str(self._path)}
