"""Pipeline ``plan``."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from groupshap.pipelines.group import group_of
from groupshap.pipelines.plan.nodes import forecast_run

__all__ = ["create_pipeline"]


def create_pipeline(**_: object) -> Pipeline:
    """Parameters, and whatever there is already → plan; starts no training."""
    inputs = {
        "contributors": "known_contributors",
        "utilities": "known_utilities",
        "images": "known_images",
        "image_table": "known_image_table",
        "base_model": "known_base_model",
        "pruned_model": "known_pruned_model",
        "models": "coalition_store",
        "records": "property_store",
        "base_store": "base_training_store",
        "pruning_store": "pruning_store",
    }
    parameters = {
        "config": "params:plan",
        "data": "params:data_grouping",
        "base": "params:base_training",
        "pruning": "params:pruning",
        "finetuning": "params:subset_finetune",
        "measuring": "params:property_eval",
        "estimation": "params:shapley_estimation",
        "engine": "params:engine",
        "root_seed": "params:root_seed",
        "device": "params:device",
    }
    return group_of([Node(forecast_run, {**inputs, **parameters}, "plan", name="forecast_run")], "plan")
