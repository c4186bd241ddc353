"""A split from plan to utilities: models made, measured, assembled."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import pandas as pd

from groupshap.campaign.coalitions import finetune
from groupshap.campaign.measuring import assemble, measure_models, open_measurement
from groupshap.campaign.recipes import StartModels
from groupshap.campaign.shared import Campaign
from groupshap.store import FileRef, Store
from groupshap.tasks.config import CoalitionTraining, PropertyEvalConfig

__all__ = ["Workshop", "make_and_measure"]


@dataclass(frozen=True)
class Workshop:
    """What making and measuring models needs, whatever the split.

    Attributes:
        campaign: What all stages share.
        start: What the models can start from.
        models: Store of coalitions' models.
        records: Store of their measured properties.
        contributors: One row per player.
        image_table: Parquet file with one row per image.
        measuring: What is measured.
    """

    campaign: Campaign
    start: StartModels
    models: Store
    records: Store
    contributors: pd.DataFrame
    image_table: FileRef
    measuring: PropertyEvalConfig


def make_and_measure(
    workshop: Workshop, plan: pd.DataFrame, config: CoalitionTraining
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The manifest and the utilities of a plan; what is committed is not computed again.

    Raises:
        JobsFailedError: some failed; all others are committed.
    """
    w = workshop
    measured_by = partial(open_measurement, w.campaign, w.records, w.image_table, w.measuring)
    manifest = finetune(w.campaign, w.models, w.start, plan, w.contributors, config, measured_by)
    measured = measure_models(w.campaign, w.records, manifest, w.image_table, w.measuring)
    return manifest, assemble(manifest, measured)
