"""Pipeline ``correction``."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from groupshap.pipelines.correction.nodes import explain_correction, plot_correction, retrain_some
from groupshap.pipelines.group import group_of
from groupshap.pipelines.validation.pipeline import INPUTS, PARAMETERS

__all__ = ["create_pipeline"]


def create_pipeline(**_: object) -> Pipeline:
    """Utilities → correction_utilities, which shapley_estimation uses where they exist."""
    inputs = {"utilities": "utilities", **INPUTS}
    parameters = {"config": "params:correction", "finetuning": "params:subset_finetune", **PARAMETERS}
    nodes = [
        Node(
            retrain_some,
            {**inputs, **parameters},
            ["correction_utilities", "correction_rounds"],
            name="retrain_some",
        ),
        Node(
            explain_correction,
            ["utilities", "correction_utilities", "contributors", "params:shapley_estimation"],
            "correction_moves",
            name="explain_correction",
        ),
        Node(plot_correction, "correction_moves", "correction_plots", name="plot_correction"),
    ]
    return group_of(nodes, "correction")
