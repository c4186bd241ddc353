from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groupshap.grouping.assemble import group_images, images_of_others
from groupshap.grouping.checks import DataProblems
from groupshap.grouping.config import DataGroupingConfig
from groupshap.grouping.contact_sheet import draw_contact_sheet
from groupshap.grouping.data import SourceData
from groupshap.grouping.defects import is_used
from groupshap.grouping.split import split_into_contributors


def source_data(n_per_contributor=(6, 4, 5), n_labels=3, names=("ann", "bob", "cy")) -> SourceData:
    """Random pictures, the same for the same arguments."""
    owners = np.repeat(names, n_per_contributor)
    n = len(owners)
    table = pd.DataFrame(
        {
            "image_id": np.arange(n),
            "contributor": owners,
            "source_item": [f"item {row}" for row in range(n)],
            "label": [f"label {row % n_labels}" for row in range(n)],
        }
    )
    credits_table = pd.DataFrame(
        {"contributor": names, "licence": (["CC0"] + ["MIT"] * len(names))[: len(names)], "credit": ""}
    )
    images = np.random.default_rng(0).integers(0, 256, (n, 3, 8, 8), dtype=np.uint8)
    return SourceData(images, table, credits_table, label_column="label")


def grouped(data: SourceData | None = None, **parameters):
    return group_images(data or source_data(), DataGroupingConfig(image_size=8, **parameters))


# --- splits -----------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    n_images=st.integers(30, 120),
    n_labels=st.integers(1, 6),
    seed=st.integers(0, 9),
    split=st.sampled_from(
        [
            {"by": "label"},
            {"by": "shards", "shards_per_label": 3},
            {"by": "dirichlet", "n_contributors": 4, "concentration": 0.7},
            {"by": "dirichlet", "n_contributors": 2, "concentration": 50},
        ]
    ),
)
def test_every_image_goes_to_exactly_one_contributor(n_images, n_labels, seed, split):
    table = pd.DataFrame({"label": np.random.default_rng(seed).integers(0, n_labels, n_images)})
    config = DataGroupingConfig(split=split, seed=seed)
    try:
        owners = split_into_contributors(table, "label", config)
    except DataProblems as problems:
        assert "shards" in str(problems)  # noqa: PT017  (only a label too small for its shards may be refused)
        return
    assert len(owners) == n_images
    assert all(owners)
    assert owners == split_into_contributors(table, "label", config)
    if split["by"] == "dirichlet":
        assert len(set(owners)) == split["n_contributors"]
    else:
        parts = table.groupby(owners)["label"]
        assert (parts.nunique() == 1).all()
        if split["by"] == "shards":
            sizes = parts.size().groupby(parts.first())
            assert (sizes.max() - sizes.min() <= 1).all()


def test_concentration_decides_how_mixed_contributors_are():
    table = pd.DataFrame({"label": np.repeat(np.arange(5), 200)})

    def largest_share(concentration: float) -> float:
        split = {"by": "dirichlet", "n_contributors": 5, "concentration": concentration}
        owners = split_into_contributors(table, "label", DataGroupingConfig(split=split))
        return pd.crosstab(owners, table["label"], normalize="index").max(axis=1).mean()

    assert largest_share(0.05) > 0.7
    assert largest_share(1000) < 0.25


def test_a_split_is_recorded_and_keeps_the_credit():
    result = grouped(split={"by": "shards", "shards_per_label": 2})
    assert result.contributors["contributor"][0] == "label 0 (1 of 2)"
    assert result.n_players == 6
    assert set(result.image_table["source_contributor"]) == {"ann", "bob", "cy"}
    assert set("; ".join(result.contributors["licence"]).split("; ")) == {"CC0", "MIT"}


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ({"by": "label", "column": "colour"}, "a column 'colour' (data_grouping.split.column), got the columns"),
        ({"by": "shards", "shards_per_label": 9}, "label 'label 0': expected at least 9 images for 9 shards, got 5"),
        ({"by": "dirichlet", "n_contributors": 16}, "16 contributors with at least 1 images"),
    ],
)
def test_impossible_splits_say_why(split, words):
    with pytest.raises(DataProblems) as caught:
        grouped(split=split)
    assert words in str(caught.value)


