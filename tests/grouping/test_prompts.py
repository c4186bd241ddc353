"""Prompts: a template filled from the columns of each image, or a column; and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from groupshap.grouping.assemble import group_images
from groupshap.grouping.checks import DataProblems
from groupshap.grouping.config import DataGroupingConfig
from groupshap.grouping.data import SourceData
from groupshap.grouping.prompts import prompts_of
from groupshap.image_pack import ImagePack, load_pack, save_pack


def grouped(config, **columns):
    table = pd.DataFrame({"image_id": range(4), "contributor": list("baba"), "source_item": list("wxyz"), **columns})
    nobody = pd.DataFrame(columns=["contributor", "licence", "credit"])
    images = np.zeros((4, 1, 2, 2), np.uint8)
    return group_images(SourceData(images, table, nobody, label_column="kind" if columns else None), config)


def prompts(kind=("cat", "dog", "cat", "owl"), **settings):
    config = DataGroupingConfig(**settings)
    return prompts_of(grouped(config, kind=list(kind)), config)


def test_templates_and_columns_speak_of_each_image():
    assert prompts() is None
    assert prompts(prompt="a {label} by {contributor}, {{really}}") == [
        "a cat by b, {really}",
        "a dog by a, {really}",
        "a cat by b, {really}",
        "a owl by a, {really}",
    ]
    assert prompts(prompt_column="kind") == ["cat", "dog", "cat", "owl"]
    assert prompts(prompt="one for all") == ["one for all"] * 4
    assert prompts(kind=("{contributor}", "b", "c", "d"), prompt="{kind}")[0] == "{contributor}"


def test_what_no_prompt_can_be_made_of_is_refused():
    for wrong in ("{contributor.__class__}", "{colour}"):
        with pytest.raises(DataProblems, match="expected a column for"):
            prompts(prompt=wrong)
    with pytest.raises(DataProblems, match=r"x: expected a value in kind.*\n.*z: expected a value"):
        prompts(kind=("cat", None, "cat", " "), prompt="{kind}")
    with pytest.raises(DataProblems, match="prompt_column"):
        prompts(prompt_column="caption")
    for settings in ({"prompt": "{"}, {"prompt": "{}"}, {"prompt": "{a!r}"}, {"prompt": "{a:>9}"}):
        with pytest.raises(ValidationError, match="`prompt`"):
            DataGroupingConfig(**settings)
    with pytest.raises(ValidationError, match="one of them"):
        DataGroupingConfig(prompt="a", prompt_column="b")


def test_packs_without_prompts_keep_their_bytes_and_prompts_are_part_of_what_is_known(tmp_path):
    images, players = np.zeros((2, 1, 2, 2), np.uint8), np.array([0, 1])
    plain, told = ImagePack(images, players), ImagePack(images, players, prompts=["a", "grüner β"])
    for name, pack in (("plain", plain), ("told", told)):
        save_pack(tmp_path / name, pack)
    assert b"prompts" not in (tmp_path / "plain").read_bytes()
    assert load_pack(tmp_path / "plain").prompts is None
    assert load_pack(tmp_path / "told").prompts == told.prompts
    assert plain.digest(0, "a") != told.digest(0, "a")
    with pytest.raises(ValueError, match="one per image, got 1 for 2"):
        ImagePack(images, players, prompts=["a"])
