from __future__ import annotations

import pandas as pd
import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner
from kedro_datasets.pandas import CSVDataset
from kedro_datasets.text import TextDataset
from toy_report import ESTIMATION, SIDE, tables

from groupshap.datasets.optional import OptionalCSVDataset
from groupshap.diffusion.config import ModelConfig, SamplerConfig
from groupshap.model_file import ModelDescription, save_model
from groupshap.pipelines.reporting import create_pipeline
from groupshap.reporting.config import PaymentPolicy, ReportingConfig
from groupshap.reporting.payment import PAYMENT_COLUMNS, PaymentRefusedError
from groupshap.store import FileRef
from groupshap.tasks.config import DeviceSetting, PropertyEvalConfig, RootSeed

pytestmark = pytest.mark.filterwarnings("ignore:The 'float_precision'")
NAMES = ("ann", "bob", "<b>cy</b>", "dan")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two real models, as the store holds them; the same bits for every coalition but the grand one."""
    folder, files = tmp_path_factory.mktemp("models"), []
    config = ModelConfig(block_out_channels=(8, 8), norm_num_groups=4, mid_attention=False)
    description = ModelDescription(config, (3, SIDE, SIDE))
    for seed in (0, 1):
        save_model(folder / f"{seed}.safetensors", description.initialise(seed), description)
        files.append(FileRef.of(folder / f"{seed}.safetensors"))
    return files


def run(folder, models, config, **changes):
    made = tables(NAMES, budget=14)
    measured = made["measured_models"]
    file_of = {
        task_id: models[size == len(NAMES)]
        for task_id, size in zip(measured["task_id"], measured["n_contributors"], strict=True)
    }
    measured["checkpoint_sha256"] = [file_of[task_id].sha256 for task_id in measured["task_id"]]
    lazy = {f"f00d/{task_id}": lambda file=file: file for task_id, file in file_of.items()}
    measuring = PropertyEvalConfig(n_images=8, sampler=SamplerConfig(n_steps=2))
    entries = {
        "estimator_comparison": made.pop("comparison"),
        "estimation_diagnostics": made.pop("diagnostics"),
        "property_directions": made.pop("directions"),
        "images@pack": made.pop("pack"),
        "image_table@table": made.pop("image_table"),
        "credits": made.pop("credits_text"),
        **made,
        "coalition_models": lazy,
        "params:reporting": config,
        "params:shapley_estimation": ESTIMATION,
        "params:property_eval": measuring,
        "params:root_seed": RootSeed(0),
        "params:device": DeviceSetting("cpu"),
    } | changes
    read = {"dtype": {"property": str, "contributor": str}, "keep_default_na": False, "float_precision": "round_trip"}
    catalog = DataCatalog(
        {name: MemoryDataset(data, copy_mode="assign") for name, data in entries.items()}
        | {
            name: CSVDataset(filepath=str(folder / f"{name}.csv"), load_args=read)
            for name in ("payment_shares", "convergence")
        }
        | {
            name: OptionalCSVDataset(filepath=str(folder / f"{name}.csv"))
            for name in ("lds", "fidelity", "attributions", "correction_moves")
        }
        | {"report": TextDataset(filepath=str(folder / "report.html"))}
    )
    SequentialRunner().run(create_pipeline(), catalog)
    return (folder / "report.html").read_text(encoding="utf-8")


def test_from_tables_and_stored_models_to_a_page_and_a_table_for_accounting(tmp_path, models):
    config = ReportingConfig(n_convergence_points=2, n_generated_images=3)
    page = run(tmp_path, models, config)
    payments = pd.read_csv(tmp_path / "payment_shares.csv")
    assert list(payments) == list(PAYMENT_COLUMNS)
    assert payments.groupby("property")["share_percent"].sum().to_list() == pytest.approx([100, 100])
    assert page.count("from noise 3, with everybody") == len(NAMES)
    assert page.count("from noise 3, without") == len(NAMES)
    assert "&lt;b&gt;cy&lt;/b&gt;" in page
    assert "<b>cy" not in page
    assert run(tmp_path, models, config) == page, "the same bits again"


def test_a_model_that_is_gone_is_named_and_can_be_left_out(tmp_path, models):
    with pytest.raises(ValueError, match=r"is missing.*n_generated_images=0"):
        run(tmp_path, models, ReportingConfig(n_convergence_points=1), coalition_models={})
    page = run(tmp_path, models, ReportingConfig(n_convergence_points=1, n_generated_images=0), coalition_models={})
    assert "from noise" not in page


def test_a_policy_that_refuses_stops_before_the_page(tmp_path, models):
    policy = PaymentPolicy(negative="refuse")
    with pytest.raises(PaymentRefusedError, match="dan"):
        run(tmp_path, models, ReportingConfig(payment=policy))
    assert not (tmp_path / "report.html").exists()


def test_nodes_are_grouped_and_datasets_keep_their_names():
    pipeline = create_pipeline()
    assert {node.namespace for node in pipeline.nodes} == {"reporting"}
    assert pipeline.outputs() == {"report"}
