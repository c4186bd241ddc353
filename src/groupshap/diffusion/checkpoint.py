"""State of an unfinished training in one safetensors file: weights, optimiser moments, moving average, position.

Learning rate and random draws are functions of the step, so there is no further state.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.training_utils import EMAModel
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from groupshap.store import atomic_write

__all__ = ["TrainingState", "load_checkpoint", "save_checkpoint"]

logger = logging.getLogger(__name__)

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # what AdamW keeps per parameter


@dataclass(frozen=True)
class TrainingState:
    """Where an interrupted training stopped; its tensors are already in place.

    Attributes:
        step: Steps done.
        losses: Points of the loss curve so far.
        seconds: Time spent so far.
    """

    step: int
    losses: list[float]
    seconds: float


def save_checkpoint(
    path: Path,
    parameters: Sequence[nn.Parameter],
    optimizer: torch.optim.Optimizer,
    average: EMAModel,
    step: int,
    losses: list[float],
    seconds: float,
) -> None:
    """Write the state atomically: a kill leaves the previous one."""
    tensors = _tensors(parameters, optimizer, average)
    header = {"step": step, "losses": losses, "seconds": seconds, "average_step": average.optimization_step}
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    atomic_write(path, lambda file: save_file(contiguous, file, metadata={"state": json.dumps(header)}))


def load_checkpoint(
    path: Path, parameters: Sequence[nn.Parameter], optimizer: torch.optim.Optimizer, average: EMAModel
) -> TrainingState | None:
    """Put a stored state into model, optimiser and average; None (and nothing changed) where there is none.

    A damaged file is logged as a WARNING and ignored: the training then starts again.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads(file.metadata()["state"])
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        logger.warning("%s cannot be read (%s); training starts again from step 0.", path, error)
        return None
    for parameter in parameters:
        optimizer.state[parameter] = {
            "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
    with torch.no_grad():
        for name, tensor in _tensors(parameters, optimizer, average).items():
            tensor.copy_(stored[name])
    average.optimization_step = header["average_step"]
    return TrainingState(header["step"], header["losses"], header["seconds"])


def _tensors(
    parameters: Sequence[nn.Parameter], optimizer: torch.optim.Optimizer, average: EMAModel
) -> dict[str, Tensor]:
    """All tensors of the state by name; the parameters keep their order, so a number names each."""
    tensors: dict[str, Tensor] = {}
    for number, parameter in enumerate(parameters):
        tensors[f"weight.{number}"] = parameter.data
        tensors[f"average.{number}"] = average.shadow_params[number]
        for moment in _MOMENTS:
            tensors[f"{moment}.{number}"] = optimizer.state[parameter][moment]
    return tensors
