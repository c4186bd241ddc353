"""Refusals of rows that cannot carry an estimator, each with the smallest sufficient plan."""

from __future__ import annotations

import numpy as np

from groupshap.games.evaluations import Evaluations
from groupshap.games.exact import MAX_EXACT_PLAYERS
from groupshap.games.sampling import plan_coalitions

__all__ = ["require_full_rank", "require_interior"]

MIN_INTERIOR = 8
"""Fewer distinct coalitions than this cannot support the hyper-parameters of the process."""
MAX_PLAYERS_OF_RANK = 300
"""Above, the smallest plan of full rank is not searched for."""


def require_interior(evaluations: Evaluations, estimator: str) -> None:
    """Raise unless there are eight distinct coalitions between ∅ and N, or all of them."""
    n, interior = evaluations.n_players, len(evaluations.masks) - 2
    if interior >= MIN_INTERIOR or evaluations.is_complete:
        return
    sufficient = min(2**n, MIN_INTERIOR + 2) if n <= MAX_EXACT_PLAYERS else MIN_INTERIOR + 2
    raise ValueError(
        f"Expected at least {min(MIN_INTERIOR, sufficient - 2)} distinct coalitions besides the empty and the grand "
        f"one for estimator {estimator!r}, got {interior}. "
        f"Smallest sufficient plan: plan_coalitions({n}, {sufficient}, seed=...), more rows where draws repeat."
    )


def require_full_rank(evaluations: Evaluations) -> None:
    """Raise unless the masks span all players, so that the paper's regression has one solution."""
    n, masks = evaluations.n_players, evaluations.masks[2:]
    # The rank of thousands of rows and players takes minutes; fewer rows than players need none.
    few = len(masks) < n
    rank = len(masks) if few else int(np.linalg.matrix_rank(masks.astype(np.float64)))
    if rank < n:
        raise ValueError(
            f"Expected coalitions of rank {n} (one per player) for estimator 'kernel', got rank "
            f"{'at most ' if few else ''}{rank} from {len(masks)} distinct coalitions besides the empty and the grand "
            f"one. {_sufficient_plan(n)} (another seed may need some more rows); or use `gp` or `size_adjusted`."
        )


def _sufficient_plan(n: int) -> str:
    """The plan with seed 0 whose masks span all players: at least n − 1 pairs and the end points."""
    budget = min(2 * n, 2**n) if n < 63 else 2 * n
    step = 2 * max(1, n // 32)
    if n > MAX_PLAYERS_OF_RANK:
        return f"Sufficient plan, as a rule: plan_coalitions({n}, {budget + step}, seed=0)"
    while np.linalg.matrix_rank(plan_coalitions(n, budget, seed=0).astype(np.float64)[2:]) < n:
        budget += step
    return f"Smallest sufficient plan: plan_coalitions({n}, {budget}, seed=0)"
