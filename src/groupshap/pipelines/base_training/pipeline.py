"""Pipeline ``base_training``."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from groupshap.pipelines.base_training.nodes import (
    draw_samples,
    make_start_model,
    report_reconstruction,
    train_base_model,
)

__all__ = ["create_pipeline"]


def create_pipeline(**_: object) -> Pipeline:
    """Images → start_model, base_model, base_samples, and what a frozen autoencoder loses."""
    settings = ["params:base_training", "params:property_eval", "params:root_seed", "params:device"]
    training = ["params:base_training", "params:root_seed", "params:device"]
    return Pipeline(
        [
            Node(
                make_start_model,
                ["images@file", "base_training_store", "frozen_parts", *training],
                "start_model",
                name="make_start_model",
            ),
            Node(
                report_reconstruction,
                ["start_model", "images@file", "params:base_training", "params:device"],
                ["reconstruction_report", "reconstructions"],
                name="report_reconstruction",
            ),
            Node(
                train_base_model,
                ["start_model", "images@file", "base_training_store", *training],
                "base_model",
                name="train_base_model",
            ),
            Node(draw_samples, ["base_model", *settings], "base_samples", name="draw_base_samples"),
        ],
        namespace="base_training",
        inputs={"images@file", "base_training_store", "frozen_parts"},
        outputs={"start_model", "reconstruction_report", "reconstructions", "base_model", "base_samples"},
        parameters=set(settings),
        prefix_datasets_with_namespace=False,
    )
