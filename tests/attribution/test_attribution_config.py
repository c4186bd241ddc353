from __future__ import annotations

import subprocess
import sys
from typing import get_args

import pytest
from pydantic import ValidationError

from groupshap.attribution.config import EstimationConfig, EstimatorName, LawName
from groupshap.games import ESTIMATORS, LAWS
from groupshap.games.estimators import NOT_SHAPLEY


def test_names_are_those_of_games():
    assert set(get_args(EstimatorName)) == set(ESTIMATORS) - set(NOT_SHAPLEY)
    assert set(get_args(LawName)) == set(LAWS)


@pytest.mark.parametrize(
    "parameters",
    [
        {"estimator": "banzhaf"},
        {"level": 1.0},
        {"law": "gauss"},
        {"n_bootstrap": 1},
        {"target_relative_error": 0.0},
        {"companions": "kernel;kernel"},
        {"companions": ["loo"]},
        {"levle": 0.9},
    ],
)
def test_impossible_parameters_are_refused(parameters):
    with pytest.raises(ValidationError):
        EstimationConfig(**parameters)


def test_companions_can_be_given_on_the_command_line():
    assert EstimationConfig(companions="kernel; exact").companions == ("kernel", "exact")
    assert EstimationConfig(companions="").companions == ()


def test_the_pipeline_imports_neither_torch_nor_pyplot():
    code = (
        "import sys, groupshap.pipelines.shapley_estimation as p; p.create_pipeline(); "
        "sys.exit('torch' in sys.modules or 'matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
