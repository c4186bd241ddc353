"""Pipeline ``pruning``."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from groupshap.pipelines.base_training.nodes import draw_samples
from groupshap.pipelines.pruning.nodes import prune_model, recover_model

__all__ = ["create_pipeline"]


def create_pipeline(**_: object) -> Pipeline:
    """base_model → pruned_model, pruning_report, pruned_samples."""
    settings = ["params:root_seed", "params:device"]
    shared = ["images@file", "pruning_store", "params:pruning"]
    return Pipeline(
        [
            Node(
                prune_model,
                ["base_model", *shared, *settings],
                ["unrecovered_model", "pruning_report"],
                name="prune_model",
            ),
            Node(
                recover_model,
                ["unrecovered_model", *shared, "params:base_training", *settings],
                "pruned_model",
                name="recover_model",
            ),
            Node(
                draw_samples,
                ["pruned_model", "params:base_training", "params:property_eval", *settings],
                "pruned_samples",
                name="draw_pruned_samples",
            ),
        ],
        namespace="pruning",
        inputs={"base_model", "images@file", "pruning_store"},
        outputs={"unrecovered_model", "pruning_report", "pruned_model", "pruned_samples"},
        parameters={"params:pruning", "params:base_training", "params:property_eval", *settings},
        prefix_datasets_with_namespace=False,
    )
