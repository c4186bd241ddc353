"""Everything a report is made of, for contributors with the names of one's nightmares; only the models are missing."""

from __future__ import annotations

import numpy as np
import pandas as pd

from groupshap.attribution.config import EstimationConfig
from groupshap.attribution.fits import attribute
from groupshap.attribution.tables import (
    coalition_utilities,
    comparison_table,
    diagnostics_table,
    interaction_table,
    shapley_table,
)
from groupshap.games import coalition_id, plan_coalitions, task_ids
from groupshap.image_pack import ImagePack
from groupshap.members import join_members
from groupshap.reporting.config import ReportingConfig
from groupshap.reporting.convergence import convergence_table
from groupshap.reporting.counterfactuals import chosen_contributors, counterfactuals
from groupshap.reporting.inputs import ReportInputs
from groupshap.reporting.payment import payment_shares

HOSTILE_NAMES = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(2)>",
    "\"quoted' & <b>bold</b>",
    "مصمم \u202e desrever",
    "long" * 75,
    "👩‍🎨 名前",
    "a | b\\ {{ 7*7 }} ${alert(3)}",
    "javascript:alert(4)",
)
DIRECTIONS = {"frechet_efficientnet": False, "accuracy": True}
ESTIMATION = EstimationConfig(n_bootstrap=5, companions=("size_adjusted",))
N_IMAGES, SIDE = 5, 8


def tables(names=HOSTILE_NAMES, budget=40, seed=0, estimation=ESTIMATION) -> dict:
    """As the catalog holds them, by the names of ``ReportInputs``."""
    contributors = pd.DataFrame(
        {"player": range(len(names)), "contributor": names, "n_images": N_IMAGES, "licence": "CC0 <i>", "credit": names}
    ).assign(defect="")
    contributors.loc[1, "defect"] = "noise"
    plan = plan_coalitions(len(names), budget, seed=seed)
    utilities = _utilities(plan, names)
    coalitions, measured = coalition_utilities(utilities, contributors)
    fits = {name: attribute(coalitions, values, estimation, names=list(names)) for name, values in measured.items()}
    players = np.repeat(np.arange(len(names)), N_IMAGES)
    rng = np.random.default_rng(seed)
    return {
        "shapley_values": shapley_table(fits, contributors),
        "comparison": comparison_table(fits),
        "diagnostics": diagnostics_table(fits, utilities, estimation),
        "interactions": interaction_table(fits),
        "utilities": utilities,
        "measured_models": utilities.assign(
            task_id=task_ids(plan),
            measure_seconds=0.5,
            models_fingerprint="f00d",
            checkpoint="w",
            checkpoint_sha256="c0de",
        ),
        "contributors": contributors,
        "directions": DIRECTIONS,
        "pack": ImagePack(rng.integers(0, 256, (len(players), 3, SIDE, SIDE), np.uint8), players),
        "image_table": pd.DataFrame(
            {"source_item": [f'"><script>alert({i})</script>.png' for i in range(len(players))]}
        ),
        "credits_text": "# Credits\n<script>alert('credits')</script>\n",
        "pruning_report": {"n_parameters_before": 1000, "n_parameters_after": 400},
        "parameters": {"data_grouping": {"path": "/tmp/<script>alert(5)</script>", "channels": 3}, "device": "cpu"},
    }


def _utilities(plan, names) -> pd.DataFrame:
    """``accuracy`` is additive with some negative values; the distance falls, with diminishing returns."""
    worth = np.linspace(3.0, -1.0, len(names))
    noise = 0.05 * np.random.default_rng(0).standard_normal((2, len(plan)))
    return pd.DataFrame(
        {
            "split": "estimation",
            "coalition_id": [coalition_id(mask) for mask in plan],
            "replicate": 0,
            "n_contributors": plan.sum(axis=1),
            "members": [join_members(np.array(names, dtype=object)[mask]) for mask in plan],
            "frechet_efficientnet": 50 * np.exp(-plan.mean(axis=1)) - plan @ worth / 4 + noise[0],
            "accuracy": 1 + plan @ worth + noise[1],
            "train_seconds": 10.0,
            "sample_seconds": 2.0,
            "fingerprint": "00e1",
        }
    )


def report_inputs(
    names=HOSTILE_NAMES, config: ReportingConfig | None = None, estimation=ESTIMATION, **changes
) -> ReportInputs:
    """The tables, payments and convergence of real code; "generated" images are noise."""
    config = config or ReportingConfig(n_convergence_points=3)
    made = tables(names, estimation=estimation, **changes)
    inputs = ReportInputs(
        **made,
        convergence=convergence_table(
            made["utilities"], made["contributors"], made["shapley_values"], estimation, config.n_convergence_points
        ),
        payments=payment_shares(made["shapley_values"], DIRECTIONS, config.payment),
        level=0.95,
        config=config,
    )
    shown = chosen_contributors(inputs.best_first, config.n_contributors_in_full)
    inputs.generated.update(counterfactuals(made["measured_models"], inputs.names, shown, images_of))
    return inputs


def images_of(task_id: str) -> np.ndarray:
    """Eight images that depend on the task alone."""
    return np.random.default_rng(int(task_id[:8], 16)).integers(0, 256, (8, 3, SIDE, SIDE), np.uint8)
