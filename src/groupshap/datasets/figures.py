"""Pictures whose number and names are known only when they are drawn, in a folder that other pictures may share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from kedro.io import AbstractDataset, DatasetError

from groupshap.store import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FiguresDataset"]


class FiguresDataset(AbstractDataset[dict[str, "Figure"], None]):
    """Saves ``{"<prefix>….png": figure}``, each file atomically; never loads.

    Pictures of the same prefix that an earlier run left are removed: they would show properties nobody asked for.

    Args:
        path: The folder; Kedro makes it absolute.
        prefix: How the names of these pictures start.
        metadata: Ignored by Kedro; kedro-viz reads the layer from it.
    """

    def __init__(self, path: str, prefix: str, metadata: dict[str, Any] | None = None) -> None:
        self._path = Path(path).absolute()
        self._prefix = prefix
        self.metadata = metadata

    def files(self) -> list[Path]:
        """The pictures there are, sorted."""
        return sorted(self._path.glob(f"{self._prefix}*.png"))

    def load(self) -> NoReturn:
        """Refused: figures are drawn from tables, and the tables are in the catalog."""
        raise DatasetError(f"{self._path}: pictures are not loaded; load the table they show.")

    def save(self, data: dict[str, Figure]) -> None:
        """Writes all pictures.

        Raises:
            DatasetError: a name that is no plain file name with this prefix.
        """
        wrong = [name for name in data if Path(name).name != name or not name.startswith(self._prefix)]
        if wrong:
            raise DatasetError(f"Expected file names that start with {self._prefix!r}, got {wrong}.")
        for old in self.files():
            if old.name not in data:
                old.unlink()
        for name, figure in data.items():
            atomic_write(self._path / name, lambda file, figure=figure: figure.savefig(file, format="png"))

    def _exists(self) -> bool:
        return bool(self.files())

    def _describe(self) -> dict[str, Any]:
        return {"path": str(self._path), "prefix": self._prefix}
