"""Pipeline ``base_training``."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from groupshap.pipelines.base_training.nodes import draw_samples, train_base_model

__all__ = ["create_pipeline"]


def create_pipeline(**_: object) -> Pipeline:
    """Images → base_model, base_samples."""
    settings = ["params:base_training", "params:property_eval", "params:root_seed", "params:device"]
    return Pipeline(
        [
            Node(
                train_base_model,
                ["images@file", "base_training_store", "params:base_training", "params:root_seed", "params:device"],
                "base_model",
                name="train_base_model",
            ),
            Node(draw_samples, ["base_model", *settings], "base_samples", name="draw_base_samples"),
        ],
        namespace="base_training",
        inputs={"images@file", "base_training_store"},
        outputs={"base_model", "base_samples"},
        parameters=set(settings),
        prefix_datasets_with_namespace=False,
    )
