"""Pipeline ``withdrawal``."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from groupshap.pipelines.withdrawal.nodes import withdraw_contributor

__all__ = ["create_pipeline"]


def create_pipeline(**_: object) -> Pipeline:
    """Folders of a finished run → withdrawal_traces."""
    inputs = {
        "contributors": "contributors",
        "coalitions": "coalition_store",
        "properties": "property_store",
        "cache": "data_cache",
        "primary": "primary_folder",
        "models": "models_folder",
        "reporting": "reporting_folder",
    }
    return Pipeline(
        [
            Node(
                withdraw_contributor,
                {"config": "params:withdrawal", **inputs},
                "withdrawal_traces",
                name="withdraw_contributor",
            )
        ],
        namespace="withdrawal",
        inputs=set(inputs.values()),
        outputs={"withdrawal_traces"},
        parameters={"params:withdrawal"},
        prefix_datasets_with_namespace=False,
    )
