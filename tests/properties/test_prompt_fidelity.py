"""Prompt fidelity against a hand-made case: colours as prompts, features as the colours' means."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from groupshap.properties.errors import PropertyError
from groupshap.properties.prompt_fidelity import PromptFidelity


def plain(*colours):
    return np.array(colours, dtype=np.uint8)[:, :, None, None] * np.ones((1, 1, 2, 2), dtype=np.uint8)


class MeanColour:
    """An extractor whose features are the mean colour: the answer can be seen."""

    def __call__(self, images):
        return SimpleNamespace(features=images.mean(axis=(2, 3)))


@pytest.fixture
def fitted():
    built = PromptFidelity(MeanColour())
    real = plain((200, 0, 0), (100, 10, 0), (0, 0, 90), (0, 40, 90))
    state = built.fit(real, pd.DataFrame({"prompt": ["red", "red", "blue", "blue"]}))
    other = PromptFidelity(MeanColour())
    other.restore(state)
    return other


def test_it_is_the_share_of_images_nearest_to_real_ones_of_their_own_prompt(fitted):
    generated = plain((30, 0, 0), (0, 0, 255), (250, 20, 0), (10, 0, 60))
    assert fitted(generated, ["red", "blue", "red", "blue"]) == 1
    assert fitted(generated, ["red", "red", "red", "red"]) == 0.5
    assert fitted(generated, ["blue", "red", "blue", "red"]) == 0, "brightness plays no part"
    assert fitted.describe() == "2 prompts with real images, chance 50.0%"


def test_prompts_without_real_images_are_refused(fitted):
    with pytest.raises(PropertyError, match=r"no real images of \['green'\].*such as \['blue', 'red'\]"):
        fitted(plain((0, 255, 0)), ["green"])
    with pytest.raises(PropertyError, match="got 1 for 2 images"):
        fitted(plain((0, 255, 0), (0, 255, 0)), ["red"])
    table = pd.DataFrame({"contributor": ["a"]})
    with pytest.raises(PropertyError, match=r"set `data_grouping.prompt`"):
        PromptFidelity(MeanColour()).fit(plain((0, 0, 0)), table)
    assert "at least two prompts" in PromptFidelity(MeanColour()).table_problems(table.assign(prompt="x"))[0]
