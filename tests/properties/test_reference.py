from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from groupshap.grouping.checks import DataProblems
from groupshap.properties.base import PropertyError, fit_properties, measure, properties_recipe, resolve_properties
from groupshap.properties.config import PropertiesConfig
from groupshap.properties.reference import ReferenceFeatures, folder_sha256, image_files
from groupshap.tasks.reference import reference_images


@pytest.fixture
def folder(tmp_path, noise):
    """12 images of 20 x 16 px in a folder and a subfolder, and files that are none."""
    (tmp_path / "more").mkdir()
    for number, image in enumerate(noise(12, 3, 16, 20)):
        Image.fromarray(image.transpose(1, 2, 0)).save(tmp_path / ("more" if number % 2 else ".") / f"{number}.png")
    (tmp_path / "notes.txt").write_text("none")
    (tmp_path / ".hidden.png").write_bytes(b"none")
    return tmp_path


def test_properties_compare_with_a_folder(folder, noise):
    chosen = PropertiesConfig(
        names="precision_efficientnet;frechet_efficientnet", extractor_image_size_px=32, reference_folder=str(folder)
    )
    reference = reference_images(chosen, noise(5, 1, 8, 8))
    assert reference.shape == (12, 1, 8, 8)
    properties = resolve_properties(chosen)
    fit_properties(properties, noise(5, 1, 8, 8), range(5), reference)
    found = measure(properties, reference)
    assert found["precision_efficientnet"] == 1
    assert found["frechet_efficientnet"] == pytest.approx(0, abs=1e-3)
    assert reference_images(PropertiesConfig(), reference) is None


def test_the_folder_is_a_part_of_the_recipe_where_it_matters(folder):
    def recipe(names):
        return properties_recipe(PropertiesConfig(names=names, reference_folder=str(folder)))

    before = recipe("vendi_efficientnet"), recipe("frechet_efficientnet")
    assert "reference_folder_sha256" not in before[0]
    (folder / "notes.txt").write_text("still none")
    assert recipe("frechet_efficientnet") == before[1]
    (folder / "more" / "1.png").rename(folder / "more" / "one.png")
    assert (recipe("vendi_efficientnet"), recipe("frechet_efficientnet")) != before
    assert recipe("vendi_efficientnet") == before[0]
    assert folder_sha256(folder) != folder_sha256(folder / "more")


def test_a_folder_without_images_or_with_broken_ones_is_refused(folder, noise):
    config = PropertiesConfig(names="frechet_efficientnet", reference_folder=str(folder / "nowhere"))
    with pytest.raises(PropertyError, match="`reference_folder`: expected a folder with images, but there are none at"):
        resolve_properties(config)
    (folder / "broken.png").write_bytes(b"none")
    with pytest.raises(DataProblems, match=r"broken\.png"):
        reference_images(PropertiesConfig(reference_folder=str(folder)), noise(5, 1, 8, 8))


def test_a_sample_keeps_the_order_and_needs_no_luck(pixels, noise, folder):
    images = noise(30, 1, 2, 2)
    found = ReferenceFeatures(pixels, 10).fit(images)["features"]
    rows = [images.reshape(30, 4).tolist().index(row) for row in found.astype(int).tolist()]
    assert rows == sorted(rows)
    assert len(rows) == 10
    assert np.array_equal(found, ReferenceFeatures(pixels, 10).fit(images)["features"])
    assert not np.array_equal(found, ReferenceFeatures(pixels, 10, seed=1).fit(images)["features"])
    assert [file.name for file in image_files(folder)][:2] == ["0.png", "10.png"]
