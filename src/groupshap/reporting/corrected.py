"""What a few retrainings changed: the table of the pipeline ``correction`` in words."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pandas as pd

from groupshap.reporting.inputs import ReportInputs
from groupshap.reporting.words import number, property_words

__all__ = ["corrected"]

logger = logging.getLogger(__name__)


def corrected(inputs: ReportInputs) -> list[dict[str, Any]]:
    """What the template says of each property whose values retrainings have moved.

    Empty without a correction, and, with a warning, where the values on the page are not the corrected ones.
    """
    moves = inputs.correction_moves
    if moves is None or moves.empty:
        return []
    if not _is_of_these_values(moves, inputs):
        logger.warning(
            "The correction is of other values and is left out of the page. To use it: "
            "kedro run --pipelines correction,shapley_estimation,reporting"
        )
        return []
    return [_of_property(name, moves[moves["property"] == name]) for name in inputs.properties]


def _is_of_these_values(moves: pd.DataFrame, inputs: ReportInputs) -> bool:
    key = ["property", "contributor"]
    own = inputs.shapley_values.set_index(key)["shapley_value"].sort_index()
    found = moves.set_index(key)["corrected_value"].sort_index()
    return found.index.equals(own.index) and bool(np.allclose(found, own, rtol=1e-9, atol=0))


def _of_property(name: str, moves: pd.DataFrame) -> dict[str, Any]:
    ordered = moves.sort_values("moved", key=abs, ascending=False, kind="stable")
    return {
        "name": name,
        "title": property_words(name)[0],
        "sentence": _lean(moves),
        "rows": [
            {
                "contributor": row["contributor"],
                "cheap": number(row["cheap_value"]),
                "corrected": number(row["corrected_value"]),
                "moved": number(row["moved"]),
            }
            for row in ordered.to_dict("records")
        ],
    }


def _lean(moves: pd.DataFrame) -> str:
    """In which direction the cheap game leans, and how far single contributors moved beside that."""
    if set(moves["estimator"]) != {"two_fidelity"}:
        return (
            "The retrained models showed that the fine-tuned ones do not help to predict them, so these values rest on "
            "the retrained models alone."
        )
    mean = float(moves["moved"].mean())
    apart = float((moves["moved"] - mean).abs().max())
    spread = float(np.ptp(moves["corrected_value"]))
    direction = "too low" if mean > 0 else "too high"
    share = f", {100 * apart / spread:.0f} % of the range of the values" if spread > 0 else ""
    return (
        f"Fine-tuned models alone give values that are on average {number(abs(mean))} {direction}; beside that, the "
        f"largest move of one contributor is {number(apart)}{share}."
    )
