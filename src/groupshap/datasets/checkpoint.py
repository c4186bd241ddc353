"""A model file in the catalog: saved as a copy of a committed file, loaded as a reference; never as a model in memory.

Kedro deep-copies what passes through memory and writes files in place; a checkpoint is neither copied in memory nor
ever half written.
"""

from __future__ import annotations

import shutil

from groupshap.datasets.file_ref import FileRefDataset
from groupshap.store import FileRef, atomic_write

__all__ = ["CheckpointDataset"]


class CheckpointDataset(FileRefDataset):
    """As :class:`FileRefDataset`, and saves a ``FileRef`` by copying its file here."""

    def save(self, data: FileRef) -> None:
        """Copies the file; there completely or not at all."""
        atomic_write(self._filepath, lambda temporary: shutil.copyfile(data.path, temporary))
