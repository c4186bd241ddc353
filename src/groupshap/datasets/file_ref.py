"""A file that another catalog entry writes, as a reference for workers and fingerprints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset, DatasetError

from groupshap.store import FileRef

__all__ = ["FileRefDataset"]


class FileRefDataset(AbstractDataset[FileRef, FileRef]):
    """Loads as ``FileRef(absolute path, sha256)``; never saves.

    Used by transcoding: ``images@pack`` is written by one dataset, ``images@file`` is read by this one, and both are
    one node in the graph. ``images@file: {type: groupshap.datasets.file_ref.FileRefDataset, filepath: data/...}``

    Args:
        filepath: The file; Kedro makes it absolute.
        made_by: Name of the pipeline that writes the file, for the error message.
        metadata: Ignored by Kedro; kedro-viz reads the layer from it.
    """

    def __init__(self, filepath: str, made_by: str | None = None, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = Path(filepath).absolute()
        self._made_by = made_by
        self.metadata = metadata

    def load(self) -> FileRef:
        """Reads the whole file once, for its hash.

        Raises:
            DatasetError: there is no such file; says which pipeline makes it.
        """
        if not self._filepath.is_file():
            hint = f"run `kedro run --pipelines {self._made_by}` first" if self._made_by else "run its pipeline first"
            raise DatasetError(f"{self._filepath} does not exist; {hint}.")
        return FileRef.of(self._filepath)

    def save(self, data: FileRef) -> None:
        """Refused: the other catalog entry for this file writes it."""
        raise DatasetError(
            f"{type(self).__name__} only refers to {self._filepath}; save through the entry that writes it."
        )

    def _exists(self) -> bool:
        return self._filepath.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "made_by": self._made_by}
