from __future__ import annotations

from typing import get_args

import pytest
from pydantic import ValidationError

from groupshap.grouping.config import DataGroupingConfig, DefectConfig, SourceName
from groupshap.grouping.sources import SOURCES


def test_every_source_name_has_a_source():
    assert set(get_args(SourceName)) == set(SOURCES)


def test_defect_shorthand_is_the_same_model_as_the_list():
    """Commas (parameters files) and semicolons (`kedro --params` cuts at commas) both separate."""
    expected = (
        DefectConfig(contributor="alice", kind="noise"),
        DefectConfig(contributor="bob", kind="blur", strength=0.5),
        DefectConfig(contributor="carol", kind="duplicate", of="alice", fraction=0.25),
    )
    for text in (
        "noise:alice,blur:bob:0.5,duplicate:carol:of=alice:fraction=0.25",
        " noise:alice ; blur:bob:strength=0.5;duplicate:carol:fraction=0.25:of=alice; ",
    ):
        assert DataGroupingConfig(defects=text).defects == expected
    assert DataGroupingConfig(defects=[d.model_dump() for d in expected]).defects == expected
    assert DataGroupingConfig(defects="").defects == DataGroupingConfig(defects=None).defects == ()


def test_kedro_params_reach_every_scalar():
    """What the command line makes of dotted keys is what the model takes."""
    from kedro.framework.cli.utils import _split_params

    text = (
        "data_grouping.source=digits,data_grouping.split.by=shards,data_grouping.split.shards_per_label=3,"
        "data_grouping.path=2024,data_grouping.huggingface.split=test,"
        "data_grouping.defects=noise:3 (1 of 3);duplicate:4 (1 of 3):of=5 (1 of 3):fraction=0.5"
    )
    config = DataGroupingConfig.model_validate(_split_params(None, None, text)["data_grouping"])
    assert (config.split.shards_per_label, config.path, config.huggingface.split) == (3, "2024", "test")
    assert [d.kind for d in config.defects] == ["noise", "duplicate"]
    assert config.defects[1].of == "5 (1 of 3)"


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"source": "imagenet"}, ["avatars", "image_folder"]),
        ({"sorce": "digits"}, ["sorce", "not permitted"]),
        ({"split": {"by": "shards", "k": 3}}, ["split.k", "not permitted"]),
        ({"source": "image_folder"}, ["path", "--params"]),
        ({"source": "table", "path": " "}, ["path", "--params"]),
        ({"image_size": 1}, ["image_size", "2"]),
        ({"channels": 4}, ["channels", "1 or 3"]),
        ({"split": {"concentration": 0}}, ["split.concentration", "greater than 0"]),
        ({"split": {"n_contributors": 1}}, ["split.n_contributors", "2"]),
        ({"defects": "noise"}, ["'noise'", "kind:contributor"]),
        ({"defects": "melt:alice"}, ["'noise', 'blur', 'duplicate', 'mislabel' or 'unused'"]),
        ({"defects": "noise:alice:1.5"}, ["strength", "less than or equal to 1"]),
        ({"defects": "duplicate:alice"}, ["of", "alice"]),
        ({"defects": "duplicate:alice:of=alice"}, ["itself"]),
        ({"defects": "blur:alice:of=bob"}, ["of", "blur"]),
        ({"defects": "blur:alice:1:strength=1"}, ["twice"]),
        ({"n_images_per_contributor": 0}, ["n_images_per_contributor"]),
        ({"skin_palette_skew": float("nan")}, ["skin_palette_skew", "finite"]),
    ],
)
def test_bad_parameters_are_refused_by_name(parameters, words):
    with pytest.raises(ValidationError) as caught:
        DataGroupingConfig.model_validate(parameters)
    assert all(word in str(caught.value) for word in words)


def test_config_imports_nothing_heavy():
    """Every kedro command imports it."""
    import subprocess
    import sys

    code = "import groupshap.grouping.config, sys; print({'numpy', 'pandas', 'PIL', 'torch'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"
