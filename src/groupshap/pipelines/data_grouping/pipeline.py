"""Pipeline ``data_grouping``."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from groupshap.pipelines.data_grouping.nodes import group_images_of_contributors

__all__ = ["create_pipeline"]


def create_pipeline(**_: object) -> Pipeline:
    """Source → images, image_table, contributors, credits, contact_sheet.

    One node: kedro-viz loses the edge from a group to a transcoded dataset that the group itself reads again.
    """
    outputs = ["images@pack", "image_table@table", "contributors", "credits", "contact_sheet"]
    return Pipeline(
        [
            Node(
                group_images_of_contributors,
                ["params:data_grouping", "data_cache"],
                outputs,
                name="group_images_of_contributors",
            )
        ],
        namespace="data_grouping",
        inputs={"data_cache"},
        outputs=set(outputs),
        parameters={"params:data_grouping"},
        prefix_datasets_with_namespace=False,
    )
