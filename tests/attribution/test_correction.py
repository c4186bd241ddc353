"""Values of the retrained game from many cheap rows and a few retrained ones."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from toy_tables import DIRECTIONS, contributor_table, true_values, utilities_table

from groupshap.attribution.config import EstimationConfig
from groupshap.attribution.correction import draw_correction, moves_table, retrained_rows
from groupshap.pipelines.correction.nodes import explain_correction
from groupshap.pipelines.shapley_estimation.nodes import estimate_shapley_values

CONFIG = EstimationConfig(companions=())


@pytest.fixture(scope="module")
def leaning():
    """A cheap game that sees only 60 % of what players do, and the true rows of its first 20 coalitions."""
    contributors, truth = contributor_table(), utilities_table(noise=0.02, seed=1)
    cheap = utilities_table(noise=0.02, seed=1)
    cheap["accuracy"] = 0.6 * cheap["accuracy"] + 0.5 * np.sqrt(cheap["n_contributors"])
    cheap["frechet_x"] = 0.6 * cheap["frechet_x"]
    retrained = truth.head(20).assign(split="correction", fingerprint="77aa")
    return contributors, cheap, pd.concat([cheap, retrained], ignore_index=True)


def test_values_become_those_of_the_retrained_game(leaning):
    contributors, cheap, both = leaning
    alone, of_the_cheap, *_ = estimate_shapley_values(cheap, contributors, DIRECTIONS, CONFIG)
    dear = both.assign(train_seconds=both["train_seconds"].where(both["split"] != "correction", 500.0))
    corrected, comparison, diagnostics, _ = estimate_shapley_values(cheap, contributors, DIRECTIONS, CONFIG, dear)
    truth = pd.Series(true_values("accuracy", len(contributors)), contributors["contributor"])

    def used(table):
        return set(table.loc[table["property"] == "accuracy", "estimator"])

    def error(table):
        own = table[table["property"] == "accuracy"].set_index("contributor")["shapley_value"]
        return np.linalg.norm(own - truth) / np.linalg.norm(truth)

    assert error(corrected) < 0.3 * error(alone)
    # The cheap game is additive but for its size: process and ridge are equally good, rounding decides between them.
    expected = {"two_fidelity", *used(of_the_cheap)}
    assert len(expected) == 2
    assert used(comparison) == expected, "the cheap game's values stay beside them"
    assert (diagnostics["seconds_per_evaluation"] > 400.0).all(), "going on means more retrainings"


def test_retrainings_of_other_utilities_are_left_out_and_that_is_said(leaning, caplog):
    contributors, cheap, both = leaning
    other = cheap.assign(fingerprint="beef")
    table, retrained = retrained_rows(both, other, contributors)
    assert retrained == {}
    assert table is other
    assert "belong to other utilities" in caplog.text
    assert retrained_rows(None, cheap, contributors)[1] == {}


def test_moves_say_how_far_and_the_picture_draws(leaning):
    contributors, cheap, both = leaning
    moves = explain_correction(cheap, both, contributors, CONFIG)
    assert set(moves["property"]) == {"accuracy", "frechet_x"}
    np.testing.assert_allclose(moves["moved"], moves["corrected_value"] - moves["cheap_value"])
    values, *_ = estimate_shapley_values(cheap, contributors, DIRECTIONS, CONFIG, both)
    key, interval = ["property", "contributor"], ["ci_low", "ci_high"]
    pd.testing.assert_frame_equal(
        moves.set_index(key)[interval].sort_index(), values.set_index(key)[interval].sort_index()
    )
    assert draw_correction(moves, "accuracy").axes
    assert moves_table({}).empty
