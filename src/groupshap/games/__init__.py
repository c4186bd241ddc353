"""Shapley values for expensive, noisy, separately computed utilities; needs numpy and scipy only.

Plan (:func:`plan_coalitions`), measure the rows in whatever way and order, fit what is finished (:func:`estimate`).
"""

from __future__ import annotations

from groupshap.games.agreement import SplitHalf, lds, predicted_spearman, spearman, split_half
from groupshap.games.coalitions import (
    add_one_in_coalitions,
    all_coalitions,
    coalition_id,
    coalitions_from_members,
    distinct_coalitions,
    leave_one_out_coalitions,
    replicate_numbers,
    task_ids,
    uniform_fraction_coalitions,
)
from groupshap.games.estimators import ESTIMATORS, estimate
from groupshap.games.exact import exact_banzhaf, exact_interactions, exact_shapley
from groupshap.games.interactions import ShapleyInteractions, shapley_interactions
from groupshap.games.recorded import RecordedGame, load_recorded_games
from groupshap.games.sampling import LAWS, plan_coalitions, size_probabilities
from groupshap.games.size_curve import SizeCurve, size_curve
from groupshap.games.spending import NextEvaluations, next_evaluations
from groupshap.games.two_fidelity import estimate_two_fidelity
from groupshap.games.types import CoalitionMatrix, ShapleyValues, Utilities
from groupshap.games.uncertainty import evaluations_to_converge, is_converged, relative_standard_error

__all__ = [
    "ESTIMATORS",
    "LAWS",
    "CoalitionMatrix",
    "NextEvaluations",
    "RecordedGame",
    "ShapleyInteractions",
    "ShapleyValues",
    "SizeCurve",
    "SplitHalf",
    "Utilities",
    "add_one_in_coalitions",
    "all_coalitions",
    "coalition_id",
    "coalitions_from_members",
    "distinct_coalitions",
    "estimate",
    "estimate_two_fidelity",
    "evaluations_to_converge",
    "exact_banzhaf",
    "exact_interactions",
    "exact_shapley",
    "is_converged",
    "lds",
    "leave_one_out_coalitions",
    "load_recorded_games",
    "next_evaluations",
    "plan_coalitions",
    "predicted_spearman",
    "relative_standard_error",
    "replicate_numbers",
    "shapley_interactions",
    "size_curve",
    "size_probabilities",
    "spearman",
    "split_half",
    "task_ids",
    "uniform_fraction_coalitions",
]
