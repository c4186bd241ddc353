"""All attributions in one table: ours, its companions, the baselines, and the two that any method must beat.

A value predicts the *raw* property: Σ values over S grows with v(S). Scores that only say how important somebody is
(the size, similarities, influences) are flipped where lower values of the property are better.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from groupshap.attribution.utilities_table import check_directions, player_names
from groupshap.games.types import FloatArray
from groupshap.members import short_name
from groupshap.seeds import generator_for

__all__ = ["OURS", "RANDOM", "SIZE", "attribution_values", "gather", "scaled_attributions"]

OURS = "groupshap"
RANDOM = "random"
SIZE = "size"
N_RANDOM = 100
IN_UNITS_OF_THE_PROPERTY = ("loo", "add_one_in", "banzhaf", "datamodel")
COLUMNS = ("attribution", "property", "contributor", "value", "draw", "has_scale")


def gather(
    shapley_values: pd.DataFrame,
    estimator_comparison: pd.DataFrame,
    baseline_attributions: pd.DataFrame | None,
    contributors: pd.DataFrame,
    property_directions: Mapping[str, bool],
    root_seed: int = 0,
) -> pd.DataFrame:
    """One row per attribution, property, contributor and draw.

    Args:
        shapley_values: values of the main estimator, called ``groupshap`` here whatever it is.
        estimator_comparison: values of all estimators, called ``shapley/<estimator>``; the main one is not repeated.
        baseline_attributions: attribution, property, contributor, value, signs as above; None without baselines.
        contributors: player, contributor, n_images.
        property_directions: {property: whether higher values are better}.
        root_seed: root of the random attributions.

    Returns:
        attribution, property, contributor, value, draw (0; 0..99 for ``random``, whose score is the mean over draws)
        and has_scale: whether v(∅) + Σ values predicts v(S), so that values have a unit and a sign. Random draws come
        in pairs of opposite sign, so that their mean score is the expected one, 0, without an error of its own.

    Raises:
        ValueError: a property without direction, values of unknown or missing contributors, or no finite numbers.
    """
    names = player_names(contributors)
    properties = list(dict.fromkeys(shapley_values["property"]))
    check_directions(properties, property_directions)
    ours = shapley_values.assign(attribution=OURS, value=shapley_values["shapley_value"], has_scale=True)
    tables = [ours, _companions(shapley_values, estimator_comparison)]
    if baseline_attributions is not None:
        family = baseline_attributions["attribution"].str.partition("/")[0]
        tables.append(baseline_attributions.assign(has_scale=family.isin(IN_UNITS_OF_THE_PROPERTY)))
    tables += [_sizes(contributors, properties, property_directions), _random(names, properties, root_seed)]
    table = pd.concat([part.assign(draw=part.get("draw", 0)) for part in tables], ignore_index=True)
    table = table[list(COLUMNS)].astype({"value": float, "draw": int, "has_scale": bool})
    _check(table, names)
    return table


def attribution_values(attributions: pd.DataFrame, property_name: str, names: tuple[str, ...]) -> dict[str, FloatArray]:
    """{attribution: (n_draws, n_players) float64} of one property, in the order of the table.

    Raises:
        ValueError: the table holds no attribution of the property.
    """
    table = attributions[attributions["property"] == property_name]
    if table.empty:
        known = ", ".join(dict.fromkeys(attributions["property"])) or "none"
        raise ValueError(f"Expected attributions of property {property_name!r}, got only: {known}.")
    return {
        str(name): rows.pivot(index="draw", columns="contributor", values="value")[list(names)].to_numpy(np.float64)
        for name, rows in table.groupby("attribution", sort=False)
    }


def scaled_attributions(attributions: pd.DataFrame) -> set[str]:
    """Names of the attributions whose values are in units of the property."""
    return set(attributions.loc[attributions["has_scale"], "attribution"])


def _companions(shapley_values: pd.DataFrame, estimator_comparison: pd.DataFrame) -> pd.DataFrame:
    """The estimators that are not the main one; the main one is known by its numbers, per property."""
    key = ["property", "contributor"]
    main = shapley_values[[*key, "shapley_value"]].rename(columns={"shapley_value": "main"})
    table = estimator_comparison.merge(main, on=key, how="left")
    is_main = (table["shapley_value"] == table["main"]).groupby([table["property"], table["estimator"]])
    table = table[~is_main.transform("all")]
    return table.assign(attribution="shapley/" + table["estimator"], value=table["shapley_value"], has_scale=True)


def _sizes(contributors: pd.DataFrame, properties: list[str], directions: Mapping[str, bool]) -> pd.DataFrame:
    n_images = contributors["n_images"].to_numpy(np.float64)
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "attribution": SIZE,
                    "property": name,
                    "contributor": contributors["contributor"],
                    "value": n_images if directions[name] else -n_images,
                    "has_scale": False,
                }
            )
            for name in properties
        ]
    )


def _random(names: list[str], properties: list[str], root_seed: int) -> pd.DataFrame:
    parts = [
        pd.DataFrame(
            {
                "attribution": RANDOM,
                "property": name,
                "contributor": names,
                "value": sign * generator_for(root_seed, "random attribution", name, pair).standard_normal(len(names)),
                "draw": 2 * pair + (sign < 0.0),
                "has_scale": False,
            }
        )
        for name in properties
        for pair in range(N_RANDOM // 2)
        for sign in (1.0, -1.0)
    ]
    return pd.concat(parts)


def _check(table: pd.DataFrame, names: list[str]) -> None:
    problems = []
    for (attribution, property_name, _), rows in table.groupby(["attribution", "property", "draw"], sort=False):
        label = f"{attribution} for {property_name}"
        found = rows["contributor"].tolist()
        wrong = sorted({short_name(str(name), 40) for name in set(found) ^ set(names)})
        if wrong or len(found) != len(names):
            problems.append(f"{label}: expected every contributor once, not so for {', '.join(wrong[:5]) or 'some'}.")
        n_bad = int((~np.isfinite(rows["value"].to_numpy(np.float64))).sum())
        if n_bad:
            problems.append(f"{label}: expected finite values, got {n_bad} that are not.")
    if problems:
        raise ValueError("\n".join([f"{len(problems)} problems with the attributions:", *problems[:20]]))
