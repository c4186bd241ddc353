"""What fidelity costs: the cheap game under many settings, against retraining, on the same coalitions."""

from __future__ import annotations

from itertools import product

import pandas as pd

from groupshap.campaign.coalitions import finetune
from groupshap.campaign.held_out import paired_plan
from groupshap.campaign.measuring import assemble, measure_models
from groupshap.campaign.models import prune, recover
from groupshap.campaign.recipes import StartModels
from groupshap.campaign.shared import Campaign
from groupshap.store import FileRef, Store
from groupshap.tasks.config import (
    AblationConfig,
    BaseTrainingConfig,
    PropertyEvalConfig,
    PruningStageConfig,
    SubsetFinetuneConfig,
)

__all__ = ["ablate"]


def ablate(
    campaign: Campaign,
    *,
    pruning_store: Store,
    models: Store,
    records: Store,
    base_model: FileRef,
    image_table: FileRef,
    contributors: pd.DataFrame,
    validation_coalitions: pd.DataFrame,
    config: AblationConfig,
    base: BaseTrainingConfig,
    pruning: PruningStageConfig,
    finetuning: SubsetFinetuneConfig,
    measuring: PropertyEvalConfig,
) -> pd.DataFrame:
    """Utilities of the same coalitions in every cell of the grid; whatever is committed is not computed again.

    Returns:
        One row per cell and coalition: the columns of the utilities table, and fraction_removed, n_steps, n_images,
        sampler_n_steps before them.
    """
    plan = spread(paired_plan(validation_coalitions), config.n_coalitions)
    tables = []
    for fraction_removed in config.fractions_removed:
        stage = pruning.model_copy(update={"fraction_removed": fraction_removed})
        pruned, _ = prune(campaign, pruning_store, base_model, stage)
        recovered = recover(campaign, pruning_store, pruned, stage, base)
        start = StartModels(base_model, recovered)
        for n_steps in config.n_steps:
            train = finetuning.train.model_copy(update={"n_steps": n_steps})
            # Several cells measure the same models.
            recipe = finetuning.model_copy(update={"train": train, "recipe": "sparsified", "keep": "weights"})
            manifest = finetune(campaign, models, start, plan, contributors, recipe)
            for n_images, sampler_n_steps in product(config.n_images, config.sampler_n_steps):
                sampler = measuring.sampler.model_copy(update={"n_steps": sampler_n_steps})
                cheaper = measuring.model_copy(update={"n_images": n_images, "sampler": sampler})
                utilities = assemble(manifest, measure_models(campaign, records, manifest, image_table, cheaper))
                cell = {
                    "fraction_removed": fraction_removed,
                    "n_steps": n_steps,
                    "n_images": n_images,
                    "sampler_n_steps": sampler_n_steps,
                }
                tables.append(pd.concat([pd.DataFrame([cell] * len(utilities)), utilities], axis=1))
    return pd.concat(tables, ignore_index=True)


def spread(plan: pd.DataFrame, n_coalitions: int) -> pd.DataFrame:
    """At most so many coalitions, spread over the sizes; both end points if they are there."""
    if n_coalitions >= len(plan):
        return plan
    ordered = plan.sort_values(["n_contributors", "coalition_id"], kind="stable")
    chosen = [round(row * (len(ordered) - 1) / max(n_coalitions - 1, 1)) for row in range(n_coalitions)]
    return ordered.iloc[chosen].reset_index(drop=True)
