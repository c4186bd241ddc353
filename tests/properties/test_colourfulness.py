from __future__ import annotations

import numpy as np
import pytest

from groupshap.properties.colourfulness import colourfulness


def test_closed_forms():
    plain = np.zeros((2, 3, 4, 4), dtype=np.uint8)
    plain[:, 0] = 200  # red everywhere: rg = 200, yb = 100, no spread
    assert colourfulness(plain) == pytest.approx(0.3 * np.hypot(200, 100))
    half = plain.copy()
    half[:, :, :2] = 0  # half black: mean and spread are both half
    assert colourfulness(half) == pytest.approx(1.3 * np.hypot(100, 50))
    assert colourfulness(np.concatenate([plain, half])) == pytest.approx(
        (colourfulness(plain) + colourfulness(half)) / 2
    )


def test_grey_has_no_colour(noise):
    grey = noise(2, 1, 4, 4)
    assert colourfulness(grey) == colourfulness(np.repeat(grey, 3, axis=1)) == 0
