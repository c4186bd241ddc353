"""Choosing, building, fitting and measuring properties, the user's own among them."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file

from groupshap.properties import base
from groupshap.properties.base import (
    PROPERTIES,
    PropertyError,
    fit_properties,
    higher_is_better_of,
    measure,
    properties_recipe,
    resolve_properties,
    restore_properties,
)
from groupshap.properties.config import PropertiesConfig
from groupshap.properties.requirements import count_problems, table_problems

PROJECT = Path(__file__).parents[2]

OWN = '''
class Brightness:
    name = "brightness"
    higher_is_better = True

    def __call__(self, images):
        return images.mean()


class Contrast:
    """Compares with the reference."""

    name = "contrast"
    higher_is_better = False

    def fit(self, images, image_table):
        return {"spread": images.std(keepdims=True)}

    def restore(self, state):
        self.spread = float(state["spread"].item())

    def __call__(self, images):
        return abs(images.std() - self.spread)


class Shapeless:
    name = "Not a column!"


class Demanding:
    def __init__(self, path):
        pass


class Namesake(Brightness):
    name = "colourfulness"


class Vandal(Brightness):
    def __call__(self, images):
        images[:] = 0


class Odd(Brightness):
    value = None

    def __call__(self, images):
        return self.value
'''


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A user's file own_properties.py on the path."""
    (tmp_path / "own_properties.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_properties", raising=False)
    return "own_properties"


def config(names, **parameters) -> PropertiesConfig:
    return PropertiesConfig(names=names, extractor_image_size_px=32, **parameters)


# --- choosing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["a:B;colourfulness", "a:B + colourfulness", ["a:B", "colourfulness"], "a:B,colourfulness"]
)
def test_names_come_as_a_list_or_as_text(text):
    assert PropertiesConfig(names=text).names == ("a:B", "colourfulness")


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"names": "fd;colourfulness"}, r"unknown properties \['fd'\]; known are frechet_\*, kernel_distance_\*"),
        ({"names": "a.b:c.d"}, "'package.module:Class'"),
        ({"names": ""}, "at least one property and no empty name"),
        ({"names": []}, "at least one property"),
        ({"names": "colourfulness;;"}, "no empty name"),
        ({"names": "colourfulness+colourfulness"}, r"\['colourfulness'\] more than once"),
        ({"n_clusters": 1}, "n_clusters"),
        ({"group_target": {"a": 0.5, "b": 0.4}}, "`group_target` must sum to 1, got 0.9"),
        ({"clusters": 3}, "clusters"),
    ],
)
def test_bad_parameters_are_refused(parameters, words):
    with pytest.raises(ValidationError, match=words):
        PropertiesConfig(**parameters)


def test_a_worker_elsewhere_finds_the_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert PropertiesConfig(extractor_weights="own.pth").extractor_weights == str(tmp_path / "own.pth")
    assert PropertiesConfig(reference_folder="photos").reference_folder == str(tmp_path / "photos")


