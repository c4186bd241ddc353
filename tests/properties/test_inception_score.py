from __future__ import annotations

import numpy as np
import pytest

from groupshap.properties.inception_score import InceptionScore, inception_score


def test_closed_forms():
    one_hot = np.eye(7)
    assert inception_score(np.full((5, 8), 1 / 8)) == pytest.approx(1)
    assert inception_score(np.tile(one_hot[0], (5, 1))) == pytest.approx(1)  # sure, but always the same class
    assert inception_score(np.tile(one_hot, (3, 1))) == pytest.approx(7)
    # half the images sure of one class, half of another or, equally likely, a third: H(p(y)) - mean H(p(y|x))
    mixed = np.repeat([[1, 0, 0], [0, 0.5, 0.5]], 4, axis=0)
    assert inception_score(mixed) == pytest.approx(np.exp(1.5 * np.log(2) - 0.5 * np.log(2)))


def test_varied_images_score_higher(extractor, digits):
    images, _ = digits
    score = InceptionScore(extractor)
    assert score(np.tile(images[:1], (20, 1, 1, 1))) == pytest.approx(1)
    assert 1 < score(images[:20]) <= 20
