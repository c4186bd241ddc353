"""How much a channel matters: four criteria on a set of coupled layers.

Choose `magnitude` unless there is a reason not to: it needs no data and no gradients. `taylor` estimates the change of
the loss to first order (Molchanov et al. 2019, eq. 8). `diff_pruning` does the same with the absolute value of every
weight's term and only the timesteps with a large loss (Fang et al. 2023, "Structural Pruning for Diffusion Models").
`random` is the baseline for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
import torch_pruning as tp
from torch import Tensor, nn

from groupshap.pruning.config import PruningConfig
from groupshap.seeds import generator_for

__all__ = ["ChannelImportance", "GradientStep", "accumulate_gradients", "channel_importance"]

GradientStep: TypeAlias = Callable[[nn.Module, int], Tensor]
"""(model, timestep index in [0, n_timesteps)) -> noise-prediction loss on a fixed batch with fixed noise, scalar with
graph. The same images and noise at every call, or the timesteps cannot be compared."""

ChannelImportance: TypeAlias = npt.NDArray[np.float64]
"""(n_channels,) float64, one value for each channel of a coupled set's root layer; the smallest are removed."""

N_TAYLOR_TIMESTEPS = 50


def channel_importance(group: tp.dependency.Group, root_name: str, config: PruningConfig) -> ChannelImportance:
    """Importance of each channel of a coupled set of layers, averaged over its layers.

    Args:
        group: All layers that lose a channel together, with all their channels.
        root_name: Name of the set's first layer, for the seed and for messages.
        config: Names the criterion; `taylor` and `diff_pruning` need gradients in the layers.

    Raises:
        ValueError: a value is not finite, because a weight or gradient is not.
    """
    if config.criterion == "random":
        return generator_for(config.seed, "pruning.random", root_name).random(len(group[0].idxs))
    # torch-pruning's normaliser is off: sets are never compared with each other, and it divides by zero where all
    # weights are zero.
    if config.criterion == "magnitude":
        measure = tp.importance.GroupMagnitudeImportance(p=2, group_reduction="mean", normalizer=None)
    else:
        measure = tp.importance.GroupTaylorImportance(
            multivariable=config.criterion == "taylor", group_reduction="mean", normalizer=None
        )
    importance = measure(group).double().cpu().numpy()
    if not np.isfinite(importance).all():
        raise ValueError(
            f"The importance (`{config.criterion}`) of {np.sum(~np.isfinite(importance))} channels of `{root_name}` "
            "and the layers coupled to it is not finite: their weights or gradients hold NaN or infinity. Check that "
            "the training converged."
        )
    return importance


def accumulate_gradients(
    model: nn.Module, config: PruningConfig, gradients: GradientStep | None, n_timesteps: int
) -> list[int]:
    """Sum the loss gradients over the criterion's timesteps into the parameters' ``grad``.

    `taylor`: 50 timesteps at equal distances, first and last included. `diff_pruning`: 0, 1, 2, ...; it stops before
    the first whose loss is below ``loss_threshold`` times the largest so far, since the loss is largest at small t.

    Returns:
        The timesteps used.

    Raises:
        ValueError: `gradients` is missing, or its loss is no finite scalar that depends on all layers.
    """
    if gradients is None:
        raise ValueError(
            f"Criterion `{config.criterion}` needs `gradients`: a function (model, timestep) -> noise-prediction loss "
            "on a fixed batch, as a scalar tensor with graph. Pass one, or use criterion `magnitude` or `random`."
        )
    model.zero_grad()
    used: list[int] = []
    largest_loss = 0.0
    for timestep in _candidate_timesteps(config, n_timesteps):
        loss = _checked_loss(gradients(model, timestep), timestep)
        largest_loss = max(largest_loss, loss.item())
        if config.criterion == "diff_pruning" and loss.item() < config.loss_threshold * largest_loss:
            break
        loss.backward()
        used.append(timestep)
    _check_gradients(model)
    return used


def _candidate_timesteps(config: PruningConfig, n_timesteps: int) -> list[int]:
    """Timesteps in the order in which the criterion looks at them."""
    if config.criterion == "diff_pruning":
        return list(range(n_timesteps))
    n_used = min(N_TAYLOR_TIMESTEPS, n_timesteps)
    return np.linspace(0, n_timesteps - 1, n_used).round().astype(int).tolist()


def _checked_loss(loss: Tensor, timestep: int) -> Tensor:
    """The loss itself, if it can be differentiated."""
    if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
        got = f"{tuple(loss.shape)} with requires_grad={loss.requires_grad}" if isinstance(loss, Tensor) else repr(loss)
        raise ValueError(
            f"`gradients` must return a scalar tensor with graph, got {got} at timestep {timestep}. "
            "Return the mean loss, not .item(), and do not compute it under torch.no_grad()."
        )
    if not (torch.isfinite(loss) and loss >= 0):
        raise ValueError(f"`gradients` returned the loss {loss.item()} at timestep {timestep}: expected finite, >= 0.")
    return loss


def _check_gradients(model: nn.Module) -> None:
    """Refuse gradients that would make the ranking arbitrary."""
    missing = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    if missing:
        raise ValueError(
            f"The loss of `gradients` does not depend on {len(missing)} parameters, for example `{missing[0]}`. "
            "It must be computed with the model that it is given, in one full forward pass."
        )
    if not any(bool(parameter.grad.any()) for parameter in model.parameters()):
        raise ValueError("All gradients of `gradients` are zero, so no channel is less important than another.")
