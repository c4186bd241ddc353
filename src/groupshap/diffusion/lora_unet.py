"""A frozen text-to-image U-Net with low-rank adapters on its attention: peft's layers, our own idea of what is stored.

The adapters alone are its ``state_dict``: the model file of a coalition holds megabytes, not the gigabytes of the base.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from groupshap.diffusion.adapters import AdapterPair, MissingPeftError

__all__ = ["TARGETS", "AdaptedUNet"]

TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
"""Layers of every attention block that get an adapter: the choice of Lu et al. (2025)."""

_NAME = "default"  # peft can hold several adapters per layer; ours has one


class AdaptedUNet(nn.Module):
    """A U-Net whose weights are frozen, and its adapters, which are trained.

    Args:
        unet: The base; the adapters are built into it.
        rank: Of every adapter. Down halves are drawn from torch's global generator, up halves are zero, so the outputs
            are the base's until the adapters are trained.

    Raises:
        MissingPeftError: the extra ``text`` is not installed.
        ValueError: a U-Net without attention.
    """

    def __init__(self, unet: UNet2DConditionModel, rank: int) -> None:
        super().__init__()
        self.unet = unet.requires_grad_(False)
        endings = tuple(f".{target}" for target in TARGETS)
        layers = [name for name, _ in unet.named_modules() if name.endswith(endings)]
        if not layers:
            raise ValueError("Expected a U-Net with attention, whose layers could get adapters; this one has none.")
        self._add(dict.fromkeys(layers, rank), dict.fromkeys(layers, float(rank)))

    def forward(self, noisy: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
        """The U-Net's output, computed in the base's dtype (the adapters' part in float32).

        Args:
            noisy: (n, channels, height, width) float32.
            timesteps: (n,) int64.
            text: (n, n_tokens, width) float32, embeddings of the prompts.

        Returns:
            (n, channels, height, width) float32.
        """
        dtype = self.unet.conv_in.weight.dtype
        return self.unet(noisy.to(dtype), timesteps, text.to(dtype), return_dict=False)[0].float()

    @property
    def adapters(self) -> dict[str, AdapterPair]:
        """Layer to its adapter, in the order of the layers; the tensors are the parameters themselves."""
        return {
            name: AdapterPair(layer.lora_A[_NAME].weight, layer.lora_B[_NAME].weight, float(layer.lora_alpha[_NAME]))
            for name, layer in self.unet.named_modules()
            if hasattr(layer, "lora_A")
        }

    def set_adapters(self, adapters: Mapping[str, AdapterPair]) -> None:
        """Put others in their place, perhaps of other ranks.

        Raises:
            ValueError: not exactly one for each adapted layer.
        """
        own = self.adapters
        if adapters.keys() != own.keys():
            differing = sorted(adapters.keys() ^ own.keys())
            raise ValueError(
                f"Expected one adapter for each of {len(own)} layers; missing or unknown: {differing[:5]}."
            )
        self.unet.delete_adapters(_NAME)
        with torch.random.fork_rng(devices=[]):  # what is drawn is overwritten
            ranks = {layer: adapters[layer].rank for layer in own}
            self._add(ranks, {layer: adapters[layer].alpha for layer in own})
        self.load_state_dict({name: tensor for layer in own for name, tensor in _halves(layer, adapters[layer])})

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """The adapters alone, named as diffusers and peft name them in files."""
        return {name: half.detach() for layer, pair in self.adapters.items() for name, half in _halves(layer, pair)}

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> None:
        """Copy weights into the adapters.

        Raises:
            RuntimeError: missing or unknown weights, or other shapes, that is, other ranks; names some.
        """
        own = self.state_dict()
        wrong = sorted(own.keys() ^ state_dict.keys())
        wrong += [name for name in own.keys() & state_dict.keys() if own[name].shape != state_dict[name].shape]
        if wrong:
            raise RuntimeError(
                f"The weights are not those of this U-Net's adapters; missing, unknown or of another shape: "
                f"{', '.join(wrong[:5])} ({len(wrong)} in all)."
            )
        with torch.no_grad():
            for name, half in own.items():
                half.copy_(state_dict[name])

    def _add(self, ranks: Mapping[str, int], alphas: Mapping[str, float]) -> None:
        """Build fresh adapters into the U-Net: float32, because they are trained, whatever the base's dtype."""
        try:
            from peft import LoraConfig  # noqa: PLC0415 - heavy, an extra
        except ImportError as error:
            raise MissingPeftError('Family `text_lora` needs peft: pip install "groupshap[text]"') from error
        config = LoraConfig(target_modules=list(ranks), rank_pattern=dict(ranks), alpha_pattern=dict(alphas))
        self.unet.add_adapter(config, adapter_name=_NAME)
        for parameter in self.unet.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()


def _halves(layer: str, adapter: AdapterPair) -> list[tuple[str, Tensor]]:
    return [(f"{layer}.lora_A.weight", adapter.down), (f"{layer}.lora_B.weight", adapter.up)]
