"""Tables as the pipelines before shapley_estimation write them, of games with known Shapley values."""

from __future__ import annotations

import numpy as np
import pandas as pd

from groupshap.games import coalition_id, plan_coalitions, replicate_numbers
from groupshap.members import join_members

NASTY_NAMES = (
    "NA",
    "nan",
    "a|b",
    "x \\ y",
    "a | b\\",
    "$x^2_{1}$",
    "名前 😀",
    300 * "long",
    'says "hi", twice',
    "مصمم",
)
WORTH = np.array([5.0, -2.0, 1.0, 0.5, 0.0, 3.0, -1.0, 2.0, 4.0, -0.25])
DIRECTIONS = {"frechet_x": False, "accuracy": True}


def contributor_table(names=NASTY_NAMES) -> pd.DataFrame:
    n_images = 10 + np.arange(len(names))
    return pd.DataFrame(
        {"player": np.arange(len(names)), "contributor": names, "n_images": n_images}
        | dict.fromkeys(("licence", "credit", "defect"), "")
    )


def utilities_table(names=NASTY_NAMES, budget=64, noise=0.0, seed=0) -> pd.DataFrame:
    """``accuracy`` is additive, ``frechet_x`` falls with a curve of |S| on top, which all players share equally."""
    coalitions = plan_coalitions(len(names), budget, seed=seed)
    additive = coalitions @ WORTH[: len(names)]
    errors = noise * np.random.default_rng(seed).standard_normal((2, len(coalitions)))
    return pd.DataFrame(
        {
            "split": "estimation",
            "coalition_id": [coalition_id(mask) for mask in coalitions],
            "replicate": replicate_numbers(coalitions),
            "n_contributors": coalitions.sum(axis=1),
            "members": [join_members(np.array(names, dtype=object)[mask]) for mask in coalitions],
            "accuracy": 1.0 + additive + errors[0],
            "frechet_x": 90.0 * np.exp(-coalitions.mean(axis=1)) - additive + errors[1],
            "train_seconds": 10.0,
            "sample_seconds": 2.0,
            "fingerprint": "00e1",
        }
    )


def true_values(property_name: str, n_players: int) -> np.ndarray:
    if property_name == "accuracy":
        return WORTH[:n_players]
    return 90.0 * (np.exp(-1.0) - 1.0) / n_players - WORTH[:n_players]
