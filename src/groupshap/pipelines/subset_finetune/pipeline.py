"""Pipeline ``subset_finetune``."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from groupshap.pipelines.subset_finetune.nodes import draw_coalitions, finetune_coalitions

__all__ = ["create_pipeline"]


def create_pipeline(**_: object) -> Pipeline:
    """contributors, pruned_model → coalitions, coalition_models, finetune_manifest."""
    inputs = {
        "contributors": "contributors",
        "base_model": "base_model",
        "pruned_model": "pruned_model",
        "images": "images@file",
        "image_table": "image_table@file",
        "models": "coalition_store",
        "records": "property_store",
        "base_store": "base_training_store",
        "pruning_store": "pruning_store",
    }
    parameters = {
        "config": "params:subset_finetune",
        "measuring": "params:property_eval",
        "estimation": "params:shapley_estimation",
        "engine": "params:engine",
        "root_seed": "params:root_seed",
        "device": "params:device",
    }
    return Pipeline(
        [
            Node(
                draw_coalitions,
                ["contributors", "images@file", "params:subset_finetune", "params:root_seed"],
                "coalitions",
                name="draw_coalitions",
            ),
            Node(
                finetune_coalitions,
                {"coalitions": "coalitions", **inputs, **parameters},
                ["coalition_models", "finetune_manifest"],
                name="finetune_coalitions",
            ),
        ],
        namespace="subset_finetune",
        inputs=set(inputs.values()),
        outputs={"coalitions", "coalition_models", "finetune_manifest"},
        parameters=set(parameters.values()),
        prefix_datasets_with_namespace=False,
    )
