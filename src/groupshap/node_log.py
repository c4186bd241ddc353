"""One line per node in plain words: where the run is."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from kedro.framework.hooks import hook_impl

if TYPE_CHECKING:
    from kedro.pipeline import Pipeline
    from kedro.pipeline.node import Node

__all__ = ["NodeLogHooks"]

logger = logging.getLogger(__name__)


class NodeLogHooks:
    """Kedro hooks that log "[3 of 15] pruning: prune model" before a node starts.

    Kedro's own lines come after a node, two for each, and among its lines on loading and saving.
    """

    def __init__(self) -> None:
        self._n_nodes = 0
        self._n_started = 0

    @hook_impl
    def before_pipeline_run(self, pipeline: Pipeline) -> None:
        """Count anew."""
        self._n_nodes, self._n_started = len(pipeline.nodes), 0

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Say what starts."""
        self._n_started += 1
        stage, _, what = node.name.rpartition(".")
        words = ": ".join(filter(None, [stage, what.replace("_", " ")]))
        logger.info("[%d of %d] %s", self._n_started, self._n_nodes, words)
