"""Small images for the tests of properties."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

from groupshap.properties.features import FeatureExtractor


@pytest.fixture(scope="session")
def digits():
    """1,797 grey images (n, 1, 8, 8) uint8 and their table with the column ``digit``."""
    data = load_digits()
    images = np.rint(data.images * (255 / 16)).astype(np.uint8)[:, None]
    return images, pd.DataFrame({"digit": data.target})


@pytest.fixture(scope="session")
def extractor():
    """The packaged network at a size that is quick."""
    return FeatureExtractor(image_size_px=32)


@pytest.fixture
def noise():
    """Random images: ``noise(shape)``."""
    return lambda *shape: np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
