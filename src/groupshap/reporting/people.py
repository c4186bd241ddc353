"""One section per contributor: images, what the model does without them, who resembles and who completes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from groupshap.images import ImageArray
from groupshap.members import short_name
from groupshap.reporting.counterfactuals import Counterfactual
from groupshap.reporting.fitted_game import FittedGame
from groupshap.reporting.inputs import ReportInputs
from groupshap.reporting.pictures import SIDE_PX_MAX, data_uris, spread
from groupshap.reporting.words import number

__all__ = ["N_NAME_COLUMNS", "contributor_sections"]

N_NAME_COLUMNS = 40
N_NEIGHBOURS = 3
N_IMAGES_OF_MANY = 4
"""Own images per contributor where there are too many contributors for the full number."""
SIDE_PX_OF_MANY = 64
"""And their longest side."""
N_MISSING_NAMED = 12


def contributor_sections(inputs: ReportInputs, games: Mapping[str, FittedGame]) -> list[dict[str, Any]]:
    """What the template shows of each contributor, the best mean rank first."""
    ranks = {name: inputs.ranks_of(name) for name in inputs.properties}
    values = {name: inputs.values_of(name) for name in inputs.properties}
    payments = {name: inputs.payments_of(name) for name in inputs.properties}
    neighbours = {name: _neighbours(inputs, name) for name in inputs.properties}
    known = set(inputs.interactions["property"])
    player_of = {name: player for player, name in enumerate(inputs.names)}
    about = inputs.contributors.sort_values("player", kind="stable").to_dict("records")
    generated_uris: dict[int, list[str]] = {}
    sections = []
    for name in inputs.best_first:
        player = player_of[name]
        found = inputs.generated.get(name)
        sections.append(
            {
                **_who(about[player], player),
                "images": _own_images(inputs, player),
                "generated": None if found is None else _generated(found, generated_uris, player_of),
                "properties": [
                    {
                        "name": of,
                        "value": values[of].loc[name],
                        "rank": ranks[of][name],
                        "payment": payments[of].loc[name],
                        "has_neighbours": of in known,
                        "neighbours": [_neighbour(inputs, pair) for pair in neighbours[of][player]],
                        "by_size": _by_size(inputs.directions[of], games[of], player),
                    }
                    for of in inputs.properties
                ],
            }
        )
    return sections


def _who(row: Mapping[str, Any], player: int) -> dict[str, Any]:
    return {
        "player": player,
        "name": row["contributor"],
        "label": short_name(row["contributor"], N_NAME_COLUMNS),
        "n_images": int(row["n_images"]),
        **{key: str(row.get(key) or "") for key in ("licence", "credit", "defect")},
    }


def _own_images(inputs: ReportInputs, player: int) -> list[dict[str, str]]:
    """Some images, spread over all the contributor has, each with what its source calls it."""
    own = np.flatnonzero(inputs.pack.players == player)
    full = len(inputs.names) <= inputs.config.n_contributors_in_full
    n_wanted = inputs.config.n_images_per_contributor if full else N_IMAGES_OF_MANY
    picked = own[spread(len(own), min(n_wanted, inputs.config.n_images_per_contributor))]
    items = inputs.image_table["source_item"].astype(str).to_numpy()[picked]
    uris = data_uris(inputs.pack.images[picked], SIDE_PX_MAX if full else SIDE_PX_OF_MANY)
    return [{"uri": uri, "alt": short_name(item, 60)} for uri, item in zip(uris, items, strict=True)]


def _generated(found: Counterfactual, uris_of: dict[int, list[str]], player_of: Mapping[str, int]) -> dict[str, Any]:
    return {
        "with_all": _uris(found.with_all, uris_of),
        "without": _uris(found.without, uris_of),
        "n_members": found.n_members,
        "also_missing": [
            {"player": player_of[name], "label": short_name(name, N_NAME_COLUMNS)}
            for name in found.also_missing[:N_MISSING_NAMED]
        ],
        "n_not_named": max(0, len(found.also_missing) - N_MISSING_NAMED),
    }


def _uris(images: ImageArray, uris_of: dict[int, list[str]]) -> list[str]:
    """Encoded once for all contributors that share a model."""
    if id(images) not in uris_of:
        uris_of[id(images)] = data_uris(images)
    return uris_of[id(images)]


def _neighbours(inputs: ReportInputs, property_name: str) -> list[list[tuple[str, int, float, float]]]:
    """Per player ("similar" or "complementary", other player, interaction towards better, standard error).

    An interaction is what two contributors bring together beyond what each brings alone; turned towards better,
    negative means that they replace each other.
    """
    n_players = len(inputs.names)
    index, errors = _interaction_matrices(inputs, property_name)
    found: list[list[tuple[str, int, float, float]]] = []
    for player in range(n_players):
        others = [other for other in np.argsort(index[player], kind="stable") if np.isfinite(index[player, other])]
        least = [other for other in others if index[player, other] < 0][:N_NEIGHBOURS]
        most = [other for other in reversed(others) if index[player, other] > 0][:N_NEIGHBOURS]
        kinds = [("similar", other) for other in least] + [("complementary", other) for other in most]
        found.append(
            [(kind, int(other), float(index[player, other]), float(errors[player, other])) for kind, other in kinds]
        )
    return found


def _interaction_matrices(
    inputs: ReportInputs, property_name: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(n_players, n_players) interactions towards better and their standard errors; nan on the diagonal and unknown."""
    player_of = {name: player for player, name in enumerate(inputs.names)}
    table = inputs.interactions[inputs.interactions["property"] == property_name]
    a, b = (table[column].map(player_of).to_numpy(np.int64) for column in ("contributor_a", "contributor_b"))
    index, errors = np.full((2, len(player_of), len(player_of)), np.nan)
    sign = 1.0 if inputs.directions[property_name] else -1.0
    index[a, b] = index[b, a] = sign * table["interaction"].to_numpy(np.float64)
    errors[a, b] = errors[b, a] = table["standard_error"].to_numpy(np.float64)
    return index, errors


def _neighbour(inputs: ReportInputs, pair: tuple[str, int, float, float]) -> dict[str, Any]:
    kind, other, index, error = pair
    return {
        "kind": kind,
        "player": other,
        "label": short_name(inputs.names[other], N_NAME_COLUMNS),
        "index": number(index, sign=True),
        "error": number(error, digits=2),
        "is_clear": abs(index) > inputs.quantile * error,
    }


def _by_size(higher_is_better: bool, game: FittedGame, player: int) -> str:
    """The plot of marginal contributions in one sentence."""
    if game.marginals is None:
        return ""
    known = [value for value in game.marginals[player] if np.isfinite(value)]
    words = [_change(value, higher_is_better) for value in _ends(known)]
    if len(words) == 1:
        return f"Joining changes it by {words[0]}."
    return f"Joining nobody changes it by {words[0]}; joining all the others changes it by {words[1]}."


def _ends(values: Sequence[float]) -> list[float]:
    return [values[0]] if len(values) == 1 else [values[0], values[-1]]


def _change(value: float, higher_is_better: bool) -> str:
    return f"{number(value, sign=True)} ({'better' if (value >= 0) == higher_is_better else 'worse'})"