def test_parameters_and_building_need_no_torch():
    code = (
        "import sys; from groupshap.properties.base import *; from groupshap.properties.config import PropertiesConfig;"
        "properties_recipe(PropertiesConfig());"
        "print([m for m in ('torch', 'sklearn', 'pandas', 'kedro', 'mlflow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture(scope="module")
def weights(towers, tmp_path_factory):
    """A file for every setting that wants one; of the Inception networks only what they are known by."""
    folder = tmp_path_factory.mktemp("weights")
    block = torch.zeros(320, 2048, 1, 1)
    for name, n_classes in (("inception", 1008), ("torchvision", 1000)):
        marks = {"fc.weight": torch.zeros(n_classes, 2048), "Mixed_7c.branch1x1.conv.weight": block}
        save_file(marks, folder / f"{name}.safetensors")
    save_file({"weight": torch.zeros(1, 16), "bias": torch.zeros(1)}, folder / "head.safetensors")
    files = {"inception_weights": "inception", "torchvision_weights": "torchvision", "aesthetic_head": "head"}
    found = {setting: str(folder / f"{name}.safetensors") for setting, name in files.items()}
    return found | {"clip_weights": str(towers.clip_folder), "blip_weights": str(towers.blip_folder)}


def test_built_in_names_are_those_of_their_classes(weights):
    names = [*PROPERTIES, "share_of_dark_brown"]
    directions = higher_is_better_of(config(names, **weights))
    assert list(directions) == names
    worse = {name for name, higher in directions.items() if not higher}
    distances = {name for name in names if name.startswith(("frechet_", "kernel_distance_"))}
    assert worse == {*distances, "fid", "kid", "parity_gap"}
    described = properties_recipe(config(names, **weights))
    assert set(described["properties"]) == set(names)
    assert sorted(described["extractors"]) == ["blip", "clip", "inception", "torchvision"]
    page = (PROJECT / "docs/reference/built-in-properties.md").read_text("utf-8")
    patterns = {name: f"{name.rpartition('_')[0]}_*" for name in PROPERTIES}
    assert not [name for name in PROPERTIES if f"`{name}`" not in page and f"`{patterns[name]}`" not in page]


def test_missing_weights_are_all_named_at_once():
    with pytest.raises(PropertyError) as caught:
        resolve_properties(
            config("kid;vendi_clip;aesthetic_clip;precision_torchvision;cluster_entropy_blip;share_of_a")
        )
    for setting in ("inception_weights", "clip_weights", "aesthetic_head", "torchvision_weights", "blip_weights"):
        assert f"`{setting}`" in str(caught.value)


def test_what_can_be_known_before_is_said_before(weights):
    chosen = config("recall_clip;kid;prompt_score_clip", kernel_n_subsets=3, kernel_n_images_per_subset=20, **weights)
    properties = resolve_properties(chosen)
    few, none = count_problems(properties, 19), count_problems(properties, 20, has_prompts=True)
    assert [text.split(" ", 2)[1] for text in few] == ["'kid'", "'prompt_score_clip'"]
    assert none == []
    assert "'recall_clip' needs at least 4 generated images, got 3" in count_problems(properties, 3)[0]
    assert len(table_problems(properties, pd.DataFrame(index=range(19)))) == 1
    assert table_problems(properties, pd.DataFrame(index=range(19)), n_in_folder=20) == []


# --- one's own --------------------------------------------------------------------------------------------------------


def test_own_properties_end_to_end(own, digits):
    images, table = digits
    chosen = config(f"{own}:Brightness;{own}:Contrast;colourfulness")
    properties = resolve_properties(chosen)
    assert higher_is_better_of(chosen) == {"brightness": True, "contrast": False, "colourfulness": True}
    state = fit_properties(properties, images, table)
    assert list(state) == ["contrast.spread"]
    workers = resolve_properties(chosen)
    restore_properties(workers, state)
    values = measure(workers, images[:50])
    assert values == measure(properties, images[:50])
    assert values["brightness"] == images[:50].mean()
    assert [type(value) for value in values.values()] == [float] * 3


def test_an_entry_point_is_a_name(own, monkeypatch):
    point = EntryPoint("bright", f"{own}:Brightness", base.ENTRY_POINT_GROUP)
    monkeypatch.setattr(base, "entry_points", lambda group: [point] if group == point.group else [])
    chosen = config("bright")
    assert higher_is_better_of(chosen) == {"brightness": True}
    with pytest.raises(ValidationError, match=r"share_of_\* with a label; bright; your own"):
        config("brigt")


def test_everything_wrong_is_said_at_once(own, tmp_path):
    (tmp_path / "broken.py").write_text("def f(:")
    names = [f"{own}:{name}" for name in ("Missing", "Shapeless", "Demanding", "Namesake")]
    with pytest.raises(PropertyError) as caught:
        resolve_properties(
            config(
                [*names, "nowhere:Thing", "broken:Thing", "colourfulness", "frechet_efficientnet"],
                extractor_weights="/no/such/file.pth",
            )
        )
    for words in (
        "own_properties has no class Missing; it has Brightness, Contrast, Shapeless",
        "needs `name`, a string of a-z, 0-9 and _ (got 'Not a column!'), `higher_is_better`, True or False (got None)",
        "'own_properties:Demanding' must be built without arguments",
        "2 properties are named 'colourfulness'",
        "module nowhere cannot be imported (ModuleNotFoundError: No module named 'nowhere'); install it, or put its",
        "module broken cannot be imported (SyntaxError",
        "no file is at /no/such/file.pth",
    ):
        assert words in str(caught.value)


@pytest.mark.parametrize("value", [math.nan, -math.inf, None, True, "1", np.ones(1), 1j])
def test_a_value_that_is_no_finite_number_is_named(value, own, noise):
    properties = resolve_properties(config(f"{own}:Odd"))
    properties[0].value = value
    with pytest.raises(PropertyError) as caught:
        measure(properties, noise(2, 3, 4, 4))
    assert f"'brightness' gave {value!r}" in str(caught.value)


def test_a_property_cannot_spoil_the_images_of_the_next(own, noise):
    images = noise(2, 3, 4, 4)
    with pytest.raises(ValueError, match="read-only"):
        measure(resolve_properties(config(f"{own}:Vandal")), images)
    images[:] = 0  # the caller still may


@pytest.mark.parametrize(
    "images", [np.zeros((2, 4, 4, 3), np.uint8), np.zeros((2, 3, 4, 4)), np.zeros((0, 3, 4, 4), np.uint8)]
)
def test_only_images_are_measured(images):
    with pytest.raises(ValueError, match="`images` must"):
        measure(resolve_properties(config("colourfulness")), images)


def test_a_property_that_was_not_fitted_says_so(noise):
    properties = resolve_properties(config("frechet_efficientnet"))
    with pytest.raises(PropertyError, match=r"'frechet_efficientnet' was not fitted: the state holds \['contrast'\]"):
        restore_properties(properties, {"contrast.spread": np.ones(1)})


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_same_images_same_bits_in_driver_and_worker(digits, caplog, tmp_path):
    images, table = digits
    table = table.assign(prompt=np.where(table["digit"].astype(int) < 5, "small", "large"))
    offline = [name for name, made in PROPERTIES.items() if made.extractor in (None, "efficientnet")]
    names = [*offline, "share_of_7"]
    chosen = config(names, n_clusters=3, n_frechet_components=8, group_label_column="digit")
    caplog.set_level("INFO")
    driver, worker = resolve_properties(chosen), resolve_properties(chosen)
    state = fit_properties(driver, images[:100], table[:100])
    assert "diversity_entropy: 3 k-means clusters of EfficientNet-Lite0 features." in caplog.text
    assert "share_of_7: labels of column 'digit'" in caplog.text
    save_arrays(state, (file := tmp_path / "state.safetensors"))
    restore_properties(worker, load_arrays(file))
    prompts = table["prompt"][100:150].tolist()
    values = measure(worker, images[100:150], prompts)
    assert values == measure(driver, images[100:150].copy(), prompts), "also of the arrays that a fit left transposed"
    assert list(values) == names


def test_the_recipe_changes_with_what_changes_numbers(own, tmp_path, monkeypatch):
    before = json.dumps(properties_recipe(config(f"{own}:Brightness")))
    assert "extractor" not in before
    monkeypatch.delitem(sys.modules, own)
    (tmp_path / "own_properties.py").write_text(OWN.replace("images.mean()", "images.max()"))
    assert json.dumps(properties_recipe(config(f"{own}:Brightness"))) != before
    recipes = [
        properties_recipe(config("frechet_efficientnet;diversity_entropy", **parameters))
        for parameters in (
            {},
            {"n_frechet_components": 3},
            {"diversity_label_column": "none"},
            {"n_clusters": 3},
            {"seed": 1},
            {"extractor_device": "cuda"},
        )
    ]
    assert len({json.dumps(recipe) for recipe in recipes}) == len(recipes)
    assert PropertiesConfig(group_target={7: 0.5, 1: 0.5}).group_target == {"7": 0.5, "1": 0.5}
    assert recipes[0]["extractor"]["weights_sha256"].startswith("579344")


def test_later_settings_leave_older_recipes_as_they_were():
    """What was written for the default settings before there were others, but for the format of diversity_entropy."""
    assert json.dumps(properties_recipe(PropertiesConfig(clip_weights="unused", score_quantile=0.5))) == (
        '{"format": 1, "properties": {"frechet_efficientnet": {"class": '
        '"groupshap.properties.frechet:FrechetDistance", "parameters": {"n_components": 64}}, '
        '"inception_efficientnet": {"class": "groupshap.properties.inception_score:InceptionScore", "parameters": {}}, '
        '"diversity_entropy": {"class": "groupshap.properties.diversity:DiversityEntropy", "parameters": '
        '{"format": 2, "label_column": "auto", "n_clusters": 10, "seed": 0}}}, "extractor": {"weights_sha256": '
        '"579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", "image_size_px": 64, "batch_size": 32}}'
    )