# --- players ----------------------------------------------------------------------------------------------------------


def test_players_are_numbered_by_name_and_images_by_row():
    result = grouped(source_data(names=("zoe", "b", "a")))
    assert result.contributors[["player", "contributor", "n_images"]].to_numpy().tolist() == [
        [0, "a", 5], [1, "b", 4], [2, "zoe", 6],
    ]  # fmt: skip
    assert result.contributors["licence"].to_list() == ["MIT", "MIT", "CC0"]
    assert result.image_table["image_id"].to_list() == list(range(15))
    assert result.image_table["player"].to_list() == [2] * 6 + [1] * 4 + [0] * 5


def test_others_are_everybody_whom_a_draw_did_not_take_and_nobody_who_withdrew():
    names = tuple("abcdefg")
    data = source_data((2,) * 7, names=names)
    settings = {"max_contributors": 3, "leave_out": ("a",), "n_images_per_contributor": 1}
    drawn = set(grouped(data, **settings).contributors["contributor"])
    assert len(drawn) == 3
    assert drawn == set(grouped(data, **settings).contributors["contributor"])
    assert any(drawn != set(grouped(data, seed=seed, **settings).contributors["contributor"]) for seed in (1, 2, 3))
    config = DataGroupingConfig(image_size=8, **settings)
    others = images_of_others(data, config, drawn)
    assert set(others.contributors["contributor"]) == set(names) - drawn - {"a"}
    assert len(others.images) == 2 * 3, "caps are the run's"
    by_split = DataGroupingConfig(image_size=8, split={"by": "shards"})
    with pytest.raises(DataProblems, match=r"split.by=none"):
        images_of_others(data, by_split, drawn)


def test_caps_and_minimum_are_applied_and_recorded():
    result = grouped(n_images_per_contributor=3, min_images_per_contributor=5)
    assert result.contributors[["contributor", "n_images"]].to_numpy().tolist() == [["ann", 3], ["cy", 3]]
    assert result.left_out.to_numpy().tolist() == [["bob", 4]]
    kept = [int(item.split()[1]) for item in result.image_table["source_item"]]
    np.testing.assert_array_equal(result.images, source_data().images[kept])
    assert kept == sorted(kept)


def test_the_same_input_gives_the_same_bits_and_another_seed_others():
    options = {"split": {"by": "dirichlet", "n_contributors": 3}, "defects": "noise:contributor 01:0.5"}
    first, again, other = grouped(**options), grouped(**options), grouped(**options, seed=1)
    np.testing.assert_array_equal(first.images, again.images)
    pd.testing.assert_frame_equal(first.image_table, again.image_table)
    assert first.checksum == again.checksum != other.checksum


@pytest.mark.parametrize(
    ("data", "parameters", "words"),
    [
        (source_data((5,), names=("ann",)), {}, "at least two contributors, got only 'ann'"),
        (source_data(names=("ann", "bob", "b\x07")), {}, "control characters"),
        (source_data(), {"min_images_per_contributor": 7}, "at least two contributors with 7 images"),
        (source_data(), {"label_column": "hue"}, "a column 'hue'"),
        (source_data(), {"defects": "noise:eve"}, "a contributor 'eve', got the contributors ann, bob, cy"),
        (source_data(), {"defects": "duplicate:ann:of=eve"}, "a contributor 'eve'"),
        (source_data(n_labels=1), {"defects": "mislabel:ann"}, "at least two labels, got 1 in column 'label'"),
    ],
)
def test_what_cannot_be_grouped_is_named(data, parameters, words):
    with pytest.raises(DataProblems) as caught:
        grouped(data, **parameters)
    assert words in str(caught.value)


# --- defects ----------------------------------------------------------------------------------------------------------


