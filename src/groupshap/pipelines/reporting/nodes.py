"""Nodes of ``reporting``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd

from groupshap.attribution.config import EstimationConfig
from groupshap.engines.base import threads
from groupshap.images import ImageArray
from groupshap.reporting.config import ReportingConfig
from groupshap.reporting.convergence import convergence_table
from groupshap.reporting.counterfactuals import chosen_contributors, counterfactuals
from groupshap.reporting.inputs import ReportInputs
from groupshap.reporting.payment import payment_shares
from groupshap.store import FileRef
from groupshap.tasks.config import DeviceSetting, PropertyEvalConfig, RootSeed

__all__ = ["share_payments", "trace_convergence", "write_report"]

logger = logging.getLogger(__name__)


def share_payments(
    shapley_values: pd.DataFrame, property_directions: dict[str, bool], config: ReportingConfig
) -> pd.DataFrame:
    """Percentages per property under the configured policy."""
    return payment_shares(shapley_values, property_directions, config.payment)


def trace_convergence(
    utilities: pd.DataFrame,
    contributors: pd.DataFrame,
    shapley_values: pd.DataFrame,
    estimation: EstimationConfig,
    config: ReportingConfig,
) -> pd.DataFrame:
    """The values after fewer evaluations."""
    return convergence_table(utilities, contributors, shapley_values, estimation, config.n_convergence_points)


def write_report(
    *,
    coalition_models: Mapping[str, Callable[[], FileRef]],
    config: ReportingConfig,
    estimation: EstimationConfig,
    measuring: PropertyEvalConfig,
    root_seed: RootSeed,
    device: DeviceSetting,
    **tables: Any,
) -> str:
    """The page; ``tables`` are the fields of ``ReportInputs``."""
    from groupshap.reporting.page import write_page

    inputs = ReportInputs(level=estimation.level, config=config, **tables)
    generate = partial(_generate, inputs.measured_models, coalition_models, config, measuring, root_seed, device)
    is_kept = bool((inputs.measured_models["checkpoint"] != "").all())
    if not is_kept:
        logger.warning("No generated images on the page: the models were not kept (`subset_finetune.keep: none`).")
    n_in_full = config.n_contributors_in_full
    shown = chosen_contributors(inputs.best_first, n_in_full) if config.n_generated_images and is_kept else []
    with threads(1):  # the same bits however many cores there are
        generated = counterfactuals(inputs.measured_models, inputs.names, shown, generate)
    return write_page(replace(inputs, generated=generated))


def _generate(
    models: pd.DataFrame,
    coalition_models: Mapping[str, Callable[[], FileRef]],
    config: ReportingConfig,
    measuring: PropertyEvalConfig,
    root_seed: RootSeed,
    device: DeviceSetting,
    task_id: str,
) -> ImageArray:
    """The first images behind the properties of one stored model."""
    from groupshap.tasks.measure import generate

    row = models.set_index("task_id").loc[task_id]
    load = coalition_models.get(f"{row['models_fingerprint']}/{task_id}")
    if load is None or (file := load()).sha256 != row["checkpoint_sha256"]:
        raise ValueError(
            f"The stored model of coalition {task_id} is {'missing' if load is None else 'not the one measured'}. Run "
            "`kedro run --pipelines subset_finetune,property_eval,shapley_estimation,reporting`, or leave the "
            "generated images out: `--params reporting.n_generated_images=0`."
        )
    drawn = (config.n_generated_images, measuring.sampler, root_seed.root, device.root, measuring.prompts)
    return generate(file.path, *drawn)
