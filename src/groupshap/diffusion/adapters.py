"""Low-rank adapters (Hu et al. 2022), through peft: what one is, and recipe ``lora``.

That recipe puts them on every convolution and linear layer of a denoiser and merges them after training, so that a
model with a history of adapters is stored and read like any other. Family ``text_lora`` keeps them apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from groupshap.errors import UserError

__all__ = ["AdapterPair", "MissingPeftError", "merge_adapters", "with_adapters"]


class MissingPeftError(UserError, ImportError):
    """The package peft is not installed."""


@dataclass(frozen=True)
class AdapterPair:
    """The adapter of one linear layer.

    Attributes:
        down: A, (rank, in_features) float.
        up: B, (out_features, rank) float.
        alpha: Scale; the layer adds ``alpha / rank * up @ down`` to its weight.
    """

    down: Tensor
    up: Tensor
    alpha: float

    def __post_init__(self) -> None:
        if self.down.ndim != 2 or self.up.ndim != 2 or self.down.shape[0] != self.up.shape[1] or not self.rank:
            raise ValueError(
                f"Expected `down` (rank, in) and `up` (out, rank) of one rank >= 1, got {tuple(self.down.shape)} and "
                f"{tuple(self.up.shape)}."
            )

    @property
    def rank(self) -> int:
        """Number of rank-one pairs."""
        return self.down.shape[0]

    @property
    def n_per_rank(self) -> int:
        """Numbers that one rank-one pair costs: in + out."""
        return self.down.shape[1] + self.up.shape[0]

    @property
    def n_parameters(self) -> int:
        """Numbers in both halves."""
        return self.rank * self.n_per_rank

    def keep(self, pairs: list[int]) -> AdapterPair:
        """These rank-one pairs alone, each scaled as before: ``alpha`` follows the rank."""
        index = torch.tensor(pairs, device=self.down.device)
        alpha = self.alpha * len(pairs) / self.rank
        return AdapterPair(self.down.index_select(0, index), self.up.index_select(1, index), alpha)


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
