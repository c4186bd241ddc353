"""Everything that is fitted for one property: the main estimator, its companions, and what says how sure they are."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from groupshap.attribution.config import EstimationConfig
from groupshap.games import (
    CoalitionMatrix,
    ShapleyInteractions,
    ShapleyValues,
    SizeCurve,
    SplitHalf,
    Utilities,
    estimate,
    estimate_two_fidelity,
    shapley_interactions,
    size_curve,
    split_half,
)

__all__ = [
    "MAX_PLAYERS_OF_INTERACTIONS",
    "Attribution",
    "attribute",
    "corrected_values",
    "fit_size_curve",
    "log_left_out",
    "values_of",
]

logger = logging.getLogger(__name__)

MAX_PLAYERS_OF_INTERACTIONS = 300

T = TypeVar("T")


@dataclass(frozen=True)
class Attribution:
    """The fits of one property.

    Attributes:
        main: values of the configured estimator (or of its fall-back, which the diagnostics name).
        companions: values of further estimators by name, none of them that of ``main``.
        curve: v against |S|; None where it cannot be fitted.
        halves: agreement of the fits to two halves of the rows; None where a half is too small.
        interactions: of all pairs; None for one player, too many players or too few rows.
        left_out: what could not be fitted → why.
    """

    main: ShapleyValues
    companions: Mapping[str, ShapleyValues]
    curve: SizeCurve | None
    halves: SplitHalf | None
    interactions: ShapleyInteractions | None
    left_out: Mapping[str, str]


def attribute(
    coalitions: CoalitionMatrix,
    utilities: Utilities,
    config: EstimationConfig,
    names: Sequence[str],
    retrained: tuple[CoalitionMatrix, Utilities] | None = None,
) -> Attribution:
    """Fit all there is to fit for one property.

    Args:
        coalitions: (n_rows, n_players) bool.
        utilities: (n_rows,) finite float64.
        config: estimator, companions, bootstrap.
        names: (n_players,) distinct names.
        retrained: rows of the retrained game; with them the main values are those of that game, by two fidelities.

    Raises:
        ValueError: the main estimator cannot be fitted; what else cannot be is in `left_out`.
    """
    left_out: dict[str, str] = {}

    def tried(what: str, fit: Callable[[], T]) -> T | None:
        try:
            return fit()
        except ValueError as error:
            left_out[what] = str(error)
            return None

    cheap = values_of(config.estimator, coalitions, utilities, config, names)
    main = cheap if retrained is None else corrected_values(retrained, coalitions, utilities, config, names)
    others = [name for name in config.companions if name not in (config.estimator, main.estimator)]
    companions = {
        name: tried(name, lambda name=name: values_of(name, coalitions, utilities, config, names)) for name in others
    }
    if main is not cheap:
        same = main.estimator == cheap.estimator  # after a fall-back to the retrained rows alone
        companions = {f"{cheap.estimator}_cheap" if same else cheap.estimator: cheap, **companions}
    return Attribution(
        main=main,
        companions={name: values for name, values in companions.items() if values is not None},
        curve=tried("size curve", lambda: size_curve(coalitions, utilities, law=config.law)),
        halves=tried(
            "split half", lambda: split_half(coalitions, utilities, estimator=config.estimator, law=config.law)
        ),
        interactions=tried("interactions", lambda: _interactions(coalitions, utilities)),
        left_out=left_out,
    )


def values_of(
    estimator: str, coalitions: CoalitionMatrix, utilities: Utilities, config: EstimationConfig, names: Sequence[str]
) -> ShapleyValues:
    """Values by one estimator; arguments as for :func:`attribute`.

    Raises:
        ValueError: it cannot be fitted, or knows no standard errors.
    """
    return _with_finite_errors(
        estimate(
            coalitions,
            utilities,
            estimator=estimator,
            law=config.law,
            player_names=names,
            n_bootstrap=config.n_bootstrap,
        )
    )


def corrected_values(
    retrained: tuple[CoalitionMatrix, Utilities],
    coalitions: CoalitionMatrix,
    utilities: Utilities,
    config: EstimationConfig,
    names: Sequence[str],
) -> ShapleyValues:
    """Values of the retrained game from its few rows and the cheap ones; arguments as for :func:`attribute`.

    Raises:
        ValueError: as for :func:`values_of`.
    """
    return _with_finite_errors(
        estimate_two_fidelity(*retrained, coalitions, utilities, player_names=names, n_bootstrap=config.n_bootstrap)
    )


def log_left_out(attributions: Mapping[str, Attribution]) -> None:
    """One log line per thing that could not be fitted and reason, naming the properties."""
    properties: dict[tuple[str, str], list[str]] = {}
    for name, attribution in attributions.items():
        for reason in attribution.left_out.items():
            properties.setdefault(reason, []).append(name)
    for (what, why), names in properties.items():
        logger.info("Left out: %s (%s). %s", what, ", ".join(names), why)


def fit_size_curve(coalitions: CoalitionMatrix, utilities: Utilities, config: EstimationConfig) -> SizeCurve | None:
    """The curve of v against |S| for its picture; None where rows are too few (:func:`attribute` has said so)."""
    try:
        return size_curve(coalitions, utilities, law=config.law)
    except ValueError:
        return None


def _with_finite_errors(values: ShapleyValues) -> ShapleyValues:
    """The values themselves; an estimator that saw a player only once knows no error, and is refused."""
    if np.isfinite(values.covariance).all():
        return values
    raise ValueError(
        f"Expected enough coalitions for standard errors of estimator {values.estimator!r}, {values.n_evaluations} "
        "evaluations are too few. Enlarge the plan (subset_finetune.budget) or use estimator `gp`."
    )


def _interactions(coalitions: CoalitionMatrix, utilities: Utilities) -> ShapleyInteractions:
    n_players = coalitions.shape[1]
    if n_players > MAX_PLAYERS_OF_INTERACTIONS:
        raise ValueError(
            f"Expected at most {MAX_PLAYERS_OF_INTERACTIONS} contributors for pairwise interactions, got {n_players}, "
            f"which make {n_players * (n_players - 1) // 2} pairs."
        )
    return shapley_interactions(coalitions, utilities)
