"""Pipeline ``foundation``."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from groupshap.pipelines.foundation.nodes import gather_images_of_others, make_foundation_model
from groupshap.pipelines.group import group_of

__all__ = ["create_pipeline"]


def create_pipeline(**_: object) -> Pipeline:
    """Contributors → images of all others → a diffusers folder, foundation_report, foundation_samples."""
    settings = ["params:foundation", "params:property_eval", "params:root_seed", "params:device"]
    gathering = [
        Node(
            gather_images_of_others,
            ["params:data_grouping", "data_cache", "contributors"],
            "foundation_images@pack",
            name="gather_images_of_others",
        )
    ]
    making = [
        Node(
            make_foundation_model,
            ["foundation_images@file", "foundation_store", "foundation_folder", *settings],
            ["foundation_report", "foundation_samples"],
            name="make_foundation_model",
        ),
    ]
    # Two groups: kedro refuses a group that reads its own output by another name.
    return group_of(gathering, "foundation_images") + group_of(making, "foundation")
