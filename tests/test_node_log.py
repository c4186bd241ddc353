"""Where a run is, in plain words."""

from __future__ import annotations

import logging

import pytest
from kedro.framework.cli.utils import _split_params
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import DataCatalog
from kedro.pipeline import Node, Pipeline
from kedro.runner import SequentialRunner
from kedro_datasets.text import TextDataset

from groupshap.node_log import NodeLogHooks


@pytest.fixture
def manager(caplog):
    caplog.set_level(logging.INFO, logger="groupshap.node_log")
    manager = _create_hook_manager()
    manager.register(NodeLogHooks())
    return manager


def test_each_node_is_announced_before_it_starts(manager, caplog):
    def train():
        assert caplog.messages == ["[1 of 2] base_training: train base model"]
        return "weights"

    train_node = Node(train, None, "model", name="train_base_model", namespace="base_training")
    pipeline = Pipeline([train_node, Node(print, "model", None, name="show")])
    for _ in range(2):
        caplog.clear()
        manager.hook.before_pipeline_run(run_params={}, pipeline=pipeline, catalog=DataCatalog())
        SequentialRunner().run(pipeline, DataCatalog(), manager)
        assert caplog.messages == ["[1 of 2] base_training: train base model", "[2 of 2] show"]


def test_in_the_end_it_says_how_to_get_the_page_and_then_where_it_is(manager, caplog, tmp_path):
    names = ("shapley_values", "report")
    catalog = DataCatalog({name: TextDataset(filepath=str(tmp_path / f"{name}.txt")) for name in names})
    params = _split_params(None, None, "data_grouping.path=/my photos,n=3,root_seed=0,x.y=null")
    for outputs in (names[:1], names):
        nodes = [Node(lambda: "", None, name, name=name) for name in outputs]
        after = {"pipeline": Pipeline(nodes), "catalog": catalog, "run_result": {}}
        manager.hook.after_pipeline_run(run_params={"env": "small", "runtime_params": params}, **after)
    how, where = caplog.messages
    assert how.endswith(
        "kedro run --pipelines reporting --env small --params 'data_grouping.path=/my photos,n=3,root_seed=0,x.y=null'"
    )
    assert str(tmp_path) in how
    assert f"{tmp_path / 'report.txt'} in any browser" in where


def test_a_part_of_the_flow_promises_nothing(manager, caplog):
    after = {"pipeline": Pipeline([Node(list, None, "x", name="x")]), "catalog": DataCatalog(), "run_result": {}}
    manager.hook.after_pipeline_run(run_params={}, **after)
    assert caplog.messages == []
