"""Everything the page is made of, in one object: the tables of a finished run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

from groupshap.attribution.tables import coalition_utilities, player_names
from groupshap.games import CoalitionMatrix, Utilities
from groupshap.image_pack import ImagePack
from groupshap.reporting.config import ReportingConfig
from groupshap.reporting.counterfactuals import Counterfactual

__all__ = ["ReportInputs"]


@dataclass(frozen=True)
class ReportInputs:
    """Tables as the pipelines write them.

    Attributes:
        shapley_values: property, contributor, n_images, shapley_value, standard_error, ci_low, ci_high, share.
        comparison: the same by further estimators.
        diagnostics: one row per property.
        interactions: one row per property and pair of contributors.
        convergence: values after fewer evaluations.
        payments: shares in percent.
        utilities: one row per evaluation.
        measured_models: the same with measure_seconds and checkpoints.
        contributors: player, contributor, n_images, licence, credit, defect.
        directions: {property: whether higher values are better}.
        pack: all images and whose they are.
        image_table: one row per image, in the order of the pack.
        credits_text: Markdown of the credits file.
        pruning_report: what pruning removed.
        parameters: all parameters of the run, nested.
        level: coverage of the intervals.
        config: how much is shown.
        generated: images with and without some contributors, by name; may be empty.
        lds: scores of all attributions on held-out coalitions, of the pipeline ``validation``; None: not validated.
        fidelity: agreement of fine-tuned with retrained models, of the same pipeline; None: not validated.
        correction_moves: what a few retrainings changed, of the pipeline ``correction``; None: not corrected.
        attributions: what was scored in ``lds``, to tell whether both tables are of these values; None: not known.
    """

    shapley_values: pd.DataFrame
    comparison: pd.DataFrame
    diagnostics: pd.DataFrame
    interactions: pd.DataFrame
    convergence: pd.DataFrame
    payments: pd.DataFrame
    utilities: pd.DataFrame
    measured_models: pd.DataFrame
    contributors: pd.DataFrame
    directions: Mapping[str, bool]
    pack: ImagePack
    image_table: pd.DataFrame
    credits_text: str
    pruning_report: Mapping[str, Any]
    parameters: Mapping[str, Any]
    level: float
    config: ReportingConfig
    generated: Mapping[str, Counterfactual] = field(default_factory=dict)
    lds: pd.DataFrame | None = None
    fidelity: pd.DataFrame | None = None
    correction_moves: pd.DataFrame | None = None
    attributions: pd.DataFrame | None = None

    @cached_property
    def names(self) -> list[str]:
        """Contributors in the order of the players."""
        return player_names(self.contributors)

    @cached_property
    def properties(self) -> list[str]:
        """In the order of the table of values."""
        return list(dict.fromkeys(self.shapley_values["property"]))

    @cached_property
    def measured(self) -> tuple[CoalitionMatrix, dict[str, Utilities]]:
        """(n_rows, n_players) bool and {property: (n_rows,) float64}."""
        return coalition_utilities(self.utilities, self.contributors)

    @cached_property
    def quantile(self) -> float:
        """Half-width of an interval in standard errors, by the normal law."""
        return NormalDist().inv_cdf(0.5 + self.level / 2)

    def values_of(self, property_name: str) -> pd.DataFrame:
        """Rows of one property, indexed by contributor, in the order of the players."""
        table = self.shapley_values[self.shapley_values["property"] == property_name]
        return table.set_index("contributor").loc[self.names]

    def payments_of(self, property_name: str) -> pd.DataFrame:
        """Shares of one property, indexed by contributor, in the order of the players."""
        table = self.payments[self.payments["property"] == property_name]
        return table.set_index("contributor").loc[self.names]

    def ranks_of(self, property_name: str) -> pd.Series:
        """Rank 1, 2, ... of each contributor, 1 for the best."""
        ascending = not self.directions[property_name]
        return self.values_of(property_name)["shapley_value"].rank(ascending=ascending, method="first").astype(int)

    @cached_property
    def best_first(self) -> list[str]:
        """Contributors by their mean rank over all properties."""
        ranks = np.mean([self.ranks_of(name).to_numpy() for name in self.properties], axis=0)
        return [self.names[player] for player in np.argsort(ranks, kind="stable")]
