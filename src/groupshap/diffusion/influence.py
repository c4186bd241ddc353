"""Unlearning by one Newton step: what the model would roughly be had some images never been in the training set.

To first order, taking the images R away moves the minimiser by ``F^-1 g / n_kept``, g the sum of the removed images'
gradients and F the curvature of the mean loss on the kept ones (Koh & Liang 2017, eq. 3, for a group). F is replaced by
the damped empirical Fisher matrix of m batch gradients, whose inverse is applied in closed form (Woodbury), which is
what the WoodFisher recursion of Singh & Alistarh (2020, eq. 9) computes one gradient at a time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from groupshap.diffusion.base import Encoded
from groupshap.diffusion.training import Objective, TrainingResult, batch_rows
from groupshap.seeds import seed_for

__all__ = ["NewtonStep", "remove_influence"]


@dataclass(frozen=True)
class NewtonStep:
    """Settings of the step.

    Attributes:
        n_gradients: m, batch gradients in the Fisher matrix; the same number estimate the removed images' gradient.
        batch_size: Images behind each gradient.
        damping: Added to the diagonal of the Fisher matrix.
        scale: Of the step.
    """

    n_gradients: int
    batch_size: int
    damping: float
    scale: float


def remove_influence(
    objective: Objective,
    model: nn.Module,
    kept: Encoded,
    removed: Encoded,
    settings: NewtonStep,
    *,
    seed: int,
    device: torch.device,
) -> TrainingResult:
    """Take the removed images' influence out of ``model``, in place.

    Args:
        objective: What the model was trained for.
        model: Trained on kept and removed images together.
        kept: One row per kept image.
        removed: One row per removed image.
        settings: Of the step.
        seed: Root of all draws.
        device: Where it runs.
    """
    start = time.monotonic()
    model = model.to(device).train()
    parameters = objective.trainable(model)
    fisher_rows = _batch_gradients(objective, model, kept.to(device), settings, seed_for(seed, "kept"))
    gradient = _batch_gradients(objective, model, removed.to(device), settings, seed_for(seed, "removed")).mean(0)
    step = _inverse_fisher(fisher_rows, gradient, settings.damping)
    odds = len(removed) / len(kept)  # sum over the removed images = n_removed times their mean
    with torch.no_grad():
        offset = 0
        for parameter in parameters:
            part = step[offset : offset + parameter.numel()].reshape(parameter.shape)
            parameter.add_(part, alpha=settings.scale * odds)
            offset += parameter.numel()
    return TrainingResult(model.eval(), time.monotonic() - start)


def _batch_gradients(
    objective: Objective, model: nn.Module, inputs: Encoded, settings: NewtonStep, seed: int
) -> Tensor:
    """(n_gradients, n_parameters) float32: gradients of the loss on batches."""
    parameters = objective.trainable(model)
    rows = []
    for number in range(settings.n_gradients):
        generator = torch.Generator().manual_seed(seed_for(seed, "step", number))
        batch = inputs[batch_rows(len(inputs), settings.batch_size, number, seed).to(inputs.clean.device)]
        loss = objective.loss(model, batch, generator)
        rows.append(torch.cat([part.reshape(-1) for part in torch.autograd.grad(loss, parameters)]))
    return torch.stack(rows)


def _inverse_fisher(rows: Tensor, vector: Tensor, damping: float) -> Tensor:
    """(damping * I + rows' rows / m)^-1 vector, by the Woodbury identity; (n_parameters,)."""
    m = len(rows)
    small = damping * m * torch.eye(m, device=rows.device, dtype=torch.float64)
    small += torch.stack([rows @ row for row in rows]).double()
    inner = torch.linalg.solve(small, (rows @ vector).double())
    rest = vector.double()  # nearly all of it is subtracted again, so float32 would leave noise; one row at a time
    for row, weight in zip(rows, inner, strict=True):
        rest = rest.add(row.double(), alpha=-float(weight))
    return (rest / damping).to(vector.dtype)
