"""Tables as the validation pipelines hand them over, of games whose scores are known in closed form."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from groupshap.games import CoalitionMatrix, coalition_id, exact_shapley
from groupshap.members import join_members

DIRECTIONS = {"accuracy": True, "frechet": False}
Game = Callable[[CoalitionMatrix], np.ndarray]


def contributor_table(n_players: int) -> pd.DataFrame:
    names = [f"c {player:02d} | {player}" for player in range(n_players)]
    return pd.DataFrame({"player": range(n_players), "contributor": names, "n_images": 10 + np.arange(n_players)})


def utilities_table(
    masks: CoalitionMatrix,
    games: dict[str, Game],
    *,
    split: str = "validation",
    n_replicates: int = 1,
    noise: float = 0.0,
    seconds: tuple[float, float] = (10.0, 2.0),
    seed: int = 0,
) -> pd.DataFrame:
    """Independent normal noise of one sd for every row and property."""
    names = contributor_table(masks.shape[1])["contributor"].to_numpy(dtype=object)
    rng = np.random.default_rng(seed)
    tables = []
    for replicate in range(n_replicates):
        table = pd.DataFrame(
            {
                "split": split,
                "coalition_id": [coalition_id(mask) for mask in masks],
                "replicate": replicate,
                "n_contributors": masks.sum(axis=1),
                "members": [join_members(names[mask]) for mask in masks],
            }
        )
        for name, game in games.items():
            table[name] = game(masks) + noise * rng.standard_normal(len(masks))
        tables.append(table.assign(train_seconds=seconds[0], sample_seconds=seconds[1], fingerprint="0"))
    return pd.concat(tables, ignore_index=True)


def value_table(attributions: dict[str, Sequence[float]], property_name: str = "accuracy", **columns) -> pd.DataFrame:
    """Attributions in the form of ``gather``."""
    tables = [
        pd.DataFrame(
            {
                "attribution": attribution,
                "property": property_name,
                "contributor": contributor_table(len(values))["contributor"],
                "value": np.asarray(values, dtype=float),
                "draw": 0,
                "has_scale": True,
            }
        )
        for attribution, values in attributions.items()
    ]
    return pd.concat(tables, ignore_index=True).assign(**columns)


def additive(worth: Sequence[float], level: float = 0.0) -> Game:
    return lambda masks: level + masks @ np.asarray(worth, dtype=float)


def shapley_of(game: Game, masks: CoalitionMatrix) -> np.ndarray:
    """Masks in the order of ``all_coalitions``."""
    return exact_shapley(game(masks))
