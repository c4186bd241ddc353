"""Nodes as one group of kedro-viz whose datasets and parameters keep their names."""

from __future__ import annotations

from collections.abc import Sequence

from kedro.pipeline import Node, Pipeline

__all__ = ["group_of"]


def group_of(nodes: Sequence[Node], namespace: str) -> Pipeline:
    """The pipeline of these nodes; what none of them makes is its input."""
    outputs = {name for node in nodes for name in node.outputs}
    inputs = {name for node in nodes for name in node.inputs}
    parameters = {name for name in inputs if name.startswith("params:")}
    return Pipeline(
        nodes,
        namespace=namespace,
        inputs=inputs - outputs - parameters,
        outputs=outputs,
        parameters=parameters,
        prefix_datasets_with_namespace=False,
    )
