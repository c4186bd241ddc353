"""Where a run is, in plain words."""

from __future__ import annotations

import logging

from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import DataCatalog
from kedro.pipeline import Node, Pipeline
from kedro.runner import SequentialRunner

from groupshap.node_log import NodeLogHooks


def test_each_node_is_announced_before_it_starts(caplog):
    def train():
        assert caplog.messages == ["[1 of 2] base_training: train base model"]
        return "weights"

    train_node = Node(train, None, "model", name="train_base_model", namespace="base_training")
    pipeline = Pipeline([train_node, Node(print, "model", None, name="show")])
    manager = _create_hook_manager()
    manager.register(NodeLogHooks())
    caplog.set_level(logging.INFO, logger="groupshap.node_log")
    for _ in range(2):
        caplog.clear()
        manager.hook.before_pipeline_run(run_params={}, pipeline=pipeline, catalog=DataCatalog())
        SequentialRunner().run(pipeline, DataCatalog(), manager)
        assert caplog.messages == ["[1 of 2] base_training: train base model", "[2 of 2] show"]
