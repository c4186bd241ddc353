"""Channel pruning of diffusers U-Nets: which channels go, in one step, and the smaller copy.

Layers that share a channel (through residual sums, skip connections, norms, attention) lose it together;
torch-pruning's dependency graph finds these coupled sets and measures their channels. What differs from its own pruner:
the share is rounded down, not up, so never more than asked is removed; norms with few channels per group make this
matter (of 4 channels, a nominal 30 % is 1, not 2). And channels are chosen in every norm group or head by itself.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch_pruning as tp
from diffusers import UNet2DModel
from diffusers.models.attention_processor import Attention
from torch import nn

from groupshap.pruning.config import PruningConfig, PruningReport
from groupshap.pruning.cost import build_report, example_inputs
from groupshap.pruning.history import LayerPruning, PruningHistory, Side, apply_prunings, replay_history
from groupshap.pruning.importance import ChannelImportance, GradientStep, accumulate_gradients, channel_importance

__all__ = ["GradientStep", "PruningHistory", "prune_channels", "replay_history"]

logger = logging.getLogger(__name__)

# Blocks that call their layers as modules: what the dependency graph cannot see, it cannot prune.
PRUNABLE_BLOCKS = (
    "DownBlock2D",
    "AttnDownBlock2D",
    "ResnetDownsampleBlock2D",
    "UpBlock2D",
    "AttnUpBlock2D",
    "ResnetUpsampleBlock2D",
)


def prune_channels(
    model: UNet2DModel,
    config: PruningConfig,
    gradients: GradientStep | None = None,
    *,
    n_timesteps: int = 1000,
) -> tuple[UNet2DModel, PruningHistory, PruningReport]:
    """Remove the least important channels of a U-Net; the given model stays as it is.

    Every coupled set of layers loses the same nominal share of its channels (local pruning); ``conv_out`` keeps its
    outputs, attention its number of heads, norms their number of groups. Same inputs, same result, bit for bit.

    Args:
        model: Trained or not; must have the architecture of its config, that is, not be pruned already.
        config: Share and criterion; a share of 0 gives an unpruned copy and an empty history.
        gradients: The loss for `taylor` and `diff_pruning`; called on a float32 copy of the model in eval mode.
        n_timesteps: Steps of the noise schedule behind ``gradients``, at least 1.

    Returns:
        The pruned copy, the history for :func:`replay_history`, and the report. Where norms leave little or nothing to
        prune, the report says so and a WARNING is logged.

    Raises:
        TypeError: no ``UNet2DModel``.
        ValueError: an architecture that cannot be pruned, missing or unusable ``gradients``, weights that are not
            finite.
    """
    if not isinstance(model, UNet2DModel):
        raise TypeError(f"`model` must be a diffusers.UNet2DModel, got {type(model).__name__}.")
    _check_prunable(model)
    prunings = _plan(model, config, gradients, n_timesteps) if config.fraction_removed > 0 else []
    pruned = copy.deepcopy(model)
    apply_prunings(pruned, prunings)
    report = build_report(model, pruned, config)
    _log(report)
    return pruned, [pruning.model_dump(mode="json") for pruning in prunings], report


def _check_prunable(model: UNet2DModel) -> None:
    """Refuse what would be pruned wrongly; all problems in one message."""
    config = model.config
    problems = []
    if config.sample_size is None:
        problems.append("its config has no `sample_size`, which sizes the example image")
    unknown = sorted({*config.down_block_types, *config.up_block_types} - set(PRUNABLE_BLOCKS))
    if unknown:
        problems.append(f"blocks {unknown} are not among the prunable {list(PRUNABLE_BLOCKS)}")
    if config.resnet_time_scale_shift != "default":
        problems.append(f"`resnet_time_scale_shift` is {config.resnet_time_scale_shift!r}, expected 'default'")
    if config.class_embed_type is not None or config.num_class_embeds is not None:
        problems.append("it is class-conditional, which is not supported")
    changed = _layers_unlike_config(model)
    if changed:
        problems.append(
            f"{len(changed)} tensors do not have the shape that its config gives, for example `{changed[0]}`: "
            "it is pruned already; prune the original"
        )
    if problems:
        raise ValueError(f"This U-Net cannot be pruned: {'; '.join(problems)}.")


def _layers_unlike_config(model: UNet2DModel) -> list[str]:
    """Names of the tensors whose shape is not the one a freshly built model has."""
    with torch.device("meta"):  # shapes only: no memory, no initialisation
        fresh = UNet2DModel.from_config(model.config)
    expected = {name: tensor.shape for name, tensor in fresh.state_dict().items()}
    found = {name: tensor.shape for name, tensor in model.state_dict().items()}
    return sorted(name for name in expected | found if expected.get(name) != found.get(name))


@torch.enable_grad()
def _plan(
    model: UNet2DModel, config: PruningConfig, gradients: GradientStep | None, n_timesteps: int
) -> list[LayerPruning]:
    """Choose the channels; every choice is made on the whole model, nothing is removed yet."""
    scored = copy.deepcopy(model).float().requires_grad_().eval()
    if config.criterion in ("taylor", "diff_pruning"):
        used = accumulate_gradients(scored, config, gradients, n_timesteps)
        logger.info("%s: gradients of %d timesteps, %d to %d", config.criterion, len(used), used[0], used[-1])
    names = {module: name for name, module in scored.named_modules()}
    n_parts = _n_parts_of_layer(scored)
    graph = tp.DependencyGraph().build_dependency(scored, example_inputs(scored), verbose=False)
    removed: dict[tuple[str, Side], set[int]] = {}
    for group in _coupled_sets(graph, scored):
        root = group[0].dep
        importance = channel_importance(group, names[root.target.module], config)
        # A norm group or head must not lose more channels than the others of its layer.
        n_equal_parts = math.lcm(*(n_parts.get(item.dep.target.module, 1) for item in group if _gives(graph, item)))
        chosen = _least_important(importance, config.fraction_removed, n_equal_parts)
        if chosen:
            for item in graph.get_pruning_group(root.target.module, root.handler, chosen):
                layer = item.dep.target.module
                if layer in names:  # the graph's other nodes are sums and concatenations
                    side = "out" if _gives(graph, item) else "in"
                    removed.setdefault((names[layer], side), set()).update(item.idxs)
    return _by_layer(scored, removed)


def _coupled_sets(graph: tp.DependencyGraph, model: UNet2DModel) -> Iterator[tp.dependency.Group]:
    """Every set of layers that must lose channels together, with all their channels."""
    return graph.get_all_groups(ignored_layers=[model.conv_out], root_module_types=[nn.Conv2d, nn.Linear])


def _gives(graph: tp.DependencyGraph, item: Any) -> bool:
    """Whether these are channels that the layer gives: those that a head takes may go anywhere."""
    return graph.is_out_channel_pruning_fn(item.dep.handler)


def _n_parts_of_layer(model: UNet2DModel) -> dict[nn.Module, int]:
    """Into how many equal parts a layer's channels must remain divisible; layers without such a rule are left out."""
    n_parts = {module: module.num_groups for module in model.modules() if isinstance(module, nn.GroupNorm)}
    for attention in model.modules():
        if isinstance(attention, Attention):
            n_parts |= dict.fromkeys((attention.to_q, attention.to_k, attention.to_v), attention.heads)
    return n_parts


