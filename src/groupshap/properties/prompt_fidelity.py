"""Prompt fidelity: are generated images recognisable as what their prompts asked for? Higher is better.

The share of generated images whose features are nearer to the real images with the same prompt than to those with any
other prompt: features are brought to length 1, and the real images of a prompt stand for it by their mean. Chance is
one over the number of prompts. It needs no text-image network, so it works where CLIP does not: on prompts that a small
model of one's own was taught. It is the accuracy of a classifier, and no better than that classifier: on the emoji of
the rehearsal the same rule recognises 53 % of held-out real images (6 prompts, mean over prompts).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from groupshap.images import ImageArray
from groupshap.properties.about import as_array, from_array
from groupshap.properties.errors import PropertyError
from groupshap.properties.features import FeatureExtractor, normalised

if TYPE_CHECKING:
    import pandas as pd

    from groupshap.properties.request import Request

__all__ = ["PROMPT_COLUMN", "PromptFidelity", "share_at_own_prompt"]

FloatArray = npt.NDArray[np.float64]

PROMPT_COLUMN = "prompt"
"""Column of the image table with what each real image shows, see ``data_grouping.prompt``."""


def share_at_own_prompt(features: FloatArray, own: npt.NDArray[np.int64], means: FloatArray) -> float:
    """Share in [0, 1] of rows whose nearest mean is that of their own prompt.

    Args:
        features: (n, d), of length 1.
        own: (n,) rows of ``means``.
        means: (n_prompts, d), of length 1. Of equally near ones the first counts.
    """
    return float(np.mean(np.argmax(features @ means.T, axis=1) == own))


class PromptFidelity:
    """See the module."""

    name = "prompt_fidelity"
    higher_is_better = True
    needs_prompts = True

    def __init__(self, extractor: FeatureExtractor) -> None:
        self.extractor = extractor

    @classmethod
    def from_request(cls, request: Request) -> Self:
        """Build on the extractor that all properties on these features share."""
        return cls(request.extractor)

    def fit(self, images: ImageArray, image_table: pd.DataFrame) -> dict[str, npt.NDArray[Any]]:
        """Learn what real images of each prompt look like from images, uint8 NCHW, and their table.

        Raises:
            PropertyError: no prompts, or only one.
        """
        problems = self.table_problems(image_table)
        if problems:
            raise PropertyError("; ".join(problems) + ".")
        prompts, codes = np.unique(image_table[PROMPT_COLUMN].astype(str), return_inverse=True)
        features = normalised(self.extractor(images).features)
        means = np.stack([features[codes == code].mean(axis=0) for code in range(len(prompts))])
        return {"means": normalised(means), "prompts": as_array(prompts.tolist())}

    def table_problems(self, image_table: pd.DataFrame) -> list[str]:
        """What the image table lacks."""
        if PROMPT_COLUMN not in image_table:
            return [f"property '{self.name}' needs the images' prompts: set `data_grouping.prompt`"]
        if image_table[PROMPT_COLUMN].nunique() < 2:
            return [f"property '{self.name}' needs images of at least two prompts, got one for all images"]
        return []

    def prompt_problems(self, image_table: pd.DataFrame, prompts: Sequence[str]) -> list[str]:
        """Which prompts have no real images to compare with; empty if all is well."""
        known = sorted(set(image_table[PROMPT_COLUMN].astype(str))) if PROMPT_COLUMN in image_table else []
        unknown = [prompt for prompt in prompts if prompt not in known]
        if known and not unknown:
            return []
        return [
            f"`property_eval.prompts` has {unknown}, of which there are no real images to compare with: property "
            f"{self.name} expects some of {known[:20]}, which `data_grouping.prompt` makes."
        ]

    def restore(self, state: dict[str, npt.NDArray[Any]]) -> None:
        """Take what ``fit`` returned."""
        self._means = state["means"]
        self._prompts: list[str] = from_array(state["prompts"])

    def describe(self) -> str:
        """What it compares with."""
        return f"{len(self._prompts)} prompts with real images, chance {1 / len(self._prompts):.1%}"

    def __call__(self, images: ImageArray, prompts: Sequence[str]) -> float:
        """Share in [0, 1] of images, uint8 NCHW in [0, 255], that are nearest to real images of their own prompt.

        Raises:
            PropertyError: a prompt of which there are no real images.
        """
        unknown = sorted(set(prompts) - set(self._prompts))
        if unknown or len(prompts) != len(images):
            raise PropertyError(
                f"property '{self.name}' needs one prompt per image, and real images of each: got {len(prompts)} for "
                f"{len(images)} images; no real images of {unknown or 'none'}. `property_eval.prompts` must be among "
                f"the prompts that `data_grouping.prompt` makes, such as {self._prompts[:3]}."
            )
        own = np.array([self._prompts.index(prompt) for prompt in prompts], dtype=np.int64)
        return share_at_own_prompt(normalised(self.extractor(images).features), own, self._means)
