"""Small images and data sets, written by the tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from groupshap.grouping.assemble import group_images
from groupshap.grouping.config import DataGroupingConfig
from groupshap.grouping.data import GroupedImages
from groupshap.grouping.sources import SOURCES


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def load(cache):
    """Read and group in one step: ``load(source="digits", ...)``."""

    def read(**parameters) -> GroupedImages:
        config = DataGroupingConfig.model_validate(parameters)
        return group_images(SOURCES[config.source](config, cache), config)

    return read


@pytest.fixture
def picture():
    """A random RGB picture of the given size: ``picture(seed, (width, height))``."""

    def draw(seed: int = 0, size: tuple[int, int] = (20, 20)) -> Image.Image:
        rng = np.random.default_rng(seed)
        return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))

    return draw


@pytest.fixture
def folder(tmp_path: Path, picture) -> Path:
    """Two contributors with three images each: alice and bob."""
    root = tmp_path / "photos"
    for index, name in enumerate(("alice", "bob")):
        (root / name).mkdir(parents=True)
        for number in range(3):
            picture(10 * index + number).save(root / name / f"{number}.png")
    return root