def _least_important(importance: ChannelImportance, fraction: float, n_parts: int) -> list[int]:
    """Indices of the channels to remove, ascending: in each of the equal parts the smallest, ties from the first on.

    Empty if a part has too few channels for the fraction, or if the channels cannot be divided.
    """
    n_channels = len(importance)
    if n_channels % n_parts:
        return []
    n_per_part = n_channels // n_parts
    n_removed = math.floor(fraction * n_per_part + 1e-9)  # 0.29 * 100 is 28.999999999999996
    order = np.argsort(importance.reshape(n_parts, n_per_part), axis=1, kind="stable")
    chosen = order[:, :n_removed] + n_per_part * np.arange(n_parts)[:, None]
    return sorted(chosen.ravel().tolist())


def _by_layer(model: UNet2DModel, removed: dict[tuple[str, Side], set[int]]) -> list[LayerPruning]:
    """The removed channels in the order of the model's layers."""
    return [
        LayerPruning(layer=name, side=side, n_channels=_n_channels(layer, side), removed=sorted(removed[name, side]))
        for name, layer in model.named_modules()
        for side in ("in", "out")
        if (name, side) in removed
    ]


def _n_channels(layer: nn.Module, side: Side) -> int:
    """Channels of one side of a convolution, linear layer or norm: the axes of its weight."""
    return layer.weight.shape[0 if side == "out" else 1]


def _log(report: PruningReport) -> None:
    effective, nominal = report.fraction_of_channels_removed, report.fraction_removed
    if effective < nominal / 2:
        logger.warning(
            "Only %.1f %% of the channels were pruned instead of %.1f %%: every norm group and attention head loses "
            "whole channels, rounded down. Use wider blocks, fewer `norm_num_groups` or another fraction.",
            100 * effective,
            100 * nominal,
        )
    logger.info(
        "Pruned %.1f %% of the channels (nominal %.1f %%): parameters %d -> %d, MACs %d -> %d",
        100 * effective,
        100 * nominal,
        report.n_parameters_before,
        report.n_parameters_after,
        report.n_macs_before,
        report.n_macs_after,
    )
