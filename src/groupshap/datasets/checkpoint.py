"""A model file in the catalog: saved as a copy of a committed file, loaded as a reference; never as a model in memory.

Kedro deep-copies what passes through memory and writes files in place; a checkpoint is neither copied in memory nor
ever half written.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset, DatasetError

from groupshap.store import FileRef, atomic_write

__all__ = ["CheckpointDataset"]


class CheckpointDataset(AbstractDataset[FileRef, FileRef]):
    """Saves a ``FileRef`` by copying its file here; loads as ``FileRef(absolute path, sha256)``.

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
        """Copies the file; there completely or not at all."""
        atomic_write(self._filepath, lambda temporary: shutil.copyfile(data.path, temporary))

    def _exists(self) -> bool:
        return self._filepath.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "made_by": self._made_by}
