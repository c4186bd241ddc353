"""Shapley values of an expensive game from a few of its rows and many rows of a cheap one that leans.

When: a sparsified, pruned or shortly fine-tuned model stands in for retraining. Its game is cheap and wrong in a
regular way (too flat, bent in |S|), so its own values are off however many rows are measured, while a dozen retrainings
alone are too few. Together they are better than either, and the errors are those against retraining.

When not: no row of the wanted game can be had (nothing can be corrected then), or nearly all of them can.

The model is in ``two_fidelity_model.py``, its fit in ``two_fidelity_fit.py``, where to spend next in ``spending.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from groupshap.games.calibration import influence_inflation
from groupshap.games.estimators import estimate_collapsed, resolved_law
from groupshap.games.evaluations import Evaluations, collapse
from groupshap.games.exact import MAX_EXACT_PLAYERS
from groupshap.games.requirements import MIN_INTERIOR
from groupshap.games.subset_gp import MAX_PROCESS_ROWS
from groupshap.games.two_fidelity_calibration import parameter_uncertainty
from groupshap.games.two_fidelity_fit import evidence_of_levels, fit_levels
from groupshap.games.two_fidelity_model import CoKriging
from groupshap.games.types import CoalitionMatrix, ShapleyValues, Utilities, check_player_names
from groupshap.games.uncertainty import noise_from_replicates

__all__ = ["estimate_two_fidelity", "levels_of", "thinned"]

NAME = "two_fidelity"
MIN_WANTED_INTERIOR = 4
"""Fewer retrained coalitions than this between ∅ and N cannot tell ρ from the difference of the two games."""
MAX_WANTED_ROWS = 2000


@dataclass(frozen=True)
class Comparison:
    """How likely the retrained rows are with and without the cheap ones.

    Attributes:
        helps: whether the cheap rows may stay.
        remark: why not, or on what the decision rests.
        log_evidence: log p(wanted rows | cheap rows) − log p(wanted rows); nan where it was not computed.
    """

    helps: bool
    remark: str
    log_evidence: float = math.nan


def estimate_two_fidelity(
    coalitions: CoalitionMatrix,
    utilities: Utilities,
    cheap_coalitions: CoalitionMatrix | Sequence[CoalitionMatrix],
    cheap_utilities: Utilities | Sequence[Utilities],
    *,
    efficient: bool = True,
    player_names: Sequence[str] | None = None,
    law: str | None = None,
    seed: int = 0,
    n_bootstrap: int = 100,
) -> ShapleyValues:
    """Values of all players in the expensive game, corrected by cheap rows of one or several kinds.

    Autoregressive co-kriging, v = ρ v_cheap + δ (Kennedy & O'Hagan 2000), with the covariance of ``gp`` for both parts.
    The designs may be nested or not; repeated coalitions are replicates; ∅ and N are rows of every design.

    Args:
        coalitions: (n_coalitions, n_players) bool, the rows of the wanted game, for example 8 to 64 retrainings.
        utilities: (n_coalitions,) finite float64.
        cheap_coalitions: (n_cheap, n_players) bool, or a list of such designs, the cheapest first.
        cheap_utilities: (n_cheap,) finite float64 of the same property, in any unit, or a list of them.
        efficient: shift the values equally so that they sum to the measured v(N) − v(∅) of the wanted game.
        player_names: distinct names for the printed table.
        law: law of the sizes of ``coalitions``, used by the single-fidelity fits only; None infers it.
        seed: root of the bootstrap draws of a fall-back.
        n_bootstrap: refits for a fall-back without a closed-form covariance.

    Returns:
        Values, covariance and intervals against the wanted game. ``diagnostics["fall_back"]`` is ``none`` where the
        cheap rows were used; otherwise the result is that of :func:`~groupshap.games.estimators.estimate` on the wanted
        rows alone, and the entry says why: the wanted rows are less likely given the cheap rows than by themselves, a
        constant cheap game, or a complete table.

    Raises:
        ValueError: bad rows in a design (which one is named), designs of different numbers of players, or fewer than
            four distinct wanted coalitions besides ∅ and N.
    """
    *cheap, wanted = levels_of(coalitions, utilities, cheap_coalitions, cheap_utilities)
    if player_names is not None:
        player_names = check_player_names(player_names, wanted.n_players)
    kept = [level for level in cheap if not level.is_constant]
    comparison, stages = _reason_to_stay_single(wanted, kept), []
    if comparison is None:
        stages = fit_levels([*thinned(kept, len(wanted.masks)), wanted])
        comparison = _compared(stages, wanted)
    remarks = _common_remarks(cheap, kept, comparison)
    if stages:
        remarks |= _remarks_of_process(stages[-1])
    if not comparison.helps:
        single = estimate_collapsed(
            wanted, law=law, efficient=efficient, player_names=player_names, seed=seed, n_bootstrap=n_bootstrap
        )
        return _fallen_back(single, remarks)
    result = _joint_result(stages, wanted, resolved_law(wanted, law), remarks, player_names)
    noise = float(result.diagnostics["noise_variance"])
    return result.with_efficiency(noise * float((1.0 / wanted.replicates[:2]).sum())) if efficient else result


def levels_of(
    coalitions: CoalitionMatrix,
    utilities: Utilities,
    cheap_coalitions: CoalitionMatrix | Sequence[CoalitionMatrix],
    cheap_utilities: Utilities | Sequence[Utilities],
) -> list[Evaluations]:
    """Checked, collapsed rows of every level, the cheapest first and the wanted game last.

    Raises:
        ValueError: as for :func:`estimate_two_fidelity`.
    """
    single = len(cheap_utilities) > 0 and np.ndim(cheap_utilities[0]) == 0
    masks, values = ([cheap_coalitions], [cheap_utilities]) if single else (cheap_coalitions, cheap_utilities)
    if len(masks) != len(values):
        raise ValueError(
            f"Expected as many `cheap_utilities` as `cheap_coalitions`, got {len(values)} and {len(masks)} designs."
        )
    designs = list(zip(masks, values, strict=True))
    if not designs:
        raise ValueError("Expected at least one cheap design, got none. Use `estimate` for the wanted rows alone.")
    names = [f"cheap design {number}" if len(designs) > 1 else "the cheap design" for number in range(len(designs))]
    levels = [_collapsed(*design, name) for design, name in zip(designs, names, strict=True)]
    levels.append(_collapsed(coalitions, utilities, "the wanted design (`coalitions`, `utilities`)"))
    n_players = [level.n_players for level in levels]
    if len(set(n_players)) > 1:
        raise ValueError(
            f"Expected the same players in every design, got {n_players[:-1]} in cheap designs and {n_players[-1]} in "
            "`coalitions`. Columns are players, in the same order everywhere."
        )
    _require_enough(levels, names)
    return levels


def _collapsed(coalitions: CoalitionMatrix, utilities: Utilities, name: str) -> Evaluations:
    """Rows of one level. A design repeats ∅ on purpose, so any larger spread of its seeds counts as its own."""
    try:
        return collapse(coalitions, utilities, clearly_larger=1.0)
    except ValueError as error:
        raise ValueError(f"In {name}: {error}") from error


def _require_enough(levels: list[Evaluations], names: list[str]) -> None:
    n = levels[0].n_players
    for level, name, least in zip(
        levels, [*names, "`coalitions`"], [MIN_INTERIOR] * len(names) + [MIN_WANTED_INTERIOR], strict=True
    ):
        interior = len(level.masks) - 2
        if interior < least and not level.is_complete:
            sufficient = min(2**n, least + 2) if n <= MAX_EXACT_PLAYERS else least + 2
            raise ValueError(
                f"Expected at least {sufficient - 2} distinct coalitions besides the empty and the grand one in "
                f"{name}, got {interior}. Smallest sufficient plan: plan_coalitions({n}, {sufficient}, seed=...)."
            )


def thinned(cheap: list[Evaluations], n_wanted: int) -> list[Evaluations]:
    """Cheap rows spread over all sizes, so that all levels together stay within 3000 rows."""
    share = (MAX_PROCESS_ROWS - n_wanted) // len(cheap)
    return [level.spread(share) for level in cheap]


def _reason_to_stay_single(wanted: Evaluations, cheap: list[Evaluations]) -> Comparison | None:
    """Cases in which there is nothing to correct or nothing to correct with."""
    reasons = {
        "all coalitions of the wanted game are present": wanted.is_complete,
        "the wanted game is constant": wanted.is_constant,
        "every cheap game is constant": not cheap,
        f"more than {MAX_WANTED_ROWS} wanted coalitions": len(wanted.masks) > MAX_WANTED_ROWS,
    }
    found = [reason for reason, holds in reasons.items() if holds]
    return Comparison(False, found[0]) if found else None


def _compared(stages: list[CoKriging], wanted: Evaluations) -> Comparison:
    """The cheap rows stay where the wanted rows are likelier with them than without.

    Both likelihoods are at the most probable hyper-parameters. Leave-one-out errors of a dozen rows decide by chance:
    of 16 rows they sent away cheap ones that would have divided the error by three, in one design of ten, and kept
    shuffled ones in three of ten (``benchmarks/two_fidelity.py --synthetic``).
    """
    if len(wanted.masks) - 2 < MIN_INTERIOR:
        return Comparison(True, f"fewer than {MIN_INTERIOR} wanted coalitions: not compared")
    log_evidence = evidence_of_levels(stages, wanted)
    helps = log_evidence >= 0.0
    remark = "cheap rows help" if helps else "the wanted rows are likelier without the cheap rows"
    return Comparison(helps, remark, log_evidence)


def _joint_result(
    stages: list[CoKriging],
    wanted: Evaluations,
    law: str,
    remarks: dict[str, float | str],
    player_names: Sequence[str] | None,
) -> ShapleyValues:
    model = stages[-1]
    values, posterior = model.shapley()
    kappa, freedom = influence_inflation(model, model.interior_top)
    factor, of_the_mean, rho_error = parameter_uncertainty(stages[-2], model, wanted)
    replicated = noise_from_replicates(wanted)
    return ShapleyValues(
        values=values,
        covariance=kappa * factor * posterior + of_the_mean,
        n_evaluations=wanted.n_rows,
        estimator=NAME,
        law=law,
        v_empty=wanted.v_empty,
        v_grand=wanted.v_grand,
        diagnostics={
            **remarks,
            "n_distinct_coalitions": float(len(wanted.masks)),
            "seed_variance": wanted.seed_variance,
            "seed_freedom": float(wanted.seed_freedom),
            "noise_variance": model.noise_bound if replicated is None else replicated,
            "inflation": kappa,
            "hyperparameter_factor": factor,
            "rho_relative_error": rho_error,
            "fall_back": "none",
        },
        degrees_of_freedom=freedom,
        player_names=player_names,
    )


def _common_remarks(
    cheap: list[Evaluations], kept: list[Evaluations], comparison: Comparison
) -> dict[str, float | str]:
    return {
        "requested_estimator": NAME,
        "n_cheap_evaluations": float(sum(level.n_rows for level in cheap)),
        "n_cheap_designs": float(len(cheap)),
        "n_constant_cheap_designs": float(len(cheap) - len(kept)),
        "log_evidence": comparison.log_evidence,
        "comparison": comparison.remark,
    }


def _remarks_of_process(model: CoKriging) -> dict[str, float | str]:
    """ρ in units of the utilities, and how many cheap rows the process holds (above 3000 it holds a part)."""
    return {
        "rho": float(model.rhos[-1] * model.scales[-1, 1] / model.scales[-2, 1]),
        "n_cheap_coalitions_used": float((model.rows.levels < model.top).sum()),
        "cheap_noise_variance": float(model.noise_variances[-2]),
    }


def _fallen_back(single: ShapleyValues, remarks: dict[str, float | str]) -> ShapleyValues:
    """The result of the wanted rows alone, with the reason in front of any further fall-back."""
    own = str(single.diagnostics.get("fall_back", "none"))
    reason = f"{single.estimator} instead of {NAME}: {remarks['comparison']}"
    further = "" if own == "none" else f"; {own}"
    return replace(single, diagnostics={**single.diagnostics, **remarks, "fall_back": reason + further})
