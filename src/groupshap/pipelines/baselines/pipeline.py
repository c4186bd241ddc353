"""Pipeline ``baselines``."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from groupshap.pipelines.baselines.nodes import (
    attribute_by_baselines,
    draw_single_coalitions,
)
from groupshap.pipelines.group import group_of
from groupshap.pipelines.validation.nodes import measure_paired
from groupshap.pipelines.validation.pipeline import INPUTS, PARAMETERS

__all__ = ["create_pipeline"]


def create_pipeline(**_: object) -> Pipeline:
    """base_model, images, utilities → baseline_attributions, baseline_notes; 2n + 2 evaluations for two of them."""
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
    single = {"coalitions": "single_coalitions", "config": "params:subset_finetune", **INPUTS, **PARAMETERS}
    return group_of(
        [
            Node(
                draw_single_coalitions,
                ["contributors", "images@file"],
                "single_coalitions",
                name="draw_single_coalitions",
            ),
            Node(
                measure_paired,
                single,
                ["single_manifest", "single_utilities"],
                name="measure_single_coalitions",
            ),
            Node(
                attribute_by_baselines,
                {"single_utilities": "single_utilities", **inputs, **parameters},
                outputs,
                name="attribute_by_baselines",
            ),
        ],
        "baselines",
    )
