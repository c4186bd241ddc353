"""Pictures of validation: of screen size, every label inside, and they say what they show."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from toy_validation import DIRECTIONS, additive, contributor_table, utilities_table, value_table

from groupshap.games import all_coalitions, uniform_fraction_coalitions
from groupshap.validation.ablation import ablation_table
from groupshap.validation.config import ValidationScoringConfig
from groupshap.validation.counterfactuals import counterfactual_table, removal_coalitions, removals
from groupshap.validation.fidelity import fidelity_table, shapley_pairs
from groupshap.validation.game_plots import draw_ablation, draw_fidelity, draw_shapley_pairs
from groupshap.validation.lds import lds_table
from groupshap.validation.plots import draw_counterfactuals, draw_lds

QUICK = ValidationScoringConfig(n_bootstrap=50)
WORTH = np.array([5.0, -2.0, 1.0, 0.5, 3.0, -1.0, 0.2, 0.1])
GAME = {"accuracy": additive(WORTH, level=9.0)}


def checked(figure) -> tuple[list[str], str]:
    """Row labels and all words of a figure that saves without a warning, fits a screen and cuts no label."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(buffer)
    width, height = Image.open(buffer).size
    assert width < 1600
    assert height < 1600
    labels = figure.axes[0].get_yticklabels()
    assert min(label.get_window_extent().x0 for label in labels) >= 0
    words = [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]
    for text in words:
        assert text.get_window_extent().x1 <= width, text.get_text()
    return [label.get_text() for label in labels], " ".join(text.get_text() for text in words)


@pytest.fixture(scope="module")
def thirty():
    rng = np.random.default_rng(0)
    names = ["groupshap", "shapley/kernel", "size", "random", "$odd_{name}$ 名前", *(f"method/{k}" for k in range(25))]
    values = {name: WORTH + k / 4 * rng.normal(size=8) for k, name in enumerate(names)}
    return value_table({**values, "equal": np.ones(8)})


@pytest.mark.parametrize("n_replicates", [1, 3])
def test_lds_of_thirty_attributions_is_sorted_and_says_the_ceiling_or_why_not(thirty, n_replicates):
    masks = np.unique(uniform_fraction_coalitions(8, 80, seed=0), axis=0)
    utilities = utilities_table(masks, GAME, n_replicates=n_replicates, noise=1.0)
    table = lds_table(thirty, utilities, contributor_table(8), [], QUICK)
    labels, words = checked(draw_lds(table, "accuracy", 4))
    assert labels[0] == table.loc[table["lds"].idxmax(), "attribution"]
    assert labels[-1] == "equal"
    assert "not defined" in words
    assert ("noise ceiling 0." if n_replicates > 1 else "No noise ceiling") in words
    with pytest.raises(ValueError, match="at 7 contributors"):
        draw_lds(table, "accuracy", 7)


def test_counterfactuals_put_the_removal_that_hurts_most_on_top(thirty):
    table = removals(thirty, contributor_table(8), DIRECTIONS, n_random=3)
    utilities = utilities_table(removal_coalitions(table, contributor_table(8)), GAME, n_replicates=2, noise=0.2)
    changes = counterfactual_table(utilities, table, contributor_table(8))
    labels, words = checked(draw_counterfactuals(changes, "accuracy", 0.4, True))
    top = changes[(changes["share"] == 0.4) & (changes["end"] == "top")].set_index("attribution")["relative_change"]
    assert top[labels[0]] == top.min()
    assert "to the left" in words
    assert "to the right" in checked(draw_counterfactuals(changes, "accuracy", 0.2, False))[1]


@pytest.mark.parametrize("n_replicates", [1, 2])
def test_both_games_side_by_side(n_replicates):
    masks = all_coalitions(8)
    cheap = utilities_table(masks, {"accuracy": additive(0.8 * WORTH, level=9.0)}, split="paired", noise=0.3)
    retrained = utilities_table(masks, GAME, n_replicates=n_replicates, noise=0.4, seed=1)
    fidelity = fidelity_table(cheap, retrained, contributor_table(8), QUICK)
    words = checked(draw_fidelity(cheap, retrained, contributor_table(8), fidelity, "accuracy"))[1]
    assert "256 coalitions" in words
    assert ("noise ceiling" in words) == (n_replicates > 1)
    labels, words = checked(draw_shapley_pairs(shapley_pairs(cheap, retrained, contributor_table(8)), "accuracy"))
    assert labels[0] == "c 00 | 0"
    assert "cheap: exact" in words


@pytest.mark.parametrize("n_cells", [1, 40])
def test_ablation_names_the_recommended_cell_and_lists_the_front(n_cells):
    rng = np.random.default_rng(0)
    steps = np.arange(1, n_cells + 1) * 10
    cells = pd.DataFrame({"fraction_removed": 0.25, "n_steps": steps, "n_images": 64, "sampler_n_steps": 20})
    fidelity = 1.0 - np.exp(-steps / 80) + 0.01 * rng.normal(size=n_cells)
    cells = cells.assign(
        train_seconds=steps * 0.02, sample_seconds=1.0, fidelity_accuracy=fidelity, fidelity_frechet=fidelity - 0.1,
        ceiling_accuracy=0.98,
    )  # fmt: skip
    table = ablation_table(cells)
    words = checked(draw_ablation(table))[1]
    chosen = table[table["is_recommended"]].iloc[0]
    assert f"25 % removed, {chosen['n_steps']} steps" in words
    assert "noise ceiling" in words
