from __future__ import annotations

import logging

import pandas as pd
import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner
from kedro_datasets.matplotlib import MatplotlibDataset
from kedro_datasets.pandas import CSVDataset
from toy_tables import DIRECTIONS, contributor_table, utilities_table

from groupshap.attribution.config import EstimationConfig
from groupshap.datasets.optional import OptionalCSVDataset
from groupshap.pipelines.shapley_estimation import create_pipeline

pytestmark = pytest.mark.filterwarnings("ignore:The 'float_precision'")  # pandas 2 needs it, pandas 3.1 deprecates it
READ = {"keep_default_na": False, "float_precision": "round_trip"}


def run(folder, directions=DIRECTIONS):
    """The pipeline on files in ``folder``, read and written as the catalog does."""
    tables = {
        "utilities": {"dtype": {"coalition_id": str, "members": str, "fingerprint": str}},
        "contributors": {"dtype": {"contributor": str}},
        "shapley_values": {"dtype": {"contributor": str}, "na_values": {"share": [""]}},
        "estimator_comparison": {"dtype": {"contributor": str}},
        "estimation_diagnostics": {},
        "interactions": {"dtype": {"contributor_a": str, "contributor_b": str}},
    }
    datasets = {
        name: CSVDataset(filepath=str(folder / f"{name}.csv"), load_args=READ | arguments)
        for name, arguments in tables.items()
    }
    datasets["utilities"].save(utilities_table(noise=0.3))
    datasets["contributors"].save(contributor_table())
    catalog = DataCatalog(
        datasets
        | {name: MatplotlibDataset(filepath=str(folder)) for name in ("attribution_plots", "size_curve_plots")}
        | {
            "attribution_overview": MatplotlibDataset(filepath=str(folder / "attribution_overview.png")),
            "property_directions": MemoryDataset(directions),
            "correction_utilities": OptionalCSVDataset(filepath=str(folder / "correction_utilities.csv")),
            "params:shapley_estimation": MemoryDataset(EstimationConfig(n_bootstrap=10)),
        }
    )
    SequentialRunner().run(create_pipeline(), catalog)


def test_pipeline_writes_every_output_and_says_what_it_found(tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="groupshap"):
        run(tmp_path)
    expected = {f"{kind}_{name}.png" for kind in ("attribution", "size_curve") for name in DIRECTIONS}
    tables = ("shapley_values", "estimator_comparison", "estimation_diagnostics", "interactions")
    expected |= {"attribution_overview.png", "utilities.csv", "contributors.csv", *(f"{name}.csv" for name in tables)}
    assert {path.name for path in tmp_path.iterdir()} == expected
    assert len(pd.read_csv(tmp_path / "interactions.csv", **READ)) == 2 * 45
    assert "helped most" in caplog.text
    first = (tmp_path / "shapley_values.csv").read_bytes()
    run(tmp_path)
    assert (tmp_path / "shapley_values.csv").read_bytes() == first


def test_a_property_without_direction_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not so for frechet_x"):
        run(tmp_path, directions={"accuracy": True})


def test_nodes_are_grouped_and_datasets_keep_their_names():
    pipeline = create_pipeline()
    assert {node.namespace for node in pipeline.nodes} == {"shapley_estimation"}
    inputs = {"utilities", "contributors", "property_directions", "correction_utilities"}
    assert pipeline.inputs() == {*inputs, "params:shapley_estimation"}
