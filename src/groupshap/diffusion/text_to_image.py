"""What text-to-image families share: latents of a frozen autoencoder, token numbers of prompts, guidance.

Images become latents and prompts become token numbers once per run; what the network makes of token numbers is the
family's.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

from groupshap.diffusion.autoencoder_folder import AutoencoderFolder
from groupshap.diffusion.base import Encoded, ImageShape
from groupshap.diffusion.frozen_autoencoder import FrozenAutoencoder
from groupshap.diffusion.text_parts import Tokens
from groupshap.errors import UserError
from groupshap.images import ImageArray

__all__ = ["ImageSizeError", "MissingPromptsError", "TextToImage"]


class MissingPromptsError(UserError, ValueError):
    """A model with prompts, and none given."""


class ImageSizeError(UserError, ValueError):
    """Images that do not fit a model."""


class TextToImage:
    """Latents under prompts, as every family of this kind sees them.

    Args:
        autoencoder: Folder of the frozen one.
        sha256: Of the folder that it belongs to, so that a changed one is read again.
        tokens: Makes token numbers of prompts.
        image_shape: (channels, height, width) of the images.
        n_halvings: How often the denoiser halves the side of a latent.

    Raises:
        ImageSizeError: the images do not fit autoencoder and denoiser.
    """

    def __init__(
        self, autoencoder: AutoencoderFolder, sha256: str, tokens: Tokens, image_shape: ImageShape, n_halvings: int
    ) -> None:
        self._autoencoder, self._tokens = FrozenAutoencoder(autoencoder, sha256), tokens
        channels, height, width = image_shape
        multiple = autoencoder.downscale * 2**n_halvings
        if channels != autoencoder.n_image_channels or height % multiple or width % multiple:
            raise ImageSizeError(
                f"This text-to-image model needs images of {autoencoder.n_image_channels} channels whose sides are "
                f"multiples of {multiple} pixels, got {channels} channels and {width} x {height}. Change "
                "`data_grouping.channels` or `data_grouping.image_size`."
            )
        self._sample_shape = autoencoder.latent_shape(image_shape)

    @property
    def sample_shape(self) -> ImageShape:
        """Shape of one latent."""
        return self._sample_shape

    def trainable(self, model: nn.Module) -> list[nn.Parameter]:
        """What is not frozen, in the order of the layers."""
        return [parameter for parameter in model.parameters() if parameter.requires_grad]

    def encode(
        self, images: ImageArray, prompts: Sequence[str] | None = None, *, device: torch.device | None = None
    ) -> Encoded:
        """Scaled latents (modes of the posterior), and (n, n_tokens) int64 token numbers.

        Raises:
            MissingPromptsError: no prompts.
        """
        conditions = self.conditions_for(prompts)
        return Encoded(self._autoencoder.encode(images, device), conditions)

    def conditions_for(self, prompts: Sequence[str] | None) -> Tensor:
        """(n, n_tokens) int64 token numbers.

        Raises:
            MissingPromptsError: no prompts.
        """
        if prompts is None:
            raise MissingPromptsError(
                "A text-to-image model needs prompts, got none: set `data_grouping.prompt`, what each image shows (for "
                'example "a picture by {contributor}"), and `property_eval.prompts`, what is generated.'
            )
        return self._tokens(prompts)

    def predict(
        self,
        model: nn.Module,
        noisy: Tensor,
        timesteps: Tensor,
        conditions: Tensor | None,
        guidance_scale: float = 1.0,
    ) -> Tensor:
        """The noise, or v; with guidance moved away from the prediction for the empty prompt.

        Classifier-free guidance (Ho & Salimans 2021, eq. 6; guidance_scale is their 1 + w).
        """
        if conditions is None:
            conditions = self.conditions_for(None)
        prompted = self._denoised(model, noisy, timesteps, conditions)
        if guidance_scale == 1:
            return prompted
        unprompted = self._denoised(model, noisy, timesteps, self._no_prompt.to(noisy.device).expand(len(noisy), -1))
        return unprompted + guidance_scale * (prompted - unprompted)

    def _denoised(self, model: nn.Module, noisy: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        """The network's output under (n, n_tokens) int64 token numbers."""
        raise NotImplementedError

    @cached_property
    def _no_prompt(self) -> Tensor:
        """(1, n_tokens) int64."""
        return self._tokens([""])

    def decode(self, samples: Tensor) -> ImageArray:
        """Scaled latents to pixels in [0, 255]."""
        return self._autoencoder.decode(samples)
