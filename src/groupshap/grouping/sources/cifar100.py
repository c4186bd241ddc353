"""CIFAR-100: 50,000 photographs of 32 x 32, 500 of each of 100 classes; the classes are the contributors.

Read from the "binary version" of the data set's own page. The "python version", which torchvision downloads, holds
pickles: whoever opens one runs whatever its author wrote into it, so it is refused, even though it could be read with
a restricted unpickler. The same images in parquet files are read by source ``huggingface`` (``uoft-cs/cifar100``,
columns ``img`` and ``fine_label``).
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from groupshap.grouping.checks import Problem, fit_arrays, raise_problems
from groupshap.grouping.config import DataGroupingConfig
from groupshap.grouping.data import SourceData

__all__ = ["load_cifar100"]

DEFAULT_PATH = Path("data/01_raw/cifar-100-binary.tar.gz")
_FOLDER = "cifar-100-binary"
_FILES = ("train.bin", "fine_label_names.txt", "coarse_label_names.txt")
_SIDE_PX, _N_FINE, _N_COARSE = 32, 100, 20
_RECORD_BYTES = 2 + 3 * _SIDE_PX**2
_HOW_TO_GET = (
    "Download cifar-100-binary.tar.gz (the binary version, 161 MB; not the python version, whose pickles are never "
    f"opened) from www.cs.toronto.edu/~kriz/cifar.html and put it to {DEFAULT_PATH}, or give it, or its "
    "unpacked folder, as `data_grouping.path`. Or take the parquet files: --params data_grouping.source=huggingface,"
    "data_grouping.path=uoft-cs/cifar100,data_grouping.image_column=img,data_grouping.contributor_column=fine_label"
)
_CREDIT = "CIFAR-100, A. Krizhevsky, Learning multiple layers of features from tiny images, 2009"


def load_cifar100(config: DataGroupingConfig, cache: Path) -> SourceData:
    """Read the training images from ``path``, a ``cifar-100-binary.tar.gz`` or its unpacked folder.

    Contributors are the fine classes by name; label columns: ``fine_label`` and ``superclass`` (str).

    Raises:
        DataProblems: missing or damaged; the message says what to put where.
    """
    path = Path(config.path).expanduser() if config.path else DEFAULT_PATH
    try:
        contents = _read(path)
    except (OSError, EOFError, KeyError, tarfile.TarError, zlib.error) as error:
        got = "no such file" if not path.exists() else f"{type(error).__name__}: {error}"
        contents = {}
        raise_problems([Problem(str(path.absolute()), f"{', '.join(_FILES)} of CIFAR-100", got, _HOW_TO_GET)])
    records = np.frombuffer(contents["train.bin"], np.uint8)
    fine, coarse = (contents[name].decode("ascii", "replace").split() for name in _FILES[1:])
    raise_problems(_damage(path, records, fine, coarse))
    records = records.reshape(-1, _RECORD_BYTES)  # superclass, class, then the red, the green and the blue plane
    images = records[:, 2:].reshape(-1, 3, _SIDE_PX, _SIDE_PX).transpose(0, 2, 3, 1)
    classes = [fine[label] for label in records[:, 1]]
    table = pd.DataFrame(
        {
            "image_id": np.arange(len(records)),
            "contributor": classes,
            "source_item": [f"train/{row}" for row in range(len(records))],
            "fine_label": classes,
            "superclass": [coarse[label] for label in records[:, 0]],
        }
    )
    credits_table = pd.DataFrame([{"contributor": None, "licence": "", "credit": _CREDIT}])
    text = f"# Credits\n\n{_CREDIT}. The page of the data set names no licence.\n"
    return SourceData(fit_arrays(images, config), table, credits_table, text, label_column="fine_label")


def _read(path: Path) -> dict[str, bytes]:
    """The three files, from an archive (nothing is unpacked to the disk) or a folder."""
    if path.is_dir():
        folder = path / _FOLDER if (path / _FOLDER).is_dir() else path
        return {name: (folder / name).read_bytes() for name in _FILES}
    with tarfile.open(path) as archive:
        return {name: _member(archive, f"{_FOLDER}/{name}") for name in _FILES}


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise KeyError(f"{name} is no file")
    with file:
        return file.read()


def _damage(path: Path, records: np.ndarray, fine: list[str], coarse: list[str]) -> list[Problem]:
    """What does not fit together."""
    labels = records[: len(records) // _RECORD_BYTES * _RECORD_BYTES].reshape(-1, _RECORD_BYTES)[:, :2]
    checks: dict[str, Callable[[], bool]] = {
        f"whole records of {_RECORD_BYTES} bytes": lambda: len(records) > 0 and len(records) % _RECORD_BYTES == 0,
        f"{_N_FINE} class names": lambda: len(set(fine)) == _N_FINE,
        f"{_N_COARSE} superclass names": lambda: len(set(coarse)) == _N_COARSE,
        "labels with a name": lambda: bool((labels < (_N_COARSE, _N_FINE)).all()),
    }
    got = f"{len(records)} bytes, {len(set(fine))} and {len(set(coarse))} names"
    return [Problem(str(path.absolute()), what, got, _HOW_TO_GET) for what, is_fine in checks.items() if not is_fine()]
