"""All baselines of a small run: complete, signed, the same for the same images wherever these stand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner

from groupshap.baselines.config import BaselinesConfig
from groupshap.baselines.survey import Run, _add_from_utilities, _add_proxy_game, survey
from groupshap.baselines.tables import BaselineTables
from groupshap.diffusion.config import ModelConfig, SamplerConfig
from groupshap.games import all_coalitions, coalition_id
from groupshap.image_pack import ImagePack, save_pack
from groupshap.members import join_members
from groupshap.model_file import ModelDescription, save_model
from groupshap.pipelines.baselines import create_pipeline
from groupshap.properties.config import PropertiesConfig
from groupshap.store import FileRef
from groupshap.tasks.config import DeviceSetting, PropertyEvalConfig, RootSeed

NAMES = ["ann | 1", "bob", "copy of bob", "NA"]
WORTH = np.array([3.0, -1.0, -1.0, 0.5])
DIRECTIONS = {"colourfulness": True, "frechet_efficientnet": False}
CONFIG = BaselinesConfig(n_images=6, projection_dim=32, n_timesteps=2, n_neighbours=3)
MEASURING = PropertyEvalConfig(
    sampler=SamplerConfig(n_steps=3),
    properties=PropertiesConfig(names=tuple(DIRECTIONS), extractor_image_size_px=32),
)
BY_SUM_MEAN_MAX = (
    *("pixel_similarity", "embedding_similarity", "embedding_distance", "gmvaluator", "clip_similarity"),
    *("gradient_similarity", "trak", "relative_influence", "renormalised_influence", "journey_trak", "d_trak", "das"),
)
OTHERS = ("own_images", "loo", "add_one_in", "banzhaf", "datamodel", "proxy_game")
NOT_DEFINED = {"clip_similarity/sum", "clip_similarity/mean", "clip_similarity/max", "proxy_game"}


def utilities_table():
    coalitions = all_coalitions(4)
    return pd.DataFrame(
        {
            "split": "estimation",
            "coalition_id": [coalition_id(mask) for mask in coalitions],
            "replicate": 0,
            "n_contributors": coalitions.sum(axis=1),
            "members": [join_members(np.array(NAMES, dtype=object)[mask]) for mask in coalitions],
            "colourfulness": coalitions @ WORTH,
            "frechet_efficientnet": 9.0 - coalitions @ WORTH,
            "train_seconds": 10.0,
            "sample_seconds": 2.0,
            "fingerprint": "00e1",
        }
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Four contributors, unequally many images, the third a duplicate of the second; a random model."""
    folder = tmp_path_factory.mktemp("baselines")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5 + 3 + 4, 3, 8, 8), dtype=np.uint8)
    pack = ImagePack(
        np.concatenate([images[:8], images[5:8], images[8:]]), np.repeat(np.arange(4), [5, 3, 3, 4]).astype(np.int64)
    )
    description = ModelDescription(
        ModelConfig(block_out_channels=(4, 8), norm_num_groups=2, mid_attention=False), (3, 8, 8)
    )
    save_model(folder / "model.safetensors", description.initialise(0), description)
    save_pack(folder / "images.safetensors", pack)
    return Run(
        base_model=folder / "model.safetensors",
        pack=pack,
        image_table=pd.DataFrame({"image_id": range(15)}),
        contributors=pd.DataFrame({"player": range(4), "contributor": NAMES, "n_images": [5, 3, 3, 4]}),
        directions=DIRECTIONS,
        utilities=utilities_table(),
        config=CONFIG,
        measuring=MEASURING,
        root_seed=0,
    )


@pytest.fixture(scope="module")
def tables(run):
    return survey(run)


def wide(values):
    return values.pivot(index="contributor", columns=["attribution", "property"], values="value").loc[NAMES]


def test_every_baseline_has_a_note_and_every_defined_one_has_all_values(tables):
    values, notes = tables
    expected = {f"{name}/{how}" for name in BY_SUM_MEAN_MAX for how in ("sum", "mean", "max")} | set(OTHERS)
    assert set(notes["attribution"]) == expected
    assert notes["attribution"].is_unique
    assert set(notes["attribution"][~notes["defined"]]) == NOT_DEFINED
    assert notes["note"][~notes["defined"]].str.startswith("not defined: ").all()
    assert set(values["attribution"]) == expected - NOT_DEFINED
    assert len(values) == len(expected - NOT_DEFINED) * 2 * 4
    assert np.isfinite(values["value"]).all()
    assert (notes["seconds"][notes["defined"]] > 0).all()


