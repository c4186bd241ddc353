"""Games that were measured once and kept: coalitions, utilities and seconds of every run, from Parquet files.

A file holds any number of games and recipes (ways to measure), one row per finished run:

    game           name of the game, for example digits8
    recipe         how v(S) was measured: retrain, sparsified, dense, ...
    n_players      number of players of the game
    members        list of player numbers 0..n_players−1; an empty list is the empty coalition
    replicate      0, 1, ...: which repetition of this coalition with another seed
    train_seconds  seconds of training
    sample_seconds seconds of sampling and measuring
    fingerprint    of the recipe and the start model
    ...            every other column is a property of the model: a number per run

Estimators can be compared on them without training anything. pandas (with pyarrow) is imported when a folder is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from groupshap.games.coalitions import all_coalitions
from groupshap.games.estimators import estimate
from groupshap.games.evaluations import listed
from groupshap.games.types import CoalitionMatrix, FloatArray, ShapleyValues, Utilities

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RecordedGame", "load_recorded_games"]

COLUMNS = ("game", "recipe", "n_players", "members", "replicate", "train_seconds", "sample_seconds", "fingerprint")
Key = tuple[str, str, str]


@dataclass(frozen=True)
class RecordedGame:
    """All runs of one game, one recipe and one property.

    Attributes:
        game: name of the game.
        recipe: how the utilities were measured.
        property_name: what was measured of each model.
        coalitions: (n_runs, n_players) bool.
        utilities: (n_runs,) float64.
        replicates: (n_runs,) int64, number of the repetition.
        train_seconds: (n_runs,) float64.
        sample_seconds: (n_runs,) float64.
        fingerprints: (n_runs,) of recipe and start model.
    """

    game: str
    recipe: str
    property_name: str
    coalitions: CoalitionMatrix
    utilities: Utilities
    replicates: npt.NDArray[np.int64]
    train_seconds: FloatArray
    sample_seconds: FloatArray
    fingerprints: tuple[str, ...]

    @property
    def n_players(self) -> int:
        """Number of players."""
        return self.coalitions.shape[1]

    @property
    def seconds(self) -> FloatArray:
        """(n_runs,) float64: training and sampling together."""
        return self.train_seconds + self.sample_seconds

    @property
    def is_complete(self) -> bool:
        """Whether every coalition was measured at least once."""
        return len(np.unique(self.coalitions, axis=0)) == 2**self.n_players

    def shapley(self) -> ShapleyValues:
        """Values by Shapley's formula over all coalitions, replicates averaged, with the errors that noise leaves.

        Raises:
            ValueError: coalitions are missing.
        """
        return estimate(self.coalitions, self.utilities, estimator="exact")

    def table(self, replicate: int | None = None) -> FloatArray:
        """(2**n_players,) float64: v in the order of ``all_coalitions``, of one replicate or (None) their means.

        Raises:
            ValueError: a coalition was not measured.
        """
        chosen = np.ones(len(self.utilities), bool) if replicate is None else self.replicates == replicate
        codes = self.coalitions[chosen] @ (1 << np.arange(self.n_players))
        counts = np.bincount(codes, minlength=2**self.n_players)
        if not counts.all():
            missing = np.flatnonzero(counts == 0)
            example = np.flatnonzero(all_coalitions(self.n_players)[missing[0]]).tolist()
            raise ValueError(
                f"Expected all {2**self.n_players} coalitions of {self.game!r}, recipe {self.recipe!r}, replicate "
                f"{'any' if replicate is None else replicate}, missing {len(missing)}, for example members {example}."
            )
        return np.bincount(codes, self.utilities[chosen], minlength=2**self.n_players) / counts


def load_recorded_games(folder: Path | str) -> dict[Key, RecordedGame]:
    """Every game in the ``*.parquet`` files of a folder, by (game, recipe, property).

    Args:
        folder: a folder with files in the format described at the top of this module.

    Raises:
        FileNotFoundError: no such folder, or no Parquet file in it.
        ValueError: problems in the files, all of them in one message: missing columns, values that are not finite,
            members that repeat or lie out of range, different numbers of players in one game, runs that occur twice.
    """
    import pandas as pd  # noqa: PLC0415  the rest of `games` needs numpy and scipy only

    files = sorted(Path(folder).glob("*.parquet"))
    if not files:
        raise FileNotFoundError(f"Expected Parquet files of recorded games in {folder}, found none.")
    problems: list[str] = []
    games: dict[Key, RecordedGame] = {}
    for file in files:
        frame = pd.read_parquet(file)
        found = [f"{file.name}: {problem}" for problem in _problems_of(frame)]
        loaded = {} if found else {(game.game, game.recipe, game.property_name): game for game in _games_of(frame)}
        found += [f"{file.name}: {key} is in an earlier file as well" for key in loaded if key in games]
        problems += found
        games |= loaded
    if problems:
        raise ValueError("Expected recorded games in the documented format, got:\n- " + "\n- ".join(problems))
    return games


def _problems_of(frame: pd.DataFrame) -> Iterator[str]:
    """Everything that is wrong with one file; columns first, because the rest cannot be judged without them."""
    missing = [name for name in COLUMNS if name not in frame.columns]
    properties = _properties_of(frame)
    if missing:
        yield f"columns missing: {', '.join(missing)}"
    if not properties:
        yield "no property column: expected at least one column of numbers beside the documented ones"
    not_numbers = [name for name in properties if frame[name].dtype.kind not in "iuf"]
    if not_numbers:
        yield f"property columns that hold no numbers: {', '.join(not_numbers)}"
    if missing or not_numbers:
        return
    if frame.empty:
        yield "no rows"
        return
    yield from _bad_numbers(frame, properties)
    yield from _bad_members(frame)


def _properties_of(frame: pd.DataFrame) -> list[str]:
    return [str(name) for name in frame.columns if name not in COLUMNS]


def _bad_numbers(frame: pd.DataFrame, properties: list[str]) -> Iterator[str]:
    for name in [*properties, "train_seconds", "sample_seconds"]:
        bad = np.flatnonzero(~np.isfinite(frame[name].to_numpy(dtype=np.float64)))
        if len(bad):
            yield f"column {name!r} is not finite in rows {listed(bad)}"
    for name in ("train_seconds", "sample_seconds", "replicate"):
        bad = np.flatnonzero(frame[name].to_numpy(dtype=np.float64) < 0)
        if len(bad):
            yield f"column {name!r} is negative in rows {listed(bad)}"
    for name in ("replicate", "n_players"):
        if frame[name].dtype.kind not in "iu":
            yield f"column {name!r} must hold whole numbers, got {frame[name].dtype}"
    for game, sizes in frame.groupby("game")["n_players"]:
        if sizes.nunique() > 1:
            yield f"game {game!r} has different numbers of players: {sorted(set(sizes.tolist()))}"


def _bad_members(frame: pd.DataFrame) -> Iterator[str]:
    bad: dict[str, list[int]] = {}
    seen: dict[tuple[object, ...], int] = {}
    columns = (frame[name] for name in ("game", "recipe", "n_players", "members", "replicate"))
    for row, (game, recipe, n_players, members, replicate) in enumerate(zip(*columns, strict=True)):
        problem = _bad_list(members, n_players)
        if problem is not None:
            bad.setdefault(problem, []).append(row)
            continue
        run = (game, recipe, tuple(sorted(int(member) for member in members)), replicate)
        if run in seen:
            bad.setdefault("the same game, recipe, members and replicate as an earlier row", []).append(row)
        seen.setdefault(run, row)
    for problem, rows in bad.items():
        yield f"{problem}: rows {listed(np.array(rows))}"


def _bad_list(members: object, n_players: int) -> str | None:
    if not isinstance(members, list | tuple | np.ndarray):
        return "`members` is not a list of player numbers"
    numbers = np.asarray(members)
    if numbers.size and numbers.dtype.kind not in "iu":
        return "`members` holds something else than whole numbers"
    if numbers.size and not 0 <= numbers.min() <= numbers.max() < n_players:
        return f"`members` outside 0..{n_players - 1}"
    if len(np.unique(numbers)) < numbers.size:
        return "`members` names a player twice"
    return None


def _games_of(frame: pd.DataFrame) -> Iterator[RecordedGame]:
    properties = _properties_of(frame)
    for (game, recipe), rows in frame.groupby(["game", "recipe"], sort=True):
        masks = np.zeros((len(rows), int(rows["n_players"].iloc[0])), dtype=bool)
        for row, members in enumerate(rows["members"]):
            masks[row, np.asarray(members, dtype=np.int64)] = True
        for name in properties:
            yield RecordedGame(
                game=str(game),
                recipe=str(recipe),
                property_name=name,
                coalitions=masks,
                utilities=rows[name].to_numpy(dtype=np.float64),
                replicates=rows["replicate"].to_numpy(dtype=np.int64),
                train_seconds=rows["train_seconds"].to_numpy(dtype=np.float64),
                sample_seconds=rows["sample_seconds"].to_numpy(dtype=np.float64),
                fingerprints=tuple(map(str, rows["fingerprint"])),
            )
