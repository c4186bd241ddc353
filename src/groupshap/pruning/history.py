"""The pruning history: which channels each layer lost, as plain data, and how to apply it to a fresh model.

A pruned checkpoint is the U-Net's config, this history and the weights; nothing is pickled and nothing is traced. The
entries hold the outcome for every layer, so a history does not depend on the version of torch-pruning that found it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self, TypeAlias

import torch
from diffusers import UNet2DModel
from diffusers.models.attention_processor import Attention
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator
from torch import nn

from groupshap.pruning.cost import example_inputs

__all__ = ["LayerPruning", "PruningHistory", "Side", "apply_prunings", "replay_history"]

PruningHistory: TypeAlias = list[dict[str, Any]]
"""One :class:`LayerPruning` as a JSON dict for every side of a layer that lost channels; empty if nothing did."""

Side: TypeAlias = Literal["in", "out"]

_N_NAMED = 5

# What a layer's side is called, and along which axis of which tensor its channels lie.
_SIDES: dict[tuple[type[nn.Module], Side], tuple[str, dict[str, int]]] = {
    (nn.Conv2d, "out"): ("out_channels", {"weight": 0, "bias": 0}),
    (nn.Conv2d, "in"): ("in_channels", {"weight": 1}),
    (nn.Linear, "out"): ("out_features", {"weight": 0, "bias": 0}),
    (nn.Linear, "in"): ("in_features", {"weight": 1}),
    (nn.GroupNorm, "out"): ("num_channels", {"weight": 0, "bias": 0}),
}


class LayerPruning(BaseModel):
    """The channels that one side of one layer lost."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    layer: str = Field(description="Dotted name within the model.")
    side: Side = Field(description="out: what the layer gives; in: what it takes. Norms have `out` only.")
    n_channels: int = Field(ge=1, description="Channels of that side before pruning.")
    removed: Annotated[list[int], Field(min_length=1)] = Field(description="Indices of the lost ones, ascending.")

    @model_validator(mode="after")
    def _removed_are_channels(self) -> Self:
        ascending = all(low < high for low, high in zip(self.removed, self.removed[1:], strict=False))
        if not ascending or self.removed[0] < 0 or self.removed[-1] >= self.n_channels:
            raise ValueError(f"`removed` must be ascending indices in [0, {self.n_channels}), got {self.removed}")
        if len(self.removed) == self.n_channels:
            raise ValueError(f"all {self.n_channels} channels of `{self.layer}` would go; at least one must stay")
        return self


def replay_history(model: UNet2DModel, history: Iterable[Mapping[str, Any]]) -> UNet2DModel:
    """Prune a freshly built model as another one of the same config was pruned, in place.

    Works for trained weights, for random ones (the model behind the empty coalition), and before ``load_state_dict``,
    which then gives bit-equal outputs. ``model.config`` keeps describing the unpruned architecture.

    Args:
        model: As built by ``UNet2DModel.from_config``; nothing is changed if the history does not fit.
        history: From :func:`groupshap.pruning.channels.prune_channels`, also after a round trip through JSON.

    Returns:
        The same model.

    Raises:
        ValueError: the history is damaged, or belongs to another architecture, or the model is pruned already; the
            message names the layers.
    """
    # A pydantic ValidationError is a ValueError that names entry and field.
    prunings = TypeAdapter(list[LayerPruning]).validate_python(list(history))
    layers = dict(model.named_modules())
    problems = [problem for pruning in prunings if (problem := _misfit(pruning, layers.get(pruning.layer)))]
    if len({(pruning.layer, pruning.side) for pruning in prunings}) < len(prunings):
        problems.append("a layer's side occurs twice")
    if problems:
        raise _misfit_error(problems)
    if prunings:
        _check_layers_stay_coupled(model, prunings)
        apply_prunings(model, prunings)
    return model


def _misfit_error(problems: list[str]) -> ValueError:
    more = f"; and {len(problems) - _N_NAMED} more" if len(problems) > _N_NAMED else ""
    return ValueError(
        f"The pruning history does not fit this model: {'; '.join(problems[:_N_NAMED])}{more}. Expected a model "
        "freshly built from the config that is stored beside the history, and not pruned yet."
    )