def test_the_order_of_the_pack_changes_no_score(run, tables):
    order = np.random.default_rng(1).permutation(15)
    shuffled = replace(
        run,
        pack=ImagePack(run.pack.images[order], run.pack.players[order]),
        image_table=run.image_table.iloc[order].reset_index(drop=True),
    )
    again = survey(shuffled)[0]
    assert again.drop(columns="value").equals(tables[0].drop(columns="value"))
    is_fitted = again["attribution"] == "own_images"
    assert (again["value"] == tables[0]["value"])[~is_fitted].all()
    np.testing.assert_allclose(again["value"], tables[0]["value"], rtol=1e-6)


def test_a_duplicate_gets_what_its_original_gets(tables):
    values = wide(tables[0])
    original, copy = values.loc["bob"], values.loc["copy of bob"]
    assert ((copy - original).abs() <= 1e-5 * values.abs().max()).all()
    assert (values.loc["ann | 1"] - original).abs().max() > 0


def test_importance_lowers_a_property_of_which_less_is_better_and_utilities_keep_their_sign(tables):
    values = wide(tables[0])
    for name in ("pixel_similarity/mean", "trak/sum", "gmvaluator/max"):
        assert (values[name, "colourfulness"] == -values[name, "frechet_efficientnet"]).all()
    for name in ("loo", "add_one_in", "banzhaf"):
        np.testing.assert_allclose(values[name, "colourfulness"], WORTH, atol=1e-9)
        np.testing.assert_allclose(values[name, "frechet_efficientnet"], -WORTH, atol=1e-9)
    shares = values["gmvaluator/sum"]["colourfulness"]
    assert shares.sum() == pytest.approx(1)


def test_what_the_table_of_utilities_lacks_is_named(run):
    whole = run.utilities
    fewer = replace(run, utilities=whole[~((whole["n_contributors"] == 3) & whole["members"].str.endswith("NA"))])
    tables = BaselineTables(NAMES, fewer.sorted_pack.players, DIRECTIONS)
    _add_from_utilities(tables, fewer)
    note = tables.notes().set_index("attribution").loc["loo"]
    assert not note["defined"]
    assert note["note"].endswith("all but ann | 1; all but bob; all but copy of bob.")
    assert set(tables.values()["attribution"]) == {"add_one_in", "banzhaf", "datamodel"}


def test_a_conditional_model_has_a_game_without_training(run):
    drawn_for = [np.full((8, 3, 8, 8), shade, dtype=np.uint8) for shade in (0, 50, 50, 200)]
    drawn_for[0][:, 0] = 255
    conditional = replace(run, drawn_for=drawn_for)
    tables = BaselineTables(NAMES, run.sorted_pack.players, DIRECTIONS)
    _add_proxy_game(tables, conditional)
    values = wide(tables.values())["proxy_game", "colourfulness"]
    assert values.idxmax() == "ann | 1", "the only one who draws in colour"


def test_tables_of_another_run_are_refused(run):
    with pytest.raises(ValueError, match="15 images"):
        survey(replace(run, image_table=run.image_table.head(3)))
    with pytest.raises(ValueError, match="property_directions"):
        survey(replace(run, directions={"colourfulness": True}))


def test_the_node_writes_both_tables(run, tables):
    inputs = {
        "base_model": FileRef.of(run.base_model),
        "images@file": FileRef.of(run.base_model.with_name("images.safetensors")),
        "image_table@table": run.image_table,
        "contributors": run.contributors,
        "property_directions": DIRECTIONS,
        "utilities": run.utilities,
        "single_utilities": run.utilities,
        "params:baselines": CONFIG,
        "params:property_eval": MEASURING,
        "params:root_seed": RootSeed(0),
        "params:device": DeviceSetting("cpu"),
    }
    catalog = DataCatalog({name: MemoryDataset(value, copy_mode="assign") for name, value in inputs.items()})
    outputs = SequentialRunner().run(create_pipeline().only_nodes("baselines.attribute_by_baselines"), catalog)
    pd.testing.assert_frame_equal(outputs["baseline_attributions"].load(), tables[0])
    assert set(outputs) == {"baseline_attributions", "baseline_notes"}
