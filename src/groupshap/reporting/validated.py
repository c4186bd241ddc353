"""Whether the values predict models that were really retrained: the tables of the pipeline ``validation`` in words."""

from __future__ import annotations

import logging
import math
from typing import Any

import pandas as pd

from groupshap.reporting.inputs import ReportInputs
from groupshap.reporting.words import number, property_words

__all__ = ["validated"]

logger = logging.getLogger(__name__)

OURS, SIZE, RANDOM = "groupshap", "size", "random"
"""Names of attributions in the table ``lds``."""

MEASURES = {
    "pearson_v": "Correlation of the property of both models",
    "spearman_v": "Rank correlation of the property",
    "bias_v": "Mean difference of the property, fine-tuned minus retrained",
    "pearson_shapley": "Correlation of the values computed from either",
    "spearman_shapley": "Rank correlation of these values",
    "relative_l2_shapley": "Relative distance of these values",
    "cost_ratio": "Time of retraining over time of fine-tuning",
}


def validated(inputs: ReportInputs) -> list[dict[str, Any]]:
    """What the template says of each property that was validated.

    Empty without any table, and, with a warning, where the tables are of an earlier run with other values.
    """
    if not _is_of_these_values(inputs):
        logger.warning(
            "The validation is of other values and is left out of the page. To validate these: "
            "kedro run --pipelines validation,reporting"
        )
        return []
    found = []
    for name in inputs.properties:
        lds, fidelity = _rows_of(inputs.lds, name), _rows_of(inputs.fidelity, name)
        if lds.empty and fidelity.empty:
            continue
        known = lds[lds["lds"].notna()] if len(lds) else lds
        found.append(
            {
                "name": name,
                "title": property_words(name)[0],
                "sentences": [*_lds_sentences(known, len(inputs.names)), *_fidelity_sentences(fidelity)],
                "lds": [_lds_row(row) for row in _best_first(known)],
                "fidelity": [_fidelity_row(row) for row in fidelity.to_dict("records") if row["measure"] in MEASURES],
            }
        )
    return found


def _is_of_these_values(inputs: ReportInputs) -> bool:
    if inputs.attributions is None:
        return True
    key = ["property", "contributor"]
    scored = inputs.attributions[inputs.attributions["attribution"] == OURS].set_index(key)["value"].sort_index()
    own = inputs.shapley_values.set_index(key)["shapley_value"].sort_index()
    return scored.index.equals(own.index) and bool((scored == own).all())


def _rows_of(table: pd.DataFrame | None, name: str) -> pd.DataFrame:
    return pd.DataFrame() if table is None else table[table["property"] == name]


def _best_first(lds: pd.DataFrame) -> list[dict[str, Any]]:
    """By size of the coalitions, the best attribution first."""
    if lds.empty:
        return []
    ordered = lds.sort_values(["n_contributors", "lds"], ascending=[True, False], kind="stable")
    return [{str(key): value for key, value in row.items()} for row in ordered.to_dict("records")]


def _lds_sentences(lds: pd.DataFrame, n_players: int) -> list[str]:
    """One sentence per size of the held-out coalitions."""
    sentences = []
    for size, rows in lds.groupby("n_contributors") if len(lds) else []:
        scores = rows.set_index("attribution")
        if OURS not in scores.index:
            continue
        ours = scores.loc[OURS]
        others = scores.drop(index=[OURS, RANDOM], errors="ignore")["lds"].sort_values(ascending=False)
        sentences.append(
            f"Of {ours['n_coalitions']:.0f} held-out coalitions of {size} of {n_players} contributors, the sum of the "
            f"members' values has a rank correlation of {number(ours['lds'], digits=2)} "
            f"({number(ours['low'], digits=2)} to {number(ours['high'], digits=2)}) with what their retrained models "
            f"show.{_ceiling_words(ours['ceiling'])}{_others_words(others)}"
        )
    return sentences


def _ceiling_words(ceiling: float) -> str:
    if not math.isfinite(ceiling):
        return ""
    return (
        f" Retraining is noisy itself, so the best that values can be expected to reach is {number(ceiling, digits=2)}."
    )


def _others_words(others: pd.Series) -> str:
    """The best of the other attributions, and counting images."""
    if others.empty:
        return ""
    counting = f"; counting images reaches {number(others[SIZE], digits=2)}" if SIZE in others.index else ""
    best = number(others.iloc[0], digits=2)
    return f" The best of {len(others)} other attributions, {others.index[0]}, reaches {best}{counting}."


def _fidelity_sentences(fidelity: pd.DataFrame) -> list[str]:
    if fidelity.empty:
        return []
    values = fidelity.set_index("measure")["value"]
    n_coalitions = int(fidelity["n_coalitions"].max())
    cost = values.get("cost_ratio", math.nan)
    cheaper = f" Retraining takes {number(cost, digits=2)} times as long." if math.isfinite(cost) else ""
    return [
        f"On {n_coalitions} coalitions measured both ways, fine-tuned and retrained models agree with a correlation of "
        f"{number(values['pearson_v'], digits=2)}, and the values computed from either with "
        f"{number(values['pearson_shapley'], digits=2)}.{cheaper}"
    ]


def _lds_row(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "attribution": row["attribution"],
        "is_ours": row["attribution"] == OURS,
        "size": row["n_contributors"],
        "score": _with_interval(row["lds"], row["low"], row["high"]),
        "ceiling": number(row["ceiling"], digits=2),
    }


def _fidelity_row(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "label": MEASURES[row["measure"]],
        "score": _with_interval(row["value"], row["low"], row["high"]),
        "ceiling": number(row["ceiling"], digits=2),
    }


def _with_interval(value: float, low: float, high: float) -> str:
    if not (math.isfinite(low) and math.isfinite(high)):
        return number(value, digits=2)
    return f"{number(value, digits=2)} ({number(low, digits=2)} to {number(high, digits=2)})"
