"""Prompt score: do generated images show what their prompts say? Higher is better.

CLIPScore: 2.5 max(cos(image, prompt), 0) of CLIP's embeddings, averaged over images (Hessel et al. 2021,
arXiv:2104.08718, section 3), with the prompt as it is, without "A photo depicts". Needs a text-to-image model, whose
prompts are handed over with the images, and the extra ``[metrics]`` for CLIP's tokenizer and text part.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from groupshap.images import ImageArray
from groupshap.properties.errors import PropertyError
from groupshap.properties.extractors import ClipFeatures
from groupshap.properties.features import normalised
from groupshap.store import sha256_of_file

if TYPE_CHECKING:
    from groupshap.properties.request import Request

__all__ = ["PromptScore", "TextEmbedding", "clip_scores"]

_TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"))


def clip_scores(images: npt.NDArray[np.floating], prompts: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """2.5 max(cos, 0), (n,) in [0, 2.5], of embeddings (n, d) of images and of their prompts: Hessel et al. 2021."""
    return 2.5 * np.maximum((normalised(images) * normalised(prompts)).sum(axis=1), 0)


class TextEmbedding:
    """CLIP's embedding (d,) of a text, not normalised, by transformers from a local folder; each text is read once.

    Texts go through one by one, so that an embedding does not depend on the others.

    Args:
        folder: As transformers saves a CLIP model and its tokenizer.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[str, npt.NDArray[np.float32]] = {}

    def problems(self) -> list[str]:
        """What is missing, without loading anything."""
        problems = []
        if find_spec("transformers") is None:
            problems.append("prompt scores need the package transformers: pip install 'groupshap[metrics]'")
        if not self.tokenizer_files() or not (self.folder / "config.json").is_file():
            problems.append(
                "prompt scores need `clip_weights` to be a folder with config.json and a tokenizer (tokenizer.json, or "
                f"vocab.json and merges.txt), as transformers saves CLIP, got {self.folder}"
            )
        return problems

    def tokenizer_files(self) -> list[Path]:
        """Those that are there."""
        complete = [names for names in _TOKENIZERS if all((self.folder / name).is_file() for name in names)]
        return [self.folder / name for names in complete for name in names]

    def __call__(self, text: str) -> npt.NDArray[np.float32]:
        """See the class; longer texts than the model takes are cut off at its end."""
        if text not in self._known:
            import torch  # noqa: PLC0415 - see groupshap.properties.features

            tokenizer, model = self._loaded
            tokens = tokenizer(text, truncation=True, max_length=self._n_tokens_at_most, return_tensors="pt")
            with torch.inference_mode():
                found = model.get_text_features(**tokens)
            # transformers 4 gives the tensor itself.
            self._known[text] = getattr(found, "pooler_output", found)[0].numpy()
        return self._known[text]

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        from transformers import AutoTokenizer, CLIPModel  # noqa: PLC0415 - optional

        local = {"local_files_only": True}
        model = CLIPModel.from_pretrained(self.folder, use_safetensors=True, **local)
        return AutoTokenizer.from_pretrained(self.folder, **local), model.float().eval()

    @property
    def _n_tokens_at_most(self) -> int:
        return self._loaded[1].config.text_config.max_position_embeddings


class PromptScore:
    """See the module."""

    name = "prompt_score_clip"
    higher_is_better = True
    needs_prompts = True

    def __init__(self, extractor: ClipFeatures) -> None:
        self.extractor = extractor
        self._embed = TextEmbedding((extractor.weights or Path()).parent)

    @classmethod
    def from_request(cls, request: Request) -> Self:
        """Build from the extractor that all properties on these features share."""
        return cls(request.extractor)

    @property
    def parameters(self) -> dict[str, Any]:
        """What the score depends on beside the weights."""
        return {"tokenizer_sha256": {file.name: sha256_of_file(file) for file in self._embed.tokenizer_files()}}

    def problems(self) -> list[str]:
        """What is missing for the text part."""
        return [] if self.extractor.problems() else self._embed.problems()

    def __call__(self, images: ImageArray, prompts: Sequence[str]) -> float:
        """Mean score in [0, 2.5] of images, uint8 NCHW in [0, 255], and their prompts, one each."""
        if len(prompts) != len(images):
            raise PropertyError(
                f"property '{self.name}' needs one prompt per image, got {len(prompts)} for {len(images)} images."
            )
        texts = np.stack([self._embed(prompt) for prompt in prompts])
        return float(clip_scores(self.extractor(images).features, texts).mean())
