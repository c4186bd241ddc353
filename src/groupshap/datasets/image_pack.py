"""The image pack in the catalog."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset, DatasetError

from groupshap.image_pack import ImagePack, load_pack, save_pack

__all__ = ["ImagePackDataset"]


class ImagePackDataset(AbstractDataset[ImagePack, ImagePack]):
    """Images and players in one safetensors file, written atomically; the same pack gives the same bytes.

    Args:
        filepath: The file; Kedro makes it absolute.
        metadata: Ignored by Kedro; kedro-viz reads the layer from it.
    """

    def __init__(self, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = Path(filepath).absolute()
        self.metadata = metadata

    def load(self) -> ImagePack:
        """Reads the pack.

        Raises:
            DatasetError: the file is missing or damaged; says what makes it.
        """
        if not self._filepath.is_file():
            raise DatasetError(f"{self._filepath} does not exist; run `kedro run --pipelines data_grouping` first.")
        try:
            return load_pack(self._filepath)
        except ValueError as error:
            raise DatasetError(str(error)) from error

    def save(self, data: ImagePack) -> None:
        """Writes the pack."""
        save_pack(self._filepath, data)

    def _exists(self) -> bool:
        return self._filepath.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
