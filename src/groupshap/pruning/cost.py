"""What a U-Net costs: channels, parameters, multiply-accumulates."""

from __future__ import annotations

import copy
import math

import torch
from diffusers import UNet2DModel
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from groupshap.pruning.config import PruningConfig, PruningReport

__all__ = ["build_report", "count_activations", "count_channels", "count_macs", "count_parameters", "example_inputs"]


def example_inputs(model: UNet2DModel) -> dict[str, object]:
    """Keyword arguments of one forward pass of one image, sized by the model's own config.

    The image is float, (1, in_channels, height, width), all zeros: only its shape matters here.
    """
    size = model.config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    sample = torch.zeros(1, model.config.in_channels, height, width, device=model.device, dtype=model.dtype)
    return {"sample": sample, "timestep": torch.zeros(1, dtype=torch.long, device=model.device), "return_dict": False}


def count_channels(model: UNet2DModel) -> int:
    """Output channels of all convolutions and linear layers except ``conv_out``."""
    layers = [layer for layer in model.modules() if layer is not model.conv_out]
    n_convolution = sum(layer.out_channels for layer in layers if isinstance(layer, nn.Conv2d))
    return n_convolution + sum(layer.out_features for layer in layers if isinstance(layer, nn.Linear))


def count_parameters(model: nn.Module) -> int:
    """Numbers in all weights and biases."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(model: UNet2DModel) -> int:
    """Multiply-accumulates of one forward pass of one image; what is counted: see :class:`PruningReport`.

    Runs on a copy on PyTorch's meta device: shapes only, no arithmetic, no random numbers.
    """
    counted = copy.deepcopy(model).to("meta").eval()
    n_macs = 0

    def add_layer(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal n_macs
        n_macs += output.numel() * math.prod(layer.weight.shape[1:])  # each output number is one dot product

    def add_attention(attention: Attention, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal n_macs
        n_tokens = math.prod(inputs[0].shape[2:])  # (1, C, H, W)
        n_macs += 2 * n_tokens**2 * attention.to_q.out_features  # Q Kᵀ, then weights times V

    for module in counted.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(add_layer)
        elif isinstance(module, Attention):
            module.register_forward_hook(add_attention)
    with torch.no_grad():
        counted(**example_inputs(counted))
    return n_macs


def count_activations(model: UNet2DModel) -> int:
    """Numbers that a forward pass of one image keeps for the backward pass: about the outputs of all innermost layers.

    On PyTorch's meta device, as :func:`count_macs`. Sums and reshapes between layers are not counted, layers that keep
    nothing are: an estimate.
    """
    counted = copy.deepcopy(model).to("meta").train()
    n_numbers = 0

    def add_output(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal n_numbers
        n_numbers += output.numel()

    for module in counted.modules():
        if not list(module.children()):
            module.register_forward_hook(add_output)
    with torch.no_grad():
        counted(**example_inputs(counted))
    return n_numbers


def build_report(before: UNet2DModel, after: UNet2DModel, config: PruningConfig) -> PruningReport:
    """Compare a model with its pruned copy."""
    n_parameters = count_parameters(before), count_parameters(after)
    n_macs = count_macs(before), count_macs(after)
    return PruningReport(
        criterion=config.criterion,
        fraction_removed=config.fraction_removed,
        fraction_of_channels_removed=1 - count_channels(after) / count_channels(before),
        n_parameters_before=n_parameters[0],
        n_parameters_after=n_parameters[1],
        fraction_of_parameters_removed=1 - n_parameters[1] / n_parameters[0],
        n_macs_before=n_macs[0],
        n_macs_after=n_macs[1],
        fraction_of_macs_removed=1 - n_macs[1] / n_macs[0],
    )
