"""Text-to-image by adapters: a frozen Stable-Diffusion-like model, of which low-rank adapters are trained.

All that is frozen lies in one folder; model files hold the adapters alone (Hu et al. 2022). Fresh adapters change
nothing, so the model behind the empty coalition is the frozen base.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from groupshap.diffusion.autoencoder_folder import read_autoencoder
from groupshap.diffusion.base import ImageShape
from groupshap.diffusion.config import ModelConfig
from groupshap.diffusion.frozen import FrozenParts
from groupshap.diffusion.lora_unet import AdaptedUNet
from groupshap.diffusion.text_parts import (
    TextEncoder,
    TextPartsError,
    check_text_parts,
    n_halvings,
    read_noise,
    read_unet,
)
from groupshap.diffusion.text_to_image import TextToImage

__all__ = ["TextLora"]

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class TextLora(TextToImage):
    """Adapters on the attention of a frozen U-Net, in the latent space of its autoencoder.

    Args:
        config: ``adapter_rank`` and ``base_dtype``; architecture and noise process are the folder's.
        image_shape: (3, height, width), multiples of what autoencoder and U-Net halve.
        frozen: The base, see ``text_parts``.

    Raises:
        TextPartsError: no base, or one that cannot be used.
        ImageSizeError: images that do not fit it.
    """

    pruned_by = "ranks"

    def __init__(self, config: ModelConfig, image_shape: ImageShape, frozen: FrozenParts | None = None) -> None:
        if frozen is None:
            raise TextPartsError(
                "Family `text_lora` needs a frozen base, got none: set `base_training.pretrained` to the folder of a "
                "text-to-image pipeline, or make a small one with `kedro run --pipelines foundation`."
            )
        check_text_parts(frozen.folder)
        self._text = _text_encoder(frozen.folder, frozen.sha256)
        autoencoder = read_autoencoder(frozen.folder / "vae")
        super().__init__(autoencoder, frozen.sha256, self._text.tokens, image_shape, n_halvings(frozen.folder))
        self._folder, self._config = frozen.folder, config
        self.noise = read_noise(frozen.folder)

    def initialise(self, seed: int) -> AdaptedUNet:
        """The frozen base with fresh adapters, which change nothing yet."""
        unet = read_unet(self._folder, _DTYPES[self._config.base_dtype])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return AdaptedUNet(unet, self._config.adapter_rank).train()

    def conditions_for(self, prompts: Sequence[str] | None) -> Tensor:
        """(n, n_tokens) int64 token numbers; their embeddings are computed now, see ``TextEncoder``.

        Raises:
            MissingPromptsError: no prompts.
        """
        tokens = super().conditions_for(prompts)
        self._text.embeddings(tokens)
        return tokens

    def _denoised(self, model: AdaptedUNet, noisy: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        return model(noisy, timesteps, self._text.embeddings(tokens))


@lru_cache(maxsize=1)
def _text_encoder(folder: Path, _sha256: str) -> TextEncoder:
    """Read once per worker, whatever the number of models; it never changes."""
    return TextEncoder.read(folder)
