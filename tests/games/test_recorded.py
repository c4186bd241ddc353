"""Recorded games: what is written comes back, and every problem is named at once."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from groupshap.games import all_coalitions, exact_shapley, load_recorded_games


def _frame(n=3, recipe="retrain", n_replicates=2, seed=0):
    rng = np.random.default_rng(seed)
    rows = [
        {
            "game": "toy",
            "recipe": recipe,
            "n_players": n,
            "members": np.flatnonzero(mask).tolist(),
            "replicate": replicate,
            "redness": float(mask.sum()) + rng.normal(0.0, 0.1),
            "blueness": float(mask @ np.arange(n)),
            "train_seconds": 2.0,
            "sample_seconds": 0.5,
            "fingerprint": f"{recipe}-1",
        }
        for mask in all_coalitions(n)
        for replicate in range(n_replicates)
    ]
    return pd.DataFrame(rows).sample(frac=1.0, random_state=seed)


def test_games_come_back_by_name_recipe_and_property(tmp_path):
    frame = pd.concat([_frame(), _frame(recipe="sparsified", n_replicates=1)])
    frame.to_parquet(tmp_path / "toy.parquet")
    games = load_recorded_games(tmp_path)
    assert set(games) == {("toy", r, p) for r in ("retrain", "sparsified") for p in ("redness", "blueness")}
    game = games["toy", "retrain", "blueness"]
    assert game.coalitions.shape == (16, 3)
    assert game.is_complete
    assert game.seconds.sum() == pytest.approx(40.0)
    np.testing.assert_allclose(game.shapley().values, [0.0, 1.0, 2.0], atol=1e-12)
    noisy = games["toy", "retrain", "redness"]
    np.testing.assert_allclose(noisy.shapley().values, exact_shapley(noisy.table()), atol=1e-12)
    np.testing.assert_allclose(noisy.table(), (noisy.table(0) + noisy.table(1)) / 2.0)
    with pytest.raises(ValueError, match=r"replicate 1, missing 8, for example members \[\]"):
        games["toy", "sparsified", "redness"].table(1)


def test_all_problems_of_all_files_are_named_in_one_message(tmp_path):
    good, bad = _frame().reset_index(drop=True), _frame(n=4, recipe="dense").reset_index(drop=True)
    bad.loc[2, "redness"] = np.inf
    bad.at[3, "members"] = [0, 4]
    bad.at[5, "members"] = [1, 1]
    bad.loc[6, "train_seconds"] = -1.0
    bad.loc[7, "n_players"] = 5
    good.to_parquet(tmp_path / "a.parquet")
    bad.to_parquet(tmp_path / "b.parquet")
    good.to_parquet(tmp_path / "c.parquet")
    good.drop(columns=["replicate", "fingerprint"]).to_parquet(tmp_path / "d.parquet")
    with pytest.raises(ValueError, match="documented format") as raised:
        load_recorded_games(tmp_path)
    message = str(raised.value)
    for part in (
        "b.parquet: column 'redness' is not finite in rows 2",
        "b.parquet: `members` outside 0..3: rows 3",
        "b.parquet: `members` names a player twice: rows 5",
        "b.parquet: column 'train_seconds' is negative in rows 6",
        "b.parquet: game 'toy' has different numbers of players: [4, 5]",
        "c.parquet: ('toy', 'retrain', 'redness') is in an earlier file",
        "d.parquet: columns missing: replicate, fingerprint",
    ):
        assert part in message


def test_repeated_runs_missing_properties_and_empty_folders_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="found none"):
        load_recorded_games(tmp_path)
    frame = _frame()
    pd.concat([frame, frame.head(1)]).to_parquet(tmp_path / "twice.parquet")
    with pytest.raises(ValueError, match=r"same game, recipe, members and replicate as an earlier row: rows 16"):
        load_recorded_games(tmp_path)
    frame.drop(columns=["redness", "blueness"]).to_parquet(tmp_path / "twice.parquet")
    with pytest.raises(ValueError, match="no property column"):
        load_recorded_games(tmp_path)
