"""Pipeline ``baselines``."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from groupshap.pipelines.baselines.nodes import attribute_by_baselines

__all__ = ["create_pipeline"]


def create_pipeline(**_: object) -> Pipeline:
    """base_model, images, utilities → baseline_attributions, baseline_notes."""
    inputs = {
        "base_model": "base_model",
        "images": "images@file",
        "image_table": "image_table@table",
        "contributors": "contributors",
        "property_directions": "property_directions",
        "utilities": "utilities",
    }
    parameters = {
        "config": "params:baselines",
        "measuring": "params:property_eval",
        "root_seed": "params:root_seed",
        "device": "params:device",
    }
    outputs = ["baseline_attributions", "baseline_notes"]
    return Pipeline(
        [Node(attribute_by_baselines, {**inputs, **parameters}, outputs, name="attribute_by_baselines")],
        namespace="baselines",
        inputs=set(inputs.values()),
        outputs=set(outputs),
        parameters=set(parameters.values()),
        prefix_datasets_with_namespace=False,
    )
