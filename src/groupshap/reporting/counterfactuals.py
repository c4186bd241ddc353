"""What the model generates with and without a contributor, from stored models and the same noise.

Nothing is trained for it. The model "with" is that of the grand coalition; the model "without" is that of the largest
stored coalition that lacks the contributor. Most plans hold few coalitions without exactly one contributor, so others
are usually missing as well: they are named, because the difference is then theirs, too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from groupshap.images import ImageArray
from groupshap.members import split_members

__all__ = ["Counterfactual", "chosen_contributors", "counterfactuals", "largest_without"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Counterfactual:
    """Images of two models from the same noise.

    Attributes:
        with_all: (n, channels, height, width) uint8, from the grand coalition; image i has noise seed i.
        without: the same from the coalition without the contributor.
        also_missing: further contributors that this coalition lacks.
        n_members: its size.
    """

    with_all: ImageArray
    without: ImageArray
    also_missing: tuple[str, ...]
    n_members: int


def chosen_contributors(order: Sequence[str], n_in_full: int) -> list[str]:
    """All of them, or half of ``n_in_full`` from each end of ``order`` (the best first)."""
    if len(order) <= n_in_full:
        return list(order)
    half = n_in_full // 2
    return [*order[:half], *order[-half:]]


def largest_without(manifest: pd.DataFrame, contributor: str) -> tuple[str, list[str]]:
    """Task id and members of the largest stored coalition without the contributor; of equals, the first planned."""
    members = [split_members(cell) for cell in manifest["members"]]
    candidates = [row for row, names in enumerate(members) if contributor not in names]
    # The empty coalition lacks everybody and is part of every plan, so there is a candidate.
    best = max(candidates, key=lambda row: (len(members[row]), -row))
    return manifest["task_id"].iloc[best], members[best]


def counterfactuals(
    manifest: pd.DataFrame, contributors: Sequence[str], shown: Sequence[str], generate: Callable[[str], ImageArray]
) -> dict[str, Counterfactual]:
    """Generate for each contributor of ``shown``; every model is used once.

    Args:
        manifest: task_id, n_contributors and members of the stored coalitions.
        contributors: all names.
        shown: whose pictures are wanted.
        generate: images of the model of a task id, from the same noise for every model.
    """
    if not shown:
        return {}
    grand = _grand(manifest, len(contributors))
    without = {name: largest_without(manifest, name) for name in shown}
    needed = dict.fromkeys([grand, *(task_id for task_id, _ in without.values())])
    logger.info("Generating images from %d stored models for the report.", len(needed))
    images = {task_id: generate(task_id) for task_id in needed}
    return {
        name: Counterfactual(
            with_all=images[grand],
            without=images[task_id],
            also_missing=tuple(other for other in contributors if other != name and other not in members),
            n_members=len(members),
        )
        for name, (task_id, members) in without.items()
    }


def _grand(manifest: pd.DataFrame, n_contributors: int) -> str:
    rows = manifest[manifest["n_contributors"] == n_contributors]
    if rows.empty:
        raise ValueError(
            f"Expected the grand coalition of {n_contributors} contributors among {len(manifest)} stored models, found "
            "none. Run `kedro run --pipelines subset_finetune,property_eval,shapley_estimation` again."
        )
    return rows["task_id"].iloc[0]
