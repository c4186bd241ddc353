"""Every utility that was paid for, as one small table that estimators can be judged on for ever after."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from groupshap.attribution.tables import player_names, property_columns
from groupshap.members import split_members

__all__ = ["cheap_rows", "record_game"]


def record_game(game: str, contributors: pd.DataFrame, by_recipe: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Utilities of several recipes in the format of ``benchmarks/games``; read it with ``groupshap.games``.

    Args:
        game: Its name.
        contributors: One row per player; their names are not recorded.
        by_recipe: Recipe (``retrain``, ``sparsified``, ...) to a utilities table. Tables of the same game only.

    Returns:
        Columns game, recipe, n_players, members (list of player numbers), replicate, one per property, train_seconds,
        sample_seconds, fingerprint.
    """
    number_of = {name: player for player, name in enumerate(player_names(contributors))}
    parts = []
    for recipe, utilities in by_recipe.items():
        columns = ["replicate", *property_columns(utilities), "train_seconds", "sample_seconds", "fingerprint"]
        part = utilities[columns].copy()
        members = [sorted(number_of[name] for name in split_members(cell)) for cell in utilities["members"]]
        part.insert(0, "members", members)
        part.insert(0, "n_players", len(number_of))
        part.insert(0, "recipe", recipe)
        part.insert(0, "game", game)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def cheap_rows(utilities: pd.DataFrame, paired_utilities: pd.DataFrame) -> pd.DataFrame:
    """Rows of the game that the values are fitted to, from both splits that measured it, each model once."""
    rows = pd.concat([utilities, paired_utilities], ignore_index=True)
    return rows.drop_duplicates(["coalition_id", "replicate"], ignore_index=True)
