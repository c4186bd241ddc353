"""The training loop: base training, recovery after pruning, subset fine-tuning and retraining all run this one.

What differs from a usual loop: everything random in step t has the address (seed, t), so a resumed run equals an
uninterrupted one bit for bit and nothing depends on global generators; the learning rate is a function of the step and
of the *actual* number of steps; the moving average starts afresh in every call (see ``ema.py``); the timesteps of a
batch are stratified over [0, T), which lowers the variance of the gradient at no cost (Kingma et al. 2021, app. I.1).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from groupshap.diffusion.base import Encoded, Family, memory_format
from groupshap.diffusion.checkpoint import load_checkpoint, save_checkpoint
from groupshap.diffusion.config import TrainConfig
from groupshap.diffusion.ema import fresh_average
from groupshap.errors import UserError
from groupshap.progress import progress
from groupshap.seeds import seed_for

__all__ = ["Checkpointing", "Denoising", "DivergedError", "Objective", "TrainingResult", "denoising_loss", "train"]

N_LOSS_STEPS = 25
"""Steps behind each point of the loss curve."""


class DivergedError(UserError, RuntimeError):
    """The loss is no longer a finite number."""


@dataclass(frozen=True)
class Checkpointing:
    """Where and how often the state of an unfinished training is kept.

    Attributes:
        path: File of the state; the caller removes it when the result is safe.
        every_n_steps: Steps between two writes, rounded up to a multiple of ``N_LOSS_STEPS``; changes no number.
    """

    path: Path
    every_n_steps: int


@dataclass(frozen=True)
class TrainingResult:
    """A trained model and how it came about.

    Attributes:
        model: The given model, now holding the moving average of its weights, in evaluation mode.
        seconds: Time in the loop, that of earlier, interrupted calls included.
        losses: Mean loss of every ``N_LOSS_STEPS`` steps, oldest first.
    """

    model: nn.Module
    seconds: float
    losses: list[float] = field(default_factory=list)


class Objective(Protocol):
    """What a training is for: which parameters change, and what is minimised."""

    def trainable(self, model: nn.Module) -> list[nn.Parameter]:
        """The parameters that training changes, in a fixed order."""

    def loss(self, model: nn.Module, batch: Encoded, generator: torch.Generator) -> Tensor:
        """A scalar; every draw comes from ``generator``, which is on the CPU and has the step's address."""


class Denoising:
    """The objective of every diffusion model: predict the noise, or v, at random timesteps.

    Args:
        family: Kind of model: noise process, prediction, trainable parameters.
        timesteps: How they are drawn, see ``TrainConfig.timesteps``.
    """

    def __init__(self, family: Family, timesteps: str = "stratified") -> None:
        self._family, self._draw = family, _TIMESTEPS[timesteps]
        self._levels = family.noise.alphas_cumprod

    def trainable(self, model: nn.Module) -> list[nn.Parameter]:
        """The family's."""
        return self._family.trainable(model)

    def loss(self, model: nn.Module, batch: Encoded, generator: torch.Generator) -> Tensor:
        """:func:`denoising_loss` with one noise and one timestep per row."""
        device = batch.clean.device
        self._levels = self._levels.to(device)  # once: a copy to the device in every step would wait for it
        noise = torch.randn(batch.clean.shape, generator=generator).to(device)
        timesteps = self._draw(len(batch), len(self._levels), generator).to(device)
        return denoising_loss(self._family, model, batch, noise, timesteps, self._levels)


def train(
    objective: Objective,
    model: nn.Module,
    inputs: Encoded,
    config: TrainConfig,
    *,
    seed: int,
    device: torch.device,
    label: str = "training",
    checkpointing: Checkpointing | None = None,
    ascend: bool = False,
) -> TrainingResult:
    """Train ``model`` in place on ``inputs`` and leave the averaged weights in it.

    Args:
        objective: What is minimised, and by changing what.
        model: Start weights.
        inputs: One row per image, see ``Family.encode``; moved to ``device`` as a whole.
        config: Steps, batch, optimiser.
        seed: Root of all draws of this call.
        device: Where it runs.
        label: Name on the progress bar.
        checkpointing: State of an interrupted call, read if it is there and written now and then; None: no state.
        ascend: Raise the loss instead of lowering it: the inputs are unlearned.

    Raises:
        ValueError: no images.
        DivergedError: the loss is not finite; says at which step.
    """
    if len(inputs) == 0:
        raise ValueError("Expected at least one image to train on, got none: the empty coalition is never trained.")

    # Set up
    model = model.to(device, memory_format=memory_format(config)).train()
    network = torch.compile(model) if config.compile else model
    inputs = inputs.to(device)
    parameters = objective.trainable(model)
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)
    average = fresh_average(parameters, config.ema_decay, config.ema_step_offset)
    average.to(device)

    # Go on where an interrupted call stopped
    state = load_checkpoint(checkpointing.path, parameters, optimizer, average) if checkpointing else None
    first_step, losses, seconds_before = (state.step, state.losses, state.seconds) if state else (0, [], 0.0)
    loss_sum = torch.zeros((), device=device)
    start = time.monotonic()

    with progress(label, config.n_steps, initial=first_step) as bar:
        for step in range(first_step, config.n_steps):
            # Draw the batch; a CPU generator gives the same numbers on every device
            generator = torch.Generator().manual_seed(seed_for(seed, "step", step))
            rows = batch_rows(len(inputs), config.batch_size, step, seed)
            batch = flipped(inputs[rows.to(device)], generator, config)

            # Step
            for group in optimizer.param_groups:
                group["lr"] = learning_rate_at(step, config)
            with addressed_globals(seed, step, device):
                with torch.autocast(device.type, torch.bfloat16, enabled=config.mixed_precision == "bf16"):
                    loss = objective.loss(network, batch, generator)
                (-loss if ascend else loss).backward()
            nn.utils.clip_grad_norm_(parameters, config.max_gradient_norm, foreach=True)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            average.step(parameters)

            # Report and save
            loss_sum += loss.detach()
            bar.update(1)
            if (step + 1) % N_LOSS_STEPS == 0 or step + 1 == config.n_steps:
                n_summed = step % N_LOSS_STEPS + 1
                losses.append(finite_loss(loss_sum.item() / n_summed, step))
                loss_sum.zero_()
                images_per_s = (step + 1 - first_step) * len(batch) / max(time.monotonic() - start, 1e-9)
                bar.update(0, loss=losses[-1], images_per_s=images_per_s)
                if checkpointing and (step + 1) % checkpointing.every_n_steps < n_summed and step + 1 < config.n_steps:
                    seconds = seconds_before + time.monotonic() - start
                    save_checkpoint(checkpointing.path, parameters, optimizer, average, step + 1, losses, seconds)

    # Keep the average
    average.copy_to(parameters)
    return TrainingResult(model.eval(), seconds_before + time.monotonic() - start, losses)


