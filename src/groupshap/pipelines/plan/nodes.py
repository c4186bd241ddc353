"""Nodes of ``plan``."""

from __future__ import annotations

from typing import Any

import pandas as pd

from groupshap.attribution.config import EstimationConfig
from groupshap.campaign.shared import Campaign
from groupshap.engines.base import EngineConfig
from groupshap.grouping.config import DataGroupingConfig
from groupshap.store import FileRef, Store
from groupshap.tasks.config import (
    BaseTrainingConfig,
    DeviceSetting,
    PlanConfig,
    PropertyEvalConfig,
    PruningStageConfig,
    RootSeed,
    SubsetFinetuneConfig,
)

__all__ = ["forecast_run"]


def forecast_run(
    *,
    config: PlanConfig,
    data: DataGroupingConfig,
    base: BaseTrainingConfig,
    pruning: PruningStageConfig,
    finetuning: SubsetFinetuneConfig,
    measuring: PropertyEvalConfig,
    estimation: EstimationConfig,
    engine: EngineConfig,
    root_seed: RootSeed,
    device: DeviceSetting,
    images: FileRef | None,
    base_store: Store,
    pruning_store: Store,
    **known: Any,
) -> pd.DataFrame:
    """Coalitions, hours, memory, disk and interval widths; ``known`` are the fields of ``Known``, None if not there."""
    from groupshap.campaign.forecast import Known, Settings, forecast
    from groupshap.diffusion.base import resolve_device

    timings = (base_store, pruning_store)
    campaign = Campaign(images, root_seed.root, device.root, engine, timings) if images else None
    where = {"device": resolve_device(device.root).type, "n_threads": engine.n_threads_per_worker}
    settings = Settings(config, data, base, pruning, finetuning, measuring, estimation)
    return forecast(campaign, Known(**known), settings, where, engine.n_jobs_at_once())
