"""Fashion-MNIST from its idx files: grey photographs of 28 x 28, ten kinds of garment, no contributors."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from groupshap.grouping.checks import Problem, fit_arrays, raise_problems
from groupshap.grouping.config import DataGroupingConfig
from groupshap.grouping.data import SourceData

__all__ = ["GARMENTS", "load_fashion_mnist"]

GARMENTS = ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
_HOW_TO_GET = (
    "On Debian and Ubuntu: `apt install dataset-fashion-mnist`, then path=/usr/share/datasets/fashion-mnist. "
    "Elsewhere: download train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz from "
    "github.com/zalandoresearch/fashion-mnist (data/fashion) into one folder."
)
_CREDIT = "Fashion-MNIST, copyright 2017 Zalando SE (https://github.com/zalandoresearch/fashion-mnist)"


def load_fashion_mnist(config: DataGroupingConfig, cache: Path) -> SourceData:
    """Read ``train-images-idx3-ubyte`` and ``train-labels-idx1-ubyte`` (plain or .gz) from the folder ``path``.

    ``path`` None means the folder of the Debian package. Label column: ``garment`` (str).

    Raises:
        DataProblems: files missing, damaged or not matching; the message says how to get them.
    """
    folder = Path(config.path).expanduser() if config.path else DEBIAN_FOLDER
    arrays = [_read_idx(folder, "train-images-idx3-ubyte", 3), _read_idx(folder, "train-labels-idx1-ubyte", 1)]
    raise_problems([array for array in arrays if isinstance(array, Problem)])
    images, labels = (array for array in arrays if not isinstance(array, Problem))
    raise_problems(_mismatch(images, labels, folder))
    table = pd.DataFrame(
        {
            "image_id": np.arange(len(images)),
            "contributor": None,
            "source_item": [f"train/{row}" for row in range(len(images))],
            "garment": [GARMENTS[label] for label in labels],
        }
    )
    credits_table = pd.DataFrame([{"contributor": None, "licence": "MIT", "credit": _CREDIT}])
    return SourceData(
        fit_arrays(images, config),
        table,
        credits_table,
        f"# Credits\n\n{_CREDIT}. Licence: MIT.\n",
        label_column="garment",
    )


def _read_idx(folder: Path, name: str, n_axes: int) -> npt.NDArray[np.uint8] | Problem:
    """An idx file of bytes: 0, 0, 8 (uint8), number of axes, then their lengths as big-endian uint32, then the data."""
    file = next((file for file in (folder / f"{name}.gz", folder / name) if file.is_file()), None)
    if file is None:
        return Problem(str(folder.absolute()), f"{name} or {name}.gz", "no such file", _HOW_TO_GET)
    expected = f"an intact idx file of {n_axes} axes"
    try:
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        *magic, axes = struct.unpack_from(">4B", content)
        shape = struct.unpack_from(f">{n_axes}I", content, 4)
        if magic != [0, 0, 8] or axes != n_axes:
            return Problem(str(file.absolute()), expected, f"magic number {content[:4].hex()}", _HOW_TO_GET)
        return np.frombuffer(content, np.uint8, offset=4 + 4 * n_axes).reshape(shape)
    except (OSError, EOFError, ValueError, struct.error) as error:
        return Problem(str(file.absolute()), expected, f"a damaged file ({error})", _HOW_TO_GET)


def _mismatch(images: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8], folder: Path) -> list[Problem]:
    if len(images) == len(labels) > 0 and labels.max() < len(GARMENTS):
        return []
    got = f"{len(images)} images, {len(labels)} labels up to {labels.max(initial=0)}"
    return [Problem(str(folder.absolute()), "as many labels in 0..9 as images", got, _HOW_TO_GET)]
