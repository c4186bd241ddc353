"""Pipeline ``reporting``."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from groupshap.pipelines.reporting.nodes import share_payments, trace_convergence, write_report

__all__ = ["create_pipeline"]


def create_pipeline(**_: object) -> Pipeline:
    """Values and the tables behind them → payment_shares, convergence, report."""
    values = {"shapley_values": "shapley_values", "config": "params:reporting"}
    fitted_to = {"utilities": "utilities", "contributors": "contributors", "estimation": "params:shapley_estimation"}
    tables = {
        "comparison": "estimator_comparison",
        "diagnostics": "estimation_diagnostics",
        "interactions": "interactions",
        "convergence": "convergence",
        "payments": "payment_shares",
        "measured_models": "measured_models",
        "directions": "property_directions",
        "pack": "images@pack",
        "image_table": "image_table@table",
        "credits_text": "credits",
        "pruning_report": "pruning_report",
        "coalition_models": "coalition_models",
        # Of the pipeline validation; the page does without where it has not run.
        "lds": "lds",
        "fidelity": "fidelity",
        "correction_moves": "correction_moves",
        "attributions": "attributions",
    }
    settings = {
        "parameters": "parameters",
        "measuring": "params:property_eval",
        "root_seed": "params:root_seed",
        "device": "params:device",
    }
    directions = {"property_directions": "property_directions"}
    return Pipeline(
        [
            Node(share_payments, {**values, **directions}, "payment_shares", name="share_payments"),
            Node(trace_convergence, {**values, **fitted_to}, "convergence", name="trace_convergence"),
            Node(write_report, {**values, **fitted_to, **tables, **settings}, "report", name="write_report"),
        ],
        namespace="reporting",
        prefix_datasets_with_namespace=False,
    )