def denoising_loss(
    family: Family, model: nn.Module, batch: Encoded, noise: Tensor, timesteps: Tensor, signal_levels: Tensor
) -> Tensor:
    """Mean squared error of the prediction, a scalar (Ho et al. 2020, eq. 14; v: Salimans & Ho 2022, app. D).

    Args:
        family: Gives the prediction and says what it is of.
        model: The denoiser.
        batch: Clean samples and what they are conditioned on.
        noise: Standard normal, of the samples' shape.
        timesteps: (n,) int64 in [0, T).
        signal_levels: (T,) float32, the cumulative products of 1 - beta.
    """
    clean = batch.clean
    level = signal_levels[timesteps].reshape(-1, *[1] * (clean.ndim - 1))
    signal_scale, noise_scale = level.sqrt(), (1.0 - level).sqrt()
    noisy = signal_scale * clean + noise_scale * noise
    target = noise if family.noise.config.prediction_type == "epsilon" else signal_scale * noise - noise_scale * clean
    return functional.mse_loss(family.predict(model, noisy, timesteps, batch.conditions).float(), target)


@contextmanager
def addressed_globals(seed: int, step: int, device: torch.device) -> Iterator[None]:
    """Dropout draws from torch's global generators: give them the step's address, and the caller theirs back."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed_for(seed, "globals", step))
        yield


def batch_rows(n_images: int, batch_size: int, step: int, seed: int) -> Tensor:
    """(batch_size,) int64: rows of one step. Every image is used once before one is used twice.

    Epoch e is a permutation with the address (seed, "epoch", e); a batch may span several of them.
    """
    first = step * batch_size
    epochs = range(first // n_images, (first + batch_size - 1) // n_images + 1)
    orders = [
        torch.randperm(n_images, generator=torch.Generator().manual_seed(seed_for(seed, "epoch", epoch)))
        for epoch in epochs
    ]
    begin = first - epochs[0] * n_images
    return torch.cat(orders)[begin : begin + batch_size]


def flipped(batch: Encoded, generator: torch.Generator, config: TrainConfig) -> Encoded:
    """Each sample (c, h, w) mirrored left to right with probability 1/2, if so configured."""
    if not config.random_flip:
        return batch
    clean = batch.clean
    mirrored = torch.rand(len(clean), generator=generator) < 0.5
    clean = torch.where(mirrored.to(clean.device).reshape(-1, 1, 1, 1), clean.flip(-1), clean)
    return Encoded(clean, batch.conditions)


def stratified_timesteps(n: int, n_noise_levels: int, generator: torch.Generator) -> Tensor:
    """(n,) int64 in [0, T): one in each of n equal parts of the range, uniform on the whole."""
    position = (torch.arange(n) + torch.rand(n, generator=generator)) / n
    return (position * n_noise_levels).long().clamp_(max=n_noise_levels - 1)


def antithetic_timesteps(n: int, n_noise_levels: int, generator: torch.Generator) -> Tensor:
    """(n,) int64 in [0, T): t and T - 1 - t in pairs, as the code of Ho et al.'s followers does."""
    half = uniform_timesteps(n // 2 + 1, n_noise_levels, generator)
    return torch.cat([half, n_noise_levels - 1 - half])[:n]


def uniform_timesteps(n: int, n_noise_levels: int, generator: torch.Generator) -> Tensor:
    """(n,) int64 in [0, T): independent."""
    return torch.randint(n_noise_levels, (n,), generator=generator)


_TIMESTEPS = {"stratified": stratified_timesteps, "antithetic": antithetic_timesteps, "uniform": uniform_timesteps}


def learning_rate_at(step: int, config: TrainConfig) -> float:
    """Learning rate of step 0, 1, ..., n_steps - 1: linear warm-up, then constant or half a cosine."""
    if step < config.n_warmup_steps:
        return config.learning_rate * (step + 1) / (config.n_warmup_steps + 1)
    if config.schedule == "constant":
        return config.learning_rate
    done = (step - config.n_warmup_steps) / (config.n_steps - config.n_warmup_steps)
    return config.learning_rate * 0.5 * (1.0 + math.cos(math.pi * done))


def finite_loss(loss: float, step: int) -> float:
    """The loss itself.

    Raises:
        DivergedError: it is NaN or infinite.
    """
    if not math.isfinite(loss):
        raise DivergedError(
            f"The loss is {loss} by step {step + 1}: training has diverged. Lower `learning_rate` or add warm-up steps."
        )
    return loss