def test_defects_do_what_they_say_to_whom_they_say_and_are_recorded():
    plain = grouped()
    for defects, note in (
        ("noise:ann", "noise(strength=1)"),
        ("noise:ann:0.3", "noise(strength=0.3)"),
        ("blur:ann", "blur(strength=1)"),
        ("duplicate:ann:of=bob", "duplicate"),
    ):
        result = grouped(defects=defects)
        changed = (result.images != plain.images).any(axis=(1, 2, 3))
        assert changed.tolist() == [True] * 6 + [False] * 9, defects
        assert (result.image_table["defect"] != "").tolist() == changed.tolist()
        assert result.contributors["defect"].to_list() == [f"{note} on 6 of 6 images", "", ""]
        assert result.checksum != plain.checksum
    assert (plain.image_table["defect"] == "").all()


def test_strength_and_fraction_scale_the_harm():
    plain = grouped().images[:6].astype(int)
    weak, strong = (np.abs(grouped(defects=f"noise:ann:{s}").images[:6] - plain).mean() for s in (0.2, 0.9))
    assert weak < strong / 3
    sharp, soft = (grouped(defects=f"blur:ann:{s}").images[:6].std() for s in (0.2, 1))
    assert soft < sharp
    assert (grouped(defects="noise:ann:fraction=0.4").image_table["defect"] != "").sum() == 3  # 2.4, rounded up


def test_duplicates_are_copies_with_their_labels():
    result = grouped(defects="duplicate:ann:of=bob")
    table = result.image_table[:6]
    copied = table["defect"].str.extract(r"image_id=(\d+)")[0].astype(int)
    assert set(copied) == {6, 7, 8, 9}  # all of bob's are used before one is used twice
    np.testing.assert_array_equal(result.images[:6], result.images[copied])
    assert table["label"].to_list() == result.image_table["label"][copied].to_list()


def test_unused_images_stay_as_they_are_and_are_marked():
    plain, result = grouped(), grouped(defects="unused:ann")
    np.testing.assert_array_equal(result.images, plain.images)
    of_ann = (result.image_table["contributor"] == "ann").to_numpy()
    np.testing.assert_array_equal(is_used(result.image_table), ~of_ann)


def test_mislabelling_changes_every_affected_label_and_no_pixel():
    plain, result = grouped(), grouped(defects="mislabel:ann")
    assert (result.image_table["label"] != plain.image_table["label"]).tolist() == [True] * 6 + [False] * 9
    np.testing.assert_array_equal(result.images, plain.images)
    assert result.image_table["defect"][0] == "mislabel(label was label 0)"


def test_defects_add_up_in_the_order_given():
    result = grouped(defects="blur:bob;duplicate:ann:of=bob;noise:ann:0.1:fraction=0.1")
    np.testing.assert_array_equal(result.images[6:10], grouped(defects="blur:bob").images[6:10])
    assert result.image_table["defect"].str.contains("; noise").sum() == 1
    assert result.contributors["defect"][0] == "duplicate, duplicate; noise on 6 of 6 images"


# --- contact sheet ----------------------------------------------------------------------------------------------------


def test_contact_sheet_takes_any_name_and_many_contributors(recwarn):
    names = ["$\\frac{", "李雷" * 80, *(f"c {n:02d}" for n in range(28))]
    n = [1, 3, *([2] * 28)]
    table = pd.DataFrame({"contributor": np.repeat(names, n)})
    table = table.assign(image_id=range(len(table)), source_item="x")
    empty = pd.DataFrame({"contributor": [], "licence": [], "credit": []})
    result = grouped(SourceData(np.zeros((len(table), 1, 8, 8), np.uint8), table, empty), channels=1)
    figure = draw_contact_sheet(result.images, result.image_table["player"].to_numpy(), result.contributors)
    texts = [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]
    assert "6 more contributors are not shown." in texts
    figure.canvas.draw()
    assert not [w for w in recwarn if "matplotlib" in w.filename and "Glyph" not in str(w.message)]
