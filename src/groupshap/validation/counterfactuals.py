"""What happens to the property when the top or bottom contributors of an attribution are removed and one retrains."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import stdtrit

from groupshap.attribution.utilities_table import check_directions, player_names
from groupshap.games import CoalitionMatrix, coalition_id, coalitions_from_members
from groupshap.games.types import FloatArray
from groupshap.members import join_members, split_members
from groupshap.seeds import generator_for
from groupshap.validation.attributions import RANDOM, attribution_values
from groupshap.validation.measured import MeasuredGame, measured_game

__all__ = ["COUNTERFACTUAL_COLUMNS", "counterfactual_table", "removal_coalitions", "removals"]

REMOVAL_COLUMNS = ("attribution", "property", "end", "share", "draw", "n_removed", "coalition_id", "members")
COUNTERFACTUAL_COLUMNS = (
    *("attribution", "property", "end", "share", "n_removed", "relative_change", "low", "high"),
    *("random_change", "random_low", "random_high", "against_random", "against_random_low", "against_random_high"),
    *("n_replicates", "n_random", "note"),
)


def removals(
    attributions: pd.DataFrame,
    contributors: pd.DataFrame,
    property_directions: Mapping[str, bool],
    shares: Sequence[float] = (0.2, 0.4),
    n_random: int = 5,
    root_seed: int = 0,
) -> pd.DataFrame:
    """Who remains when the first or last floor(share · n) contributors, at least one, are removed.

    Args:
        attributions: the table of :func:`~groupshap.validation.attributions.gather`; its random draws are not used.
        contributors: player, contributor, n_images.
        property_directions: {property: whether higher values are better}; ``top`` are those who helped most.
        shares: of the contributors to remove, in (0, 1).
        n_random: random removals per share, the same for all attributions and properties.
        root_seed: root of the random removals.

    Returns:
        attribution, property, end (top, bottom, random), share, draw, n_removed, coalition_id and members (who remain,
        see :mod:`groupshap.members`). Random removals have the attribution ``random`` and an empty property. Ties are
        broken by the order of the players.

    Raises:
        ValueError: a share that removes nobody or everybody, or a property without direction.
    """
    names = tuple(player_names(contributors))
    properties = list(dict.fromkeys(attributions["property"]))
    check_directions(properties, property_directions)
    counts = {share: _n_removed(share, len(names)) for share in shares}
    chosen = []
    for name in properties:
        sign = 1.0 if property_directions[name] else -1.0
        for attribution, draws in attribution_values(attributions, name, names).items():
            best_first = np.argsort(-sign * draws[0], kind="stable")
            for share, count in counts.items() if attribution != RANDOM else ():
                chosen.append((attribution, name, "top", share, 0, best_first[:count]))
                chosen.append((attribution, name, "bottom", share, 0, best_first[len(names) - count :]))
    for share, count in counts.items():
        for draw in range(n_random):
            order = generator_for(root_seed, "random removal", draw).permutation(len(names))
            chosen.append((RANDOM, "", "random", share, draw, order[:count]))
    return pd.DataFrame([_removal(*row, names=names) for row in chosen], columns=list(REMOVAL_COLUMNS))


def removal_coalitions(removed: pd.DataFrame, contributors: pd.DataFrame) -> CoalitionMatrix:
    """(n_coalitions, n_players) bool, to be retrained: the grand coalition and each one of :func:`removals` once."""
    number_of = {name: player for player, name in enumerate(player_names(contributors))}
    cells = removed.drop_duplicates("coalition_id")["members"]
    members = [range(len(number_of)), *([number_of[name] for name in split_members(cell)] for cell in cells)]
    return coalitions_from_members(members, len(number_of))


def counterfactual_table(
    utilities: pd.DataFrame, removed: pd.DataFrame, contributors: pd.DataFrame, level: float = 0.95
) -> pd.DataFrame:
    """Relative change of the property, mean over replicates, beside that of random removals of as many contributors.

    Args:
        utilities: retrained rows, of one split, of the grand coalition and of every coalition in ``removed``.
        removed: the table of :func:`removals`.
        contributors: player, contributor, n_images.
        level: coverage of the intervals.

    Returns:
        :data:`COUNTERFACTUAL_COLUMNS`. ``relative_change`` = v(S)/v(N) − 1 in the raw property, signed by |v(N)|; its
        interval is Student's t with the sample variances of both means over their replicates (Welch), empty for a
        single replicate. ``random_change`` is the mean over random removals, its interval over them;
        ``against_random`` is the difference of the two changes.

    Raises:
        ValueError: what is wrong with the table, or coalitions that were not measured (some are named).
    """
    game = measured_game(utilities, contributors)
    grand = coalition_id(np.ones(len(game.names), dtype=bool))
    unmeasured = sorted({grand, *removed["coalition_id"]} - set(game.ids))
    if unmeasured:
        raise ValueError(
            f"Expected retrained rows of the grand coalition ({grand}) and of all removals, missing: "
            f"{', '.join(unmeasured[:5])}{f' and {len(unmeasured) - 5} more' if len(unmeasured) > 5 else ''}."
        )
    rows = []
    ordered = removed[removed["end"] != "random"]
    for (name, share), group in ordered.groupby(["property", "share"], sort=False):
        chance = removed[(removed["end"] == "random") & (removed["share"] == share)]
        random = [_Sample.of(game, name, id_) for id_ in chance["coalition_id"]]
        whole = _Sample.of(game, name, grand)
        for row in group.itertuples():
            fixed = {"attribution": row.attribution, "property": name, "end": row.end, "share": share}
            fixed["n_removed"] = row.n_removed
            rows.append(fixed | _changes(_Sample.of(game, name, row.coalition_id), whole, random, level))
    return pd.DataFrame(rows, columns=list(COUNTERFACTUAL_COLUMNS))


@dataclass(frozen=True)
class _Sample:
    """A mean, the variance of that mean (nan for one number) and its degrees of freedom."""

    mean: float
    variance: float
    freedom: int

    @classmethod
    def of_numbers(cls, numbers: FloatArray) -> _Sample:
        n = len(numbers)
        return cls(float(np.mean(numbers)), float(np.var(numbers, ddof=1)) / n if n > 1 else math.nan, n - 1)

    @classmethod
    def of(cls, game: MeasuredGame, name: str, id_: str) -> _Sample:
        """Over the replicates of one coalition."""
        values = game.utilities[name][game.ids.index(id_)]
        return cls.of_numbers(values[np.isfinite(values)])


def _changes(sample: _Sample, whole: _Sample, random: Sequence[_Sample], level: float) -> dict[str, object]:
    counts = {"n_replicates": sample.freedom + 1, "n_random": len(random)}
    if whole.mean == 0.0:
        return counts | {"note": "v(N) is 0, so no change can be relative to it"}
    change, low, high = _relative_difference(sample, whole, whole, level)
    found = {**counts, "relative_change": change, "low": low, "high": high, "note": ""}
    if not math.isfinite(low):
        found["note"] = "no interval: fewer than two replicates of this coalition or of the grand one"
    if not random:
        return found
    chance = _Sample.of_numbers(np.array([one.mean for one in random]))
    for columns, pair in ((RANDOM_COLUMNS, (chance, whole)), (AGAINST_COLUMNS, (sample, chance))):
        found |= zip(columns, _relative_difference(*pair, whole, level), strict=True)
    return found


RANDOM_COLUMNS = ("random_change", "random_low", "random_high")
AGAINST_COLUMNS = ("against_random", "against_random_low", "against_random_high")


def _relative_difference(first: _Sample, second: _Sample, whole: _Sample, level: float) -> tuple[float, float, float]:
    """(first − second) / |v(N)| with Welch's interval, the error of v(N) carried through to first order."""
    scale = abs(whole.mean)
    difference = (first.mean - second.mean) / scale
    if second is whole:  # first / v(N) − 1, so that v(N) enters once
        parts = [(first.variance / scale**2, first.freedom), (first.mean**2 * whole.variance / scale**4, whole.freedom)]
    else:
        parts = [(sample.variance / scale**2, sample.freedom) for sample in (first, second)]
        parts.append((difference**2 * whole.variance / scale**2, whole.freedom))
    total = sum(variance for variance, _ in parts)
    if not math.isfinite(total):
        return difference, math.nan, math.nan
    if total == 0.0:
        return difference, difference, difference
    # Welch 1947, Satterthwaite 1946.
    freedom = total**2 / sum(variance**2 / freedom for variance, freedom in parts)
    half_width = float(stdtrit(freedom, 0.5 + level / 2.0)) * math.sqrt(total)
    return difference, difference - half_width, difference + half_width


def _removal(
    attribution: str,
    property_name: str,
    end: str,
    share: float,
    draw: int,
    players: npt.NDArray[np.int64],
    *,
    names: tuple[str, ...],
) -> tuple[object, ...]:
    """One row of the table of removals."""
    mask = np.ones(len(names), dtype=bool)
    mask[players] = False
    members = join_members(np.array(names, dtype=object)[mask])
    return attribution, property_name, end, share, draw, len(players), coalition_id(mask), members


def _n_removed(share: float, n_players: int) -> int:
    # 0.4 * 5 is 2.0000000000000004 in other orders of multiplication: the floor must not lose a contributor.
    count = max(int(share * n_players + 1e-9), 1)
    if not 0.0 < share < 1.0 or count >= n_players:
        raise ValueError(
            f"Expected shares that leave somebody of {n_players} contributors, got {share} ({count} removed)."
        )
    return count
