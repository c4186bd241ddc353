"""Low-rank adapters (Hu et al. 2022) on every convolution and linear layer of a denoiser, through peft.

They are merged after training, so that a model with a history of adapters is stored and read like any other.
"""

from __future__ import annotations

import torch
from torch import nn

from groupshap.errors import UserError

__all__ = ["MissingPeftError", "merge_adapters", "with_adapters"]


class MissingPeftError(UserError, ImportError):
    """The package peft is not installed."""


def with_adapters(model: nn.Module, rank: int, seed: int) -> nn.Module:
    """The model with frozen weights and fresh adapters; its outputs are unchanged until they are trained.

    Raises:
        MissingPeftError: the extra ``lora`` is not installed.
    """
    try:
        from peft import LoraConfig, get_peft_model  # noqa: PLC0415 - heavy, an extra
    except ImportError as error:
        raise MissingPeftError('Recipe `lora` needs peft: pip install -e ".[lora]"') from error
    layers = [name for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return get_peft_model(model, LoraConfig(r=rank, lora_alpha=rank, target_modules=layers))


def merge_adapters(model: nn.Module) -> nn.Module:
    """The plain model, with the adapters added into its weights."""
    return model.merge_and_unload()
