"""Pipeline ``data_grouping``."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from groupshap.pipelines.data_grouping.nodes import draw_contributors, group_images_of_contributors

__all__ = ["create_pipeline"]


def create_pipeline(**_: object) -> Pipeline:
    """source → images, image_table, contributors, credits, contact_sheet."""
    return Pipeline(
        [
            Node(
                group_images_of_contributors,
                ["params:data_grouping", "data_cache"],
                ["images@pack", "image_table@table", "contributors", "credits"],
                name="group_images_of_contributors",
            ),
            Node(draw_contributors, ["images@pack", "contributors"], "contact_sheet", name="draw_contributors"),
        ],
        namespace="data_grouping",
        inputs={"data_cache"},
        outputs={"images@pack", "image_table@table", "contributors", "credits", "contact_sheet"},
        parameters={"params:data_grouping"},
        prefix_datasets_with_namespace=False,
    )
