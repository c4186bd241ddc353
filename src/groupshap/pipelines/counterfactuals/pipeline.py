"""Pipeline ``counterfactuals``."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from groupshap.pipelines.counterfactuals.nodes import (
    choose_removals,
    plot_counterfactuals,
    score_removals,
)
from groupshap.pipelines.group import group_of
from groupshap.pipelines.validation.nodes import measure_retrained
from groupshap.pipelines.validation.pipeline import INPUTS, PARAMETERS

__all__ = ["create_pipeline"]


def create_pipeline(**_: object) -> Pipeline:
    """Attributions → counterfactuals: what retraining without some contributors does."""
    nodes = [
        Node(
            choose_removals,
            [
                *("attributions", "contributors", "property_directions", "images@file"),
                *("params:counterfactuals", "params:root_seed"),
            ],
            ["removals", "counterfactual_coalitions"],
            name="choose_removals",
        ),
        Node(
            measure_retrained,
            {"coalitions": "counterfactual_coalitions", "config": "params:validation", **INPUTS, **PARAMETERS},
            ["counterfactual_manifest", "counterfactual_utilities"],
            name="measure_removals",
        ),
        Node(
            score_removals,
            ["counterfactual_utilities", "removals", "contributors", "params:validation"],
            "counterfactuals",
            name="score_removals",
        ),
        Node(
            plot_counterfactuals,
            ["counterfactuals", "property_directions", "params:validation"],
            "counterfactual_plots",
            name="plot_counterfactuals",
        ),
    ]
    return group_of(nodes, "counterfactuals")
