from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from groupshap.pruning.config import PruningConfig


def test_defaults():
    assert PruningConfig().model_dump() == {
        "fraction_removed": 0.3,
        "criterion": "magnitude",
        "loss_threshold": 0.05,
        "n_gradient_images": 256,
        "seed": 0,
    }


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"fraction_removed": 1.5}, ["fraction_removed", "0.95"]),
        ({"fraction_removed": -0.1}, ["fraction_removed", "0"]),
        ({"fraction_removed": float("nan")}, ["fraction_removed", "finite"]),
        ({"criterion": "l1"}, ["criterion", "'magnitude'", "'diff_pruning'"]),
        ({"loss_threshold": 1}, ["loss_threshold", "less than 1"]),
        ({"n_gradient_images": 0}, ["n_gradient_images"]),
        ({"seed": -1}, ["seed"]),
        ({"ratio": 0.3}, ["ratio", "not permitted"]),
    ],
)
def test_impossible_parameters_are_refused(parameters, words):
    with pytest.raises(ValidationError) as error:
        PruningConfig.model_validate(parameters)
    assert all(word in str(error.value) for word in words)


def test_config_imports_no_torch():
    """Every kedro command imports it."""
    code = "import sys, groupshap.pruning.config; sys.exit('torch' in sys.modules or 'diffusers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
