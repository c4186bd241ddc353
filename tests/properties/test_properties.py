"""Choosing, building, fitting and measuring properties, the user's own among them."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from importlib.metadata import EntryPoint

import numpy as np
import pytest
from pydantic import ValidationError

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
        ({"names": "fid;colourfulness"}, r"unknown properties \['fid'\]; known are frechet_efficientnet, inception_"),
        ({"names": "a.b:c.d"}, "'package.module:Class'"),
        ({"names": ""}, "at least one property and no empty name"),
        ({"names": []}, "at least one property"),
        ({"names": "colourfulness;;"}, "no empty name"),
        ({"names": "colourfulness+colourfulness"}, r"\['colourfulness'\] more than once"),
        ({"n_clusters": 1}, "n_clusters"),
        ({"clusters": 3}, "clusters"),
    ],
)
def test_bad_parameters_are_refused(parameters, words):
    with pytest.raises(ValidationError, match=words):
        PropertiesConfig(**parameters)


def test_a_worker_elsewhere_finds_the_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert PropertiesConfig(extractor_weights="own.pth").extractor_weights == str(tmp_path / "own.pth")


def test_parameters_and_building_need_no_torch():
    code = (
        "import sys; from groupshap.properties.base import *; from groupshap.properties.config import PropertiesConfig;"
        "properties_recipe(PropertiesConfig());"
        "print([m for m in ('torch', 'sklearn', 'pandas', 'kedro', 'mlflow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_built_in_names_are_those_of_their_classes():
    directions = higher_is_better_of(config(list(PROPERTIES)))
    assert list(directions) == list(PROPERTIES)
    assert [name for name, higher in directions.items() if not higher] == ["frechet_efficientnet"]


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
    with pytest.raises(ValidationError, match="colourfulness, bright, and your own"):
        config("brigt")


def test_everything_wrong_is_said_at_once(own, tmp_path):
    (tmp_path / "broken.py").write_text("def f(:")
    names = [f"{own}:{name}" for name in ("Missing", "Shapeless", "Demanding", "Namesake")]
    with pytest.raises(PropertyError) as caught:
        resolve_properties(
            config([*names, "nowhere:Thing", "broken:Thing", *PROPERTIES], extractor_weights="/no/such/file.pth")
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


def test_same_images_same_bits_in_driver_and_worker(digits, caplog):
    images, table = digits
    chosen = config(list(PROPERTIES), n_clusters=3, n_frechet_components=8)
    caplog.set_level("INFO")
    driver, worker = resolve_properties(chosen), resolve_properties(chosen)
    state = fit_properties(driver, images[:100], table[:100])
    assert "diversity_entropy: 3 k-means clusters of EfficientNet-Lite0 features." in caplog.text
    restore_properties(worker, state)
    values = measure(worker, images[100:150])
    assert values == measure(driver, images[100:150].copy())
    assert list(values) == list(PROPERTIES)


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
        )
    ]
    assert len({json.dumps(recipe) for recipe in recipes}) == len(recipes)
    assert recipes[0]["extractor"]["weights_sha256"].startswith("579344")
