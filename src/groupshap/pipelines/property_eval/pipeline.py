"""Pipeline ``property_eval``."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from groupshap.pipelines.property_eval.nodes import assemble_utilities, measure_properties, state_directions

__all__ = ["create_pipeline"]


def create_pipeline(**_: object) -> Pipeline:
    """coalition_models → property_records, measured_models, utilities, property_directions."""
    inputs = {
        "manifest": "finetune_manifest",
        "coalition_models": "coalition_models",
        "images": "images@file",
        "image_table": "image_table@file",
        "store": "property_store",
    }
    parameters = {
        "config": "params:property_eval",
        "engine": "params:engine",
        "root_seed": "params:root_seed",
        "device": "params:device",
    }
    return Pipeline(
        [
            Node(
                measure_properties,
                {**inputs, **parameters},
                ["property_records", "measured_models"],
                name="measure_properties",
            ),
            Node(
                assemble_utilities,
                ["finetune_manifest", "measured_models", "property_records"],
                "utilities",
                name="assemble_utilities",
            ),
            Node(state_directions, "params:property_eval", "property_directions", name="state_directions"),
        ],
        namespace="property_eval",
        inputs=set(inputs.values()),
        outputs={"property_records", "measured_models", "utilities", "property_directions"},
        parameters=set(parameters.values()),
        prefix_datasets_with_namespace=False,
    )
