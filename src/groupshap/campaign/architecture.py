"""How large the configured models are and what they cost, known before any of them is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from groupshap.campaign.start import is_plain
from groupshap.diffusion.config import ModelConfig
from groupshap.diffusion.pipeline_folder import autoencoder_in, local_folder, read_pipeline
from groupshap.pruning.config import PruningConfig
from groupshap.store import FileRef
from groupshap.tasks.config import BaseTrainingConfig, PruningStageConfig

__all__ = ["ModelSize", "model_sizes", "stored_sizes"]

_PARAMETER_BYTES = 4  # float32, in the file and in memory
_N_TRAINING_COPIES = 5  # weights, gradients, two moments, moving average
_FLOP_PER_MAC = 2
_PASSES_OF_A_STEP = 3  # forward, and backward for the inputs and for the weights (Kaplan et al. 2020, sec. 2.1)
_PROCESS_BYTES = 500 * 2**20  # a Python with torch and diffusers, measured


@dataclass(frozen=True)
class ModelSize:
    """What a denoiser takes; see ``groupshap.pruning.cost``.

    Attributes:
        n_parameters: Numbers in weights and biases.
        n_macs: Multiply-accumulates of one forward pass of one image.
        n_activations: Numbers that such a pass keeps for the backward pass, about.
    """

    n_parameters: int
    n_macs: int
    n_activations: int

    @property
    def weights_bytes(self) -> int:
        """Of the file of weights."""
        return _PARAMETER_BYTES * self.n_parameters

    def training_flop(self, n_images: float) -> float:
        """Floating-point operations of training on so many images, counted once per step."""
        return _FLOP_PER_MAC * _PASSES_OF_A_STEP * self.n_macs * n_images

    def sampling_flop(self, n_images: int, n_steps: int) -> float:
        """Floating-point operations of generating images."""
        return float(_FLOP_PER_MAC * self.n_macs * n_images * n_steps)

    def training_bytes(self, batch_size: int, activation_bytes: int = 4) -> int:
        """Peak memory of a training: five copies of the weights, the activations of a batch, the process itself."""
        copies = _N_TRAINING_COPIES * self.weights_bytes
        return copies + activation_bytes * self.n_activations * batch_size + _PROCESS_BYTES


def model_sizes(
    base: BaseTrainingConfig,
    pruning: PruningStageConfig,
    image_shape: tuple[int, int, int],
    latent_shape: tuple[int, int, int] | None = None,
) -> tuple[ModelSize, ModelSize] | None:
    """Of the dense and the pruned model, built from their configuration and thrown away.

    Which channels go depends on weights, how many on the configuration alone.

    Args:
        base: Architecture.
        pruning: How much is removed.
        image_shape: (channels, height, width) of the images.
        latent_shape: The same of the latents of a pretrained autoencoder that is not on this machine; None: unknown.

    Returns:
        None where the network is not known: another family, or a pretrained folder that is not on this machine.
    """
    from groupshap.diffusion.denoiser import UNetDenoiser  # noqa: PLC0415 - imports torch
    from groupshap.pruning.channels import prune_channels  # noqa: PLC0415 - imports torch

    network = _network(base, image_shape, latent_shape)
    if network is None:
        return None
    dense = UNetDenoiser(*network, clips_sample=True).initialise(0)
    settings = PruningConfig(fraction_removed=pruning.fraction_removed, criterion="magnitude")
    pruned, _, _ = prune_channels(dense, settings)
    return _size(dense), _size(pruned)


def stored_sizes(
    base: BaseTrainingConfig, image_shape: tuple[int, int, int], base_model: FileRef, pruned_model: FileRef
) -> tuple[ModelSize, ModelSize] | None:
    """Of the stored dense and pruned model; None if they are of another configuration."""
    from diffusers import UNet2DModel  # noqa: PLC0415 - heavy

    from groupshap.model_file import read_description  # noqa: PLC0415 - imports torch

    descriptions = [read_description(file.path) for file in (base_model, pruned_model)]
    if any(known.image_shape != image_shape for known in descriptions):
        return None
    if is_plain(base) and any(known.config != base.model for known in descriptions):
        return None
    models = [known.initialise(0) for known in descriptions]
    if not all(isinstance(model, UNet2DModel) for model in models):
        return None
    return _size(models[0]), _size(models[1])


def _network(
    base: BaseTrainingConfig, image_shape: tuple[int, int, int], latent_shape: tuple[int, int, int] | None
) -> tuple[ModelConfig, tuple[int, int, int]] | None:
    """The denoiser's configuration and the shape of its samples, as far as configurations here tell."""
    if base.model.takes_prompts:
        return None
    if base.pretrained is not None:
        folder = local_folder(base.pretrained)
        pipeline = read_pipeline(folder) if folder else None
        return (pipeline.model_config(), pipeline.sample_shape) if pipeline else None
    if base.model.family == "ddpm":
        return base.model, image_shape
    if base.autoencoder.pretrained is None:
        _, height, width = image_shape
        downscale = base.autoencoder.downscale
        return base.model, (base.autoencoder.latent_channels, height // downscale, width // downscale)
    folder = local_folder(base.autoencoder.pretrained)
    shape = autoencoder_in(folder).latent_shape(image_shape) if folder else latent_shape
    return (base.model, shape) if shape else None


def _size(model: Any) -> ModelSize:
    from groupshap.pruning.cost import count_activations, count_macs, count_parameters  # noqa: PLC0415 - imports torch

    return ModelSize(count_parameters(model), count_macs(model), count_activations(model))
