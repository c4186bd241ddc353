from __future__ import annotations

import numpy as np
import pytest

from groupshap.properties.base import fit_properties, measure
from groupshap.properties.errors import PropertyError
from groupshap.properties.groups import GroupShare, LabelClassifier, ParityGap, parity_gap, slug
from groupshap.properties.labels import fit_centroids, most_probable
from groupshap.properties.requirements import table_problems


def test_the_gap_is_what_would_have_to_change():
    assert parity_gap(np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])) == pytest.approx(0.3)
    assert parity_gap(np.array([1.0, 0]), np.array([0, 1.0])) == 1
    assert slug("Dark brown/2") == "dark_brown_2"


def test_the_nearest_centroid_is_a_linear_classifier():
    rng = np.random.default_rng(0)
    points, codes = rng.normal(size=(60, 4)), np.arange(60) % 3
    means = np.stack([points[codes == code].mean(axis=0) for code in range(3)])
    nearest = np.linalg.norm(points[:, None] - means, axis=2).argmin(axis=1)
    assert np.array_equal(most_probable(points, *fit_centroids(points, codes)), nearest)


@pytest.mark.parametrize(
    ("embedding", "classifier"), [("colours", "linear"), ("pixels", "linear"), ("pixels", "centroid")]
)
def test_shares_and_gap_of_recognised_labels(embedding, classifier, pixels, digits):
    images, table = digits
    chosen = table["digit"].isin([0, 1, 6])
    images, digit = images[chosen], table["digit"][chosen]
    labels = digit.map({0: "Zero", 1: "The one", 6: "six"}).to_frame("kind").reset_index(drop=True)
    groups = LabelClassifier(None if embedding == "colours" else pixels, "kind", classifier)
    target = {"Zero": 0.5, "six": 0.5}
    properties = [
        GroupShare(groups, "zero"),
        GroupShare(groups, "the_one"),
        ParityGap(groups),
        ParityGap(groups, target),
    ]
    properties[3].name = "gap_to_target"
    state = fit_properties(properties, images[:300], labels[:300])
    assert [key for key in state if key.startswith("labels-of-groups.")] == [
        "labels-of-groups.weights",
        "labels-of-groups.biases",
        "labels-of-groups.about",
    ], "fitted once for all"
    zeros, sixes = (images[300:][(digit == number).to_numpy()[300:]][:30] for number in (0, 6))
    found = measure(properties, np.concatenate([zeros, zeros, sixes]))
    assert found["share_of_zero"] == pytest.approx(2 / 3, abs=0.05)
    assert found["share_of_the_one"] == pytest.approx(0, abs=0.05)
    assert found["parity_gap"] == pytest.approx(1 / 3, abs=0.05)
    assert found["gap_to_target"] == pytest.approx(1 / 6, abs=0.05)
    assert properties[0].describe().startswith("labels of column 'kind' (The one, Zero, six), recognised in ")


def test_what_the_table_lacks_is_said_before_anything_is_fitted(digits):
    table = digits[1]
    groups = LabelClassifier(None, "digit")
    assert table_problems([GroupShare(groups, "7"), ParityGap(groups, {"7": 1.0})], table) == []
    wrong = [
        GroupShare(groups, "ten"),
        ParityGap(groups, {"7": 0.5, "ten": 0.5}),
        GroupShare(LabelClassifier(), "dark"),
    ]
    one, two, three = table_problems(wrong, table)
    assert "'share_of_ten': expected one label that is called 'ten'" in one
    assert one.endswith("got 0 among 0, 1, 2, 3, 4, 5, 6, 7, 8, 9.")
    assert "`group_target` names ten, expected labels of the images, 0, 1" in two
    assert "set `group_label_column` (it is 'auto') to one of the columns digit" in three
    with pytest.raises(PropertyError, match="called 'ten'"):
        fit_properties(wrong[:1], digits[0][:100], table[:100])
