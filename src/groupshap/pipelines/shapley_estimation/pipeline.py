"""The graph of shapley_estimation."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from groupshap.pipelines.shapley_estimation.nodes import estimate_shapley_values, plot_attribution

__all__ = ["create_pipeline"]


def create_pipeline() -> Pipeline:
    """Utilities in, tables and pictures out; the namespace groups the nodes in kedro-viz and renames no dataset."""
    return Pipeline(
        [
            Node(
                estimate_shapley_values,
                inputs={
                    "utilities": "utilities",
                    "contributors": "contributors",
                    "property_directions": "property_directions",
                    "config": "params:shapley_estimation",
                    "correction_utilities": "correction_utilities",
                },
                outputs=["shapley_values", "estimator_comparison", "estimation_diagnostics", "interactions"],
                name="estimate_shapley_values",
            ),
            Node(
                plot_attribution,
                inputs={
                    "shapley_values": "shapley_values",
                    "diagnostics": "estimation_diagnostics",
                    "utilities": "utilities",
                    "contributors": "contributors",
                    "property_directions": "property_directions",
                    "config": "params:shapley_estimation",
                },
                outputs=["attribution_plots", "size_curve_plots", "attribution_overview"],
                name="plot_attribution",
            ),
        ],
        namespace="shapley_estimation",
        prefix_datasets_with_namespace=False,
    )
