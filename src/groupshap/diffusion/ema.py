"""Moving average of the weights: its counter starts at 0 in every training call.

A counter carried over from the full-data model keeps the decay near its cap, so that after a short fine-tuning 42 to
80 % of the averaged weights would still be the full model (guide to the method, B4) and every utility would lean
towards v(N). Restarted, the share of the start weights after 200 steps is 5e-15.
"""

from __future__ import annotations

from collections.abc import Iterable

from diffusers.training_utils import EMAModel
from torch import nn

__all__ = ["fresh_average"]


def fresh_average(parameters: Iterable[nn.Parameter], decay: float) -> EMAModel:
    """Diffusers' average with the decay min(``decay``, (1+t)/(10+t)) at step t = 0, 1, ... of this call."""
    return EMAModel(parameters, decay=decay, min_decay=0.0, use_ema_warmup=False, foreach=True)
