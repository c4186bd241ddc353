"""A few retrainings beside many cheap evaluations: which coalitions, at which fidelity, and when to stop."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import pandas as pd

from groupshap.attribution.utilities_table import coalition_utilities, property_columns
from groupshap.campaign.coalitions import ESTIMATION, plan_table
from groupshap.campaign.splits import Workshop, make_and_measure
from groupshap.errors import UserError
from groupshap.games import CoalitionMatrix, distinct_coalitions
from groupshap.games.spending import NextEvaluations, next_evaluations
from groupshap.image_pack import ImagePack, load_pack
from groupshap.seeds import seed_for
from groupshap.tasks.config import CorrectionConfig, SubsetFinetuneConfig

__all__ = ["CORRECTION", "UnknownPropertyError", "correct"]

logger = logging.getLogger(__name__)

CORRECTION = "correction"
"""The split whose rows are retrained."""
_N_FIRST = 8


class UnknownPropertyError(UserError, ValueError):
    """``correction.property`` was not measured."""


@dataclass(frozen=True)
class _Rows:
    """What has been asked for so far: (n_rows, n_players) bool each."""

    cheap: CoalitionMatrix
    retrained: CoalitionMatrix

    def more(self, batch: NextEvaluations) -> _Rows:
        cheap, retrained = batch.of_level(0), batch.of_level(1)
        return _Rows(np.concatenate([self.cheap, cheap]), np.concatenate([self.retrained, retrained]))


def correct(
    workshop: Workshop, utilities: pd.DataFrame, finetuning: SubsetFinetuneConfig, config: CorrectionConfig
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Retrain some coalitions, in rounds if so configured; what is committed is not computed again.

    The choice of a round depends on measured utilities and recorded seconds only, so a run that was killed, started
    again, asks for the same rows.

    Args:
        workshop: What making and measuring needs.
        utilities: Of the cheap game.
        finetuning: Its recipe, for further cheap evaluations.
        config: Of the correction.

    Returns:
        The utilities of both games (cheap rows of split ``estimation``, retrained ones of split ``correction``), and
        one row per round: n_retrained, n_cheap, seconds (work spent on both games), expected_error (root mean squared
        standard error per player in the unit of the property; empty for a passive plan).

    Raises:
        UnknownPropertyError: before anything is trained.
    """
    target = _target(utilities, config)
    pack = load_pack(workshop.campaign.images.path)
    masks, _ = coalition_utilities(utilities, workshop.contributors)
    n_first = min(_N_FIRST, config.n_retrained) if config.adaptive else config.n_retrained
    # v(∅) is that of an untrained network: it varies most between seeds and costs no training, so it is taken twice.
    first = np.concatenate([distinct_coalitions(masks)[:n_first], np.zeros((1, masks.shape[1]), dtype=bool)])
    rows, rounds = _Rows(masks, first), []
    while True:
        table = _measured(workshop, rows, pack, utilities, finetuning, config)
        batch = _next(table, workshop, target, config, len(rounds)) if config.adaptive else None
        rounds.append(_round(table, batch))
        if batch is None or not len(batch) or _is_enough(rounds[-1], config):
            return table, pd.DataFrame(rounds)
        rows = rows.more(batch)


def _target(utilities: pd.DataFrame, config: CorrectionConfig) -> str:
    properties = property_columns(utilities)
    if config.property is not None and config.property not in properties:
        raise UnknownPropertyError(
            f"`correction.property` is {config.property!r}: expected one of {', '.join(properties)}."
        )
    return config.property or properties[0]


def _measured(
    workshop: Workshop,
    rows: _Rows,
    pack: ImagePack,
    utilities: pd.DataFrame,
    finetuning: SubsetFinetuneConfig,
    config: CorrectionConfig,
) -> pd.DataFrame:
    """Utilities of all rows asked for, both games; the cheap ones of the estimation are taken as they are."""
    retrained_plan = plan_table(rows.retrained, workshop.contributors, pack, CORRECTION)
    _, retrained = make_and_measure(workshop, retrained_plan, config)
    parts = [utilities[utilities["split"] == ESTIMATION], retrained]
    if len(rows.cheap) > len(parts[0]):
        cheap_plan = plan_table(rows.cheap, workshop.contributors, pack, ESTIMATION)
        parts[0] = make_and_measure(workshop, cheap_plan, finetuning)[1]
    return pd.concat(parts, ignore_index=True)


def _next(
    table: pd.DataFrame, workshop: Workshop, target: str, config: CorrectionConfig, number: int
) -> NextEvaluations:
    """What to evaluate next for the target property."""
    designs, costs = [], []
    for split in (CORRECTION, ESTIMATION):
        masks, values = coalition_utilities(table, workshop.contributors, split)
        designs += [masks, values[target]]
        costs.insert(0, _mean_seconds(table[table["split"] == split]))
    seed = seed_for(workshop.campaign.root_seed, "correction", number)
    return next_evaluations(*designs, seconds=costs, n_evaluations=config.batch, seed=seed)


def _mean_seconds(rows: pd.DataFrame) -> float:
    trained = rows[rows["n_contributors"] > 0]
    return float((trained["train_seconds"] + trained["sample_seconds"]).mean())


def _round(table: pd.DataFrame, batch: NextEvaluations | None) -> dict[str, float]:
    counts = table["split"].value_counts()
    row = {
        "n_retrained": int(counts[CORRECTION]) - 1,  # the second ∅ is no retraining
        "n_cheap": int(counts[ESTIMATION]),
        "seconds": float((table["train_seconds"] + table["sample_seconds"]).sum()),
        "expected_error": float("nan") if batch is None else float(batch.expected_errors[0]),
    }
    logger.info(
        "Correction: %d retrained and %d cheap evaluations, %.0f s of work%s.",
        row["n_retrained"], row["n_cheap"], row["seconds"],
        "" if batch is None else f", expected error {row['expected_error']:.4g}",
    )  # fmt: skip
    return row


def _is_enough(row: dict[str, float], config: CorrectionConfig) -> bool:
    spent = config.hours is not None and row["seconds"] >= 3600 * config.hours
    return spent or row["n_retrained"] >= config.n_retrained
