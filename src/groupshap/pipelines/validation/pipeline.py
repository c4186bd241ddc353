"""Pipeline ``validation``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kedro.pipeline import Node, Pipeline

from groupshap.pipelines.group import group_of
from groupshap.pipelines.validation import nodes as v

__all__ = ["create_pipeline"]

INPUTS = {
    "contributors": "contributors",
    "base_model": "base_model",
    "pruned_model": "pruned_model",
    "images": "images@file",
    "image_table": "image_table@file",
    "models": "coalition_store",
    "records": "property_store",
}
PARAMETERS = {
    "measuring": "params:property_eval",
    "engine": "params:engine",
    "root_seed": "params:root_seed",
    "device": "params:device",
}


def create_pipeline(**_: object) -> Pipeline:
    """Models of a finished run → retrained models of held-out coalitions, scores of the values."""
    return group_of([*_measuring_nodes(), *_scoring_nodes()], "validation")


def _measuring_nodes() -> list[Node]:
    """Held-out coalitions, their models in both games, and what the cheap ones still know of those left out."""
    residual = {
        "paired_manifest": "paired_manifest",
        "validation_manifest": "validation_manifest",
        "config": "params:validation",
        "finetuning": "params:subset_finetune",
        **{name: INPUTS[name] for name in ("pruned_model", "base_model", "images", "contributors", "records")},
        **{name: PARAMETERS[name] for name in ("engine", "root_seed", "device")},
    }
    return [
        Node(
            v.draw_held_out_coalitions,
            ["contributors", "images@file", "params:validation", "params:root_seed"],
            "validation_coalitions",
            name="draw_held_out_coalitions",
        ),
        Node(v.pair_coalitions, "validation_coalitions", "paired_coalitions", name="pair_coalitions"),
        _measuring("validation", v.measure_retrained, "params:validation"),
        _measuring("paired", v.measure_paired, "params:subset_finetune"),
        Node(
            v.measure_residual_influence,
            residual,
            ["residual_losses", "residual_influence"],
            name="measure_residual_influence",
        ),
    ]


def _scoring_nodes() -> list[Node]:
    """Tables and pictures; they run again in seconds from the tables of utilities."""
    games = ["paired_utilities", "validation_utilities", "contributors"]
    return [
        Node(
            v.gather_attributions,
            [
                *("shapley_values", "estimator_comparison", "baseline_attributions", "contributors"),
                *("property_directions", "params:validation", "params:root_seed"),
            ],
            "attributions",
            name="gather_attributions",
        ),
        Node(
            v.score_attributions,
            [
                *("attributions", "validation_utilities", "utilities", "contributors"),
                *("params:validation", "params:root_seed"),
            ],
            ["lds", "calibration"],
            name="score_attributions",
        ),
        Node(
            v.compare_games,
            [*games, "params:validation", "params:root_seed"],
            ["fidelity", "fidelity_bias", "shapley_pairs"],
            name="compare_games",
        ),
        Node(
            v.plot_validation,
            ["lds", "fidelity", "shapley_pairs", *games, "params:validation"],
            ["lds_plots", "fidelity_plots", "shapley_pair_plots"],
            name="plot_validation",
        ),
        Node(
            v.record_utilities,
            ["utilities", *games, "params:validation", "params:subset_finetune"],
            "recorded_game",
            name="record_utilities",
        ),
    ]


def _measuring(split: str, measure: Callable[..., Any], config: str) -> Node:
    """The node that makes and measures the models of one split."""
    return Node(
        measure,
        {"coalitions": f"{split}_coalitions", "config": config, **INPUTS, **PARAMETERS},
        [f"{split}_manifest", f"{split}_utilities"],
        name=f"measure_{split}",
    )
