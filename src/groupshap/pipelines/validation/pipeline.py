"""Pipeline ``validation``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kedro.pipeline import Node, Pipeline

from groupshap.pipelines.validation.nodes import (
    draw_held_out_coalitions,
    measure_paired,
    measure_retrained,
    pair_coalitions,
)

__all__ = ["create_pipeline"]

INPUTS = {
    "contributors": "contributors",
    "base_model": "base_model",
    "pruned_model": "pruned_model",
    "images": "images@file",
    "image_table": "image_table@file",
    "models": "coalition_store",
    "records": "property_store",
}
PARAMETERS = {
    "base": "params:base_training",
    "measuring": "params:property_eval",
    "engine": "params:engine",
    "root_seed": "params:root_seed",
    "device": "params:device",
}


def create_pipeline(**_: object) -> Pipeline:
    """Models of a finished run → retrained models of held-out coalitions, scores of the values."""
    nodes = [
        Node(
            draw_held_out_coalitions,
            ["contributors", "images@file", "params:validation", "params:root_seed"],
            "validation_coalitions",
            name="draw_held_out_coalitions",
        ),
        Node(pair_coalitions, "validation_coalitions", "paired_coalitions", name="pair_coalitions"),
        _measuring("validation", measure_retrained, "params:validation"),
        _measuring("paired", measure_paired, "params:subset_finetune"),
    ]
    inputs = {name for node in nodes for name in node.inputs if not name.startswith("params:")}
    outputs = {name for node in nodes for name in node.outputs}
    return Pipeline(
        nodes,
        namespace="validation",
        inputs=inputs - outputs,
        outputs=outputs,
        parameters={name for node in nodes for name in node.inputs if name.startswith("params:")},
        prefix_datasets_with_namespace=False,
    )


def _measuring(split: str, measure: Callable[..., Any], config: str) -> Node:
    """The node that makes and measures the models of one split."""
    return Node(
        measure,
        {"coalitions": f"{split}_coalitions", "config": config, **INPUTS, **PARAMETERS},
        [f"{split}_manifest", f"{split}_utilities"],
        name=f"measure_{split}",
    )
