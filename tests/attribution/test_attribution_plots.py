from __future__ import annotations

import io
import warnings

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from toy_tables import DIRECTIONS, NASTY_NAMES

from groupshap.attribution.plots import draw_attribution, draw_overview, draw_size_curve
from groupshap.games import plan_coalitions, size_curve


def value_table(names) -> pd.DataFrame:
    rng = np.random.default_rng(len(names))
    tables = []
    for name in DIRECTIONS:
        values = rng.normal(size=len(names))
        columns = {"property": name, "contributor": names, "shapley_value": values}
        tables.append(pd.DataFrame(columns | {"ci_low": values - 0.5, "ci_high": values + 0.5}))
    return pd.concat(tables, ignore_index=True)


def png_size(figure) -> tuple[int, int]:
    """Save as the catalog does, with every warning an error."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(buffer)
    return Image.open(buffer).size


def labels(axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


@pytest.mark.parametrize("names", [("a", "b"), NASTY_NAMES, tuple(map(str, range(300)))], ids=["2", "nasty", "300"])
def test_pictures_of_few_nasty_and_many_names_stay_of_screen_size(names):
    table = value_table(names)
    for figure in (draw_attribution(table, "accuracy", True), draw_overview(table, DIRECTIONS)):
        width, height = png_size(figure)
        assert width < 1600
        assert height < 1600
        axes = figure.axes[0]
        left = min(label.get_window_extent().x0 for label in axes.get_yticklabels())
        assert left >= 0
        assert len(labels(axes)) == min(len(names), 41)


@pytest.mark.parametrize(("higher_is_better", "best"), [(True, "high"), (False, "low")])
def test_best_contributor_is_on_top_and_the_caption_says_which_way(higher_is_better, best):
    table = pd.DataFrame(
        {"property": "p", "contributor": ["low", "high"], "shapley_value": [-1.0, 2.0]}
        | {"ci_low": [-2.0, 1.0], "ci_high": [0.0, 3.0]}
    )
    figure = draw_attribution(table, "p", higher_is_better, fitted_by="gp, 64 evaluations")
    assert labels(figure.axes[0])[0] == best
    words = " ".join(text.get_text() for text in figure.texts)
    assert ("Higher values are better" in words) == higher_is_better
    assert "gp, 64 evaluations" in words
    assert "v(empty) = 1." in words


def test_size_curve_is_drawn_with_and_without_a_fit():
    coalitions = plan_coalitions(6, 40, seed=0)
    utilities = np.log1p(coalitions.sum(axis=1)) + 0.01 * coalitions[:, 0]
    fitted = draw_size_curve(coalitions, utilities, size_curve(coalitions, utilities), "accuracy")
    assert png_size(fitted)
    assert "R² = 1.00" in fitted.texts[0].get_text()
    bare = draw_size_curve(coalitions[:5], utilities[:5], None, "accuracy")
    assert png_size(bare)
    assert "Too few" in bare.texts[1].get_text()
