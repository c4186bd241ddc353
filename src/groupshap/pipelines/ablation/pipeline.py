"""Pipeline ``ablation``."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from groupshap.pipelines.ablation.nodes import plot_ablation, run_grid, score_grid
from groupshap.pipelines.group import group_of

__all__ = ["create_pipeline"]


def create_pipeline(**_: object) -> Pipeline:
    """base_model, validation_utilities → ablation: fidelity against cost."""
    inputs = {
        "pruning_store": "pruning_store",
        "models": "coalition_store",
        "records": "property_store",
        "base_model": "base_model",
        "images": "images@file",
        "image_table": "image_table@file",
        "contributors": "contributors",
        "validation_coalitions": "validation_coalitions",
    }
    parameters = {
        "config": "params:ablation",
        "base": "params:base_training",
        "pruning": "params:pruning",
        "finetuning": "params:subset_finetune",
        "measuring": "params:property_eval",
        "engine": "params:engine",
        "root_seed": "params:root_seed",
        "device": "params:device",
    }
    scoring = ["params:ablation", "params:validation", "params:root_seed"]
    return group_of(
        [
            Node(run_grid, {**inputs, **parameters}, "ablation_utilities", name="run_grid"),
            Node(
                score_grid,
                ["ablation_utilities", "validation_utilities", "contributors", *scoring],
                "ablation",
                name="score_grid",
            ),
            Node(plot_ablation, "ablation", "ablation_plot", name="plot_ablation"),
        ],
        "ablation",
    )