def _side_of(layer: nn.Module, side: Side) -> tuple[str, dict[str, int]] | None:
    """The entry of ``_SIDES`` for a layer, or None for a layer that has no such side."""
    found = [entry for (kind, name), entry in _SIDES.items() if name == side and isinstance(layer, kind)]
    return found[0] if found else None


def _misfit(pruning: LayerPruning, layer: nn.Module | None) -> str | None:
    """Why an entry cannot be applied to a layer, or None."""
    if layer is None:
        return f"the model has no layer `{pruning.layer}`"
    entry = _side_of(layer, pruning.side)
    if entry is None:
        return f"`{pruning.layer}` is a {type(layer).__name__} without prunable side `{pruning.side}`"
    n_channels = getattr(layer, entry[0])
    if n_channels != pruning.n_channels:
        return f"`{pruning.layer}.{entry[0]}` is {n_channels}, expected {pruning.n_channels}"
    n_kept = n_channels - len(pruning.removed)
    if isinstance(layer, nn.GroupNorm) and n_kept % layer.num_groups:
        return f"`{pruning.layer}` would keep {n_kept} channels, no multiple of its {layer.num_groups} groups"
    return None


def _check_layers_stay_coupled(model: UNet2DModel, prunings: list[LayerPruning]) -> None:
    """Rehearse on PyTorch's meta device (shapes only, 50 ms), so that a misfit leaves the model as it is."""
    with torch.device("meta"):
        rehearsal = UNet2DModel.from_config(model.config)
    apply_prunings(rehearsal, prunings)
    try:
        with torch.no_grad():
            rehearsal(**example_inputs(rehearsal))
    except (RuntimeError, AssertionError) as error:  # what PyTorch and diffusers raise for shapes that do not match
        raise _misfit_error([f"the pruned layers would not fit together ({error})"]) from error


def apply_prunings(model: UNet2DModel, prunings: Iterable[LayerPruning]) -> None:
    """Prune a model in place, without the checks of :func:`replay_history`."""
    layers = dict(model.named_modules())
    for pruning in prunings:
        _remove(layers[pruning.layer], pruning)
    _assign_channel_attributes(model)


def _remove(layer: nn.Module, pruning: LayerPruning) -> None:
    """Cut the removed channels out of one side of a layer."""
    attribute, axes = _side_of(layer, pruning.side)
    removed = set(pruning.removed)
    kept = torch.tensor([index for index in range(pruning.n_channels) if index not in removed])
    for name, axis in axes.items():
        old = getattr(layer, name)
        if old is not None:
            new = old.detach().index_select(axis, kept.to(old.device))
            setattr(layer, name, nn.Parameter(new, requires_grad=old.requires_grad))
    setattr(layer, attribute, len(kept))


def _assign_channel_attributes(model: UNet2DModel) -> None:
    """Let the numbers that diffusers' blocks keep beside their layers follow the layers.

    Up- and downsamplers assert on theirs in ``forward``; Diff-Pruning's code compares here instead of assigning.
    """
    for module in model.modules():
        if isinstance(module, Upsample2D | Downsample2D) and module.use_conv:
            module.channels, module.out_channels = module.conv.in_channels, module.conv.out_channels
        elif isinstance(module, ResnetBlock2D):
            module.in_channels, module.out_channels = module.conv1.in_channels, module.conv2.out_channels
            for resampler in (module.upsample, module.downsample):  # without a convolution of their own
                if isinstance(resampler, Upsample2D | Downsample2D):
                    resampler.channels = resampler.out_channels = module.conv1.in_channels
        elif isinstance(module, Attention):
            _assign_attention_attributes(module)


def _assign_attention_attributes(attention: Attention) -> None:
    """The number of heads stays; each head has become narrower, and the softmax's scale goes with its width."""
    attention.query_dim = attention.to_q.in_features
    attention.cross_attention_dim = attention.to_k.in_features
    attention.inner_dim = attention.to_q.out_features
    attention.inner_kv_dim = attention.to_k.out_features
    attention.out_dim = attention.out_context_dim = attention.to_out[0].out_features
    if attention.scale_qk:
        attention.scale = (attention.inner_dim // attention.heads) ** -0.5
