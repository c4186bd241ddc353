"""Coalitions that the values are checked on, not fitted to."""

from __future__ import annotations

from math import comb

import numpy as np
import pandas as pd

from groupshap.campaign.coalitions import plan_table
from groupshap.errors import UserError
from groupshap.games import (
    CoalitionMatrix,
    all_coalitions,
    distinct_coalitions,
    leave_one_out_coalitions,
    uniform_fraction_coalitions,
)
from groupshap.image_pack import ImagePack
from groupshap.seeds import seed_for
from groupshap.tasks.config import ValidationConfig

__all__ = ["PAIRED", "VALIDATION", "TooManyCoalitionsError", "draw_held_out", "paired_plan"]

VALIDATION = "validation"
"""The split whose models are the ground truth."""
PAIRED = "paired"
"""The split with the same coalitions in the game that the values are fitted to."""
_MAX_PLAYERS_OF_ENUMERATION = 15


class TooManyCoalitionsError(UserError, ValueError):
    """2^n is too large."""


def draw_held_out(
    contributors: pd.DataFrame, pack: ImagePack, config: ValidationConfig, root_seed: int
) -> pd.DataFrame:
    """The held-out coalitions, every one ``n_replicates`` times, as a plan (see ``campaign.coalitions.draw_plan``).

    All replicates 0 come first, so that a run that is ended early has seen every coalition.

    Raises:
        TooManyCoalitionsError: ``every_coalition`` with more than 15 contributors.
    """
    n = len(contributors)
    masks = _every_coalition(n) if config.every_coalition else _held_out(n, config, root_seed)
    return plan_table(np.tile(masks, (config.n_replicates, 1)), contributors, pack, VALIDATION)


def paired_plan(plan: pd.DataFrame) -> pd.DataFrame:
    """The same coalitions, once each, for the game that the values are fitted to."""
    return plan[plan["replicate"] == 0].assign(split=PAIRED).reset_index(drop=True)


def _every_coalition(n: int) -> CoalitionMatrix:
    if n > _MAX_PLAYERS_OF_ENUMERATION:
        raise TooManyCoalitionsError(
            f"`validation.every_coalition` asks for 2^{n} coalitions of {n} contributors; expected at most "
            f"{_MAX_PLAYERS_OF_ENUMERATION} contributors. Use `validation.fractions` and `validation.n_coalitions`."
        )
    return all_coalitions(n)


def _held_out(n: int, config: ValidationConfig, root_seed: int) -> CoalitionMatrix:
    """Distinct coalitions of each share, and the leave-one-out design; (n_coalitions, n) bool."""
    seed = seed_for(root_seed, "held-out")
    parts = [_distinct(n, config.n_coalitions, seed, fraction) for fraction in config.fractions]
    parts += [leave_one_out_coalitions(n)] if config.leave_one_out else []
    return distinct_coalitions(np.concatenate(parts))


def _distinct(n: int, n_coalitions: int, seed: int, fraction: float) -> CoalitionMatrix:
    """As many distinct coalitions of int(fraction n) players as asked for, or all there are."""
    if n_coalitions == 0:
        return np.zeros((0, n), dtype=bool)
    wanted = min(n_coalitions, comb(n, int(fraction * n)))
    n_drawn = wanted
    while True:
        drawn = distinct_coalitions(uniform_fraction_coalitions(n, n_drawn, seed=seed, fraction=fraction))
        if len(drawn) >= wanted:
            return drawn[:wanted]
        n_drawn *= 2
