from __future__ import annotations

import pytest
import torch
from diffusers import UNet2DModel


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def build():
    """A randomly initialised U-Net, the same for the same seed: ``build(PLAIN, seed=1)``."""

    def make(config: dict, seed: int = 0) -> UNet2DModel:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return UNet2DModel(**config)

    return make
