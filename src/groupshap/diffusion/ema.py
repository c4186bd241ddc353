"""Moving average of the weights: its counter starts afresh in every training call.

A counter carried over from the full-data model keeps the decay near its cap, so that after a short fine-tuning 42 to
80 % of the averaged weights would still be the full model (guide to the method, B4) and every utility would lean
towards v(N). Started afresh, the first step replaces the average, and none of the start weights is left in it.
"""

from __future__ import annotations

from collections.abc import Iterable

from diffusers.training_utils import EMAModel
from torch import nn

__all__ = ["fresh_average"]


def fresh_average(parameters: Iterable[nn.Parameter], decay: float, step_offset: int = 0) -> EMAModel:
    """Diffusers' average; the decays of steps 1, 2, 3, ... of this call are 0, 2/11, 3/12, ..., at most ``decay``.

    Args:
        parameters: What is averaged, with the start weights.
        decay: Cap.
        step_offset: Steps that count as done before; only to reproduce what a carried-over counter does.
    """
    average = EMAModel(parameters, decay=decay, min_decay=0.0, use_ema_warmup=False, foreach=True)
    average.optimization_step = step_offset
    return average
