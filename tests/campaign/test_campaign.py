"""The driver: what is re-used, what a stale or damaged result costs, what an incomplete table gets."""

from __future__ import annotations

import functools
import importlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from groupshap.attribution.config import EstimationConfig
from groupshap.campaign.coalitions import draw_plan, finetune, grow, with_committed
from groupshap.campaign.forecast import Known, Settings, forecast
from groupshap.campaign.measuring import WeightsGoneError, assemble, measure_models
from groupshap.campaign.models import prune, recover, train_base
from groupshap.campaign.recipes import StartModels
from groupshap.campaign.shared import Campaign
from groupshap.campaign.start import make_start
from groupshap.campaign.withdrawal import UnknownContributorError, delete_traces, list_traces
from groupshap.diffusion.config import ModelConfig, SamplerConfig, TrainConfig
from groupshap.engines.base import EngineConfig, JobsFailedError
from groupshap.grouping.config import DataGroupingConfig
from groupshap.image_pack import ImagePack, load_pack, save_pack
from groupshap.model_file import read_description
from groupshap.properties.config import PropertiesConfig
from groupshap.store import FileRef, Store, StoreRun
from groupshap.tasks.config import (
    BaseTrainingConfig,
    PlanConfig,
    PropertyEvalConfig,
    PruningStageConfig,
    SubsetFinetuneConfig,
)

STEPS = TrainConfig(n_steps=2, batch_size=4)
BASE = BaseTrainingConfig(
    model=ModelConfig(block_out_channels=(16, 32), norm_num_groups=4, mid_attention=False, n_noise_levels=100),
    train=STEPS,
    n_threads=1,
)
PRUNING = PruningStageConfig(fraction_removed=0.5, recovery=STEPS, n_gradient_images=4)
FINETUNE = SubsetFinetuneConfig(budget=6, train=STEPS)
BARE = FINETUNE.model_copy(update={"keep": "none"})
MEASURE = PropertyEvalConfig(
    n_images=5, sampler=SamplerConfig(n_steps=2), properties=PropertiesConfig(names=("colourfulness",))
)
CONTRIBUTORS = pd.DataFrame({"player": range(3), "contributor": ["a|b", "NA", "c / ../d"], "n_images": 4})


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A run up to the pruned model."""
    folder = tmp_path_factory.mktemp("campaign")
    images = np.random.default_rng(0).integers(0, 256, (12, 3, 8, 8), dtype=np.uint8)
    save_pack(folder / "images.safetensors", ImagePack(images, np.arange(12) % 3))
    pd.DataFrame({"image_id": range(12)}).to_parquet(folder / "table.parquet")
    campaign = Campaign(FileRef.of(folder / "images.safetensors"), 0, "cpu", EngineConfig(kind="inline"))
    begin = make_start(campaign, Store(folder / "base"), folder / "frozen", BASE)
    base = train_base(campaign, Store(folder / "base"), begin, BASE)
    pruned, report = prune(campaign, Store(folder / "pruning"), base, PRUNING)
    recovered = recover(campaign, Store(folder / "pruning"), pruned, PRUNING, BASE)
    start = StartModels(base, recovered)
    return {"folder": folder, "campaign": campaign, "base": base, "report": report, "start": start}


def run(project, finetuning=FINETUNE, measuring=MEASURE):
    folder, campaign = project["folder"], project["campaign"]
    plan = draw_plan(CONTRIBUTORS, load_pack(campaign.images.path), finetuning, campaign.root_seed)
    manifest = finetune(campaign, Store(folder / "models"), project["start"], plan, CONTRIBUTORS, finetuning)
    table = FileRef.of(folder / "table.parquet")
    return manifest, measure_models(campaign, Store(folder / "properties"), manifest, table, measuring)


def test_nasty_names_go_through_and_a_second_call_computes_nothing(project, caplog):
    caplog.set_level("INFO", logger="groupshap")
    manifest, measured = run(project)
    utilities = assemble(manifest, measured)
    assert len(utilities) == 6
    assert utilities.loc[1, "members"] == r"a\|b | NA | c / ../d"
    caplog.clear()
    pd.testing.assert_frame_equal(assemble(*run(project)), utilities)
    assert "6 re-used, 0 to fine-tune" in caplog.text
    assert "6 re-used, 0 to measure" in caplog.text


def test_a_truncated_model_is_made_again_with_the_same_bits_and_others_are_not(project):
    manifest, _ = run(project)
    path = Path(manifest["checkpoint"][2])
    times = {other: FileRef.of(other) for other in manifest["checkpoint"]}
    with path.open("r+b") as file:
        file.truncate(100)
    again, _ = run(project)
    assert [FileRef.of(other) for other in again["checkpoint"]] == list(times.values())
    assert again["checkpoint_sha256"].tolist() == manifest["checkpoint_sha256"].tolist()


def test_what_changes_numbers_changes_the_fingerprint_and_what_does_not_does_not(project):
    _, measured = run(project)
    other = {"n_images": 6}, {"sampler": SamplerConfig(n_steps=3)}
    fingerprints = [run(project, measuring=MEASURE.model_copy(update=update))[1]["fingerprint"][0] for update in other]
    assert len({measured["fingerprint"][0], *fingerprints}) == 3
    elsewhere = {**project, "campaign": replace(project["campaign"], engine=EngineConfig(kind="local", n_workers=1))}
    assert run(elsewhere)[1]["fingerprint"].equals(measured["fingerprint"])


def test_a_model_with_other_bits_is_measured_again(project, caplog):
    manifest, measured = run(project)
    record = Path(manifest["checkpoint"][3]).with_name("record.json")
    text = record.read_text()
    caplog.set_level("INFO", logger="groupshap")
    try:
        record.write_text(text.replace(manifest["checkpoint_sha256"][3], "0" * 64))
        assert "5 re-used, 1 to measure" in (run(project), caplog.text)[1]
    finally:
        record.write_text(text)
        assert run(project)[1]["colourfulness"].tolist() == measured["colourfulness"].tolist()


@pytest.mark.parametrize("criterion", ["taylor", "diff_pruning"])
def test_criteria_with_gradients_prune_too(project, criterion):
    config = PruningStageConfig(**{**PRUNING.model_dump(), "criterion": criterion, "recovery": None})
    store = Store(project["folder"] / criterion)
    pruned, report = prune(project["campaign"], store, project["base"], config)
    assert report["criterion"] == criterion
    assert report["n_parameters_after"] == project["report"]["n_parameters_after"]
    assert recover(project["campaign"], store, pruned, config, BASE) == pruned


def test_pruning_can_be_switched_off(project):
    config = PruningStageConfig(fraction_removed=0, recovery=None)
    pruned, report = prune(project["campaign"], Store(project["folder"] / "off"), project["base"], config)
    assert report["n_parameters_after"] == report["n_parameters_before"]
    assert read_description(pruned.path).pruning_history == []
    assert pruned.sha256 == project["base"].sha256


def test_a_property_that_gives_nan_fails_by_name_and_the_models_stay(project, tmp_path, monkeypatch):
    (tmp_path / "broken_property.py").write_text(
        "class Broken:\n    name = 'broken'\n    higher_is_better = True\n\n"
        "    def __call__(self, images):\n        return float('nan')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    names = PropertiesConfig(names=("broken_property:Broken",))
    with pytest.raises(JobsFailedError, match=r"6 of 6 tasks failed: .*property 'broken' gave nan"):
        run(project, measuring=MEASURE.model_copy(update={"properties": names}))


def test_an_incomplete_table_is_refused_by_name(project):
    manifest, measured = run(project)
    first, second = manifest["task_id"][:2]
    with pytest.raises(ValueError, match=f"not measured: {first}"):
        assemble(manifest, measured.iloc[1:])
    with pytest.raises(ValueError, match=f"measured twice: {second}"):
        assemble(manifest, pd.concat([measured, measured.iloc[1:2]]))
    with pytest.raises(ValueError, match=f"not planned: {second}"):
        assemble(manifest.drop(index=1).assign(n_planned=5), measured)
    with pytest.raises(ValueError, match="5 rows instead of 6"):
        assemble(manifest.head(5), measured.head(5))
    damaged = measured.assign(colourfulness=[float("inf"), *measured["colourfulness"][1:]])
    with pytest.raises(ValueError, match=f"not finite: colourfulness of {first}"):
        assemble(manifest, damaged)


def test_the_first_round_of_a_growing_plan_is_enough_for_an_estimate_and_no_more_than_the_budget():
    growing = SubsetFinetuneConfig(budget=64, batch=20, target_relative_error=0.1)
    assert growing.n_in_first_round(10) == growing.n_in_round(10) == 20
    assert growing.model_copy(update={"batch": None}).n_in_first_round(16) == 16
    assert growing.model_copy(update={"batch": 4}).n_in_first_round(3) == 10
    assert growing.model_copy(update={"budget": 8}).n_in_first_round(10) == 8
    assert growing.model_copy(update={"batch": None, "hours": 1.0}).n_in_first_round(258) == 10
    assert FINETUNE.n_in_first_round(3) == 6


def test_hours_end_the_plan_where_they_are_spent_and_more_hours_go_on(project, tmp_path, caplog):
    caplog.set_level("INFO", logger="groupshap")

    def spend(hours):
        config = FINETUNE.model_copy(update={"budget": 13, "batch": 3, "hours": hours, "keep": "none"})
        return in_one_go(project, tmp_path, config=config)

    first, measured = spend(1e-9)
    assert len(first) == 10, "the least that the default estimator takes"
    assert "The plan ends after 10 of 13 evaluations" in caplog.text
    assert len(assemble(first, measured)) == 10
    each = measured[["train_seconds", "sample_seconds", "measure_seconds"]].sum(axis=1)
    spent, mean = each.sum(), each[measured["n_contributors"] > 0].mean()
    further, _ = spend((spent + 2.5 * mean) / 3600)
    assert further["task_id"].tolist()[:10] == first["task_id"].tolist()
    assert len(further) in (12, 13), "two more, a third if they were quicker"
    again, _ = spend(1e-9)
    assert again["task_id"].tolist() == first["task_id"].tolist(), "what is committed beyond it costs nothing here"


def test_a_new_contributor_leaves_the_models_of_the_others_valid(project):
    pack = load_pack(project["campaign"].images.path)
    before = draw_plan(CONTRIBUTORS, pack, FINETUNE, 0).set_index("members")["task_id"]
    more = pd.DataFrame({"player": range(4), "contributor": ["A first", *CONTRIBUTORS["contributor"]]})
    images = np.concatenate([np.zeros_like(pack.images[:2]), pack.images])
    wider = ImagePack(images, np.concatenate([[0, 0], pack.players + 1]))
    after = draw_plan(more, wider, SubsetFinetuneConfig(budget=16, train=STEPS), 0).set_index("members")["task_id"]
    shared = before.index.intersection(after.index)
    assert len(shared) == len(before)
    assert (before[shared] == after[shared]).all()
    changed = ImagePack(255 - pack.images, pack.players)
    other = draw_plan(CONTRIBUTORS, changed, FINETUNE, 0).set_index("members")["task_id"]
    assert [members for members in before.index if other[members] == before[members]] == [""]


def test_finished_coalitions_of_another_plan_are_used_if_their_images_are_the_same(project):
    run(project)
    pack = load_pack(project["campaign"].images.path)
    more = pd.DataFrame({"player": range(4), "contributor": ["A first", *CONTRIBUTORS["contributor"]]})
    images = np.concatenate([np.zeros_like(pack.images[:2]), pack.images])
    wider = ImagePack(images, np.concatenate([[0, 0], pack.players + 1]))
    changed = ImagePack(np.concatenate([images[:2], 255 - pack.images]), wider.players)
    (folder,) = [path for path in (project["folder"] / "models").iterdir() if path.is_dir()]
    models = StoreRun(folder)
    config = SubsetFinetuneConfig(budget=12, train=STEPS)
    plan = draw_plan(more, wider, config, 1)
    extended = with_committed(plan, models, more, wider)
    committed = {record["task_id"] for record in models.committed()}
    assert len(extended) == 12
    assert extended["task_id"].is_unique
    assert committed <= set(extended["task_id"])
    assert extended.head(2).equals(plan.head(2)), "empty and grand coalition come first"
    assert not (committed - set(plan["task_id"])) & set(with_committed(plan, models, more, changed)["task_id"])


def test_a_withdrawal_finds_everything_with_the_contributor_and_deletes_only_that(project, tmp_path):
    run(project)
    shutil.copytree(project["folder"], tmp_path / "data")
    data = tmp_path / "data"
    (data / "pictures").mkdir()
    (data / "pictures/contact_sheet.png").write_bytes(b"x")
    (data / "pictures/values.csv").write_bytes(b"x")
    models, everybody = Store(data / "models"), [data / "images.safetensors", data / "base", data / "pruning"]
    with pytest.raises(UnknownContributorError, match=r"NA, a\|b"):
        list_traces("nobody", CONTRIBUTORS, everybody, models, [])
    traces = list_traces("NA", CONTRIBUTORS, everybody, models, [data / "pictures"])
    folders = {path.parent for path in models.root.glob("*/*/record.json")}
    theirs = {path for path in folders if "NA" in json.loads((path / "record.json").read_text())["members"]}
    assert 0 < len(theirs) < len(folders)
    delete_traces(traces)
    assert {path.parent for path in models.root.glob("*/*/record.json")} == folders - theirs
    assert not list(data.glob("base/**/*.safetensors"))
    assert not (data / "images.safetensors").exists()
    assert [path.name for path in (data / "pictures").iterdir()] == ["values.csv"]
    assert list((data / "properties").glob("*/*/record.json")), "measured numbers stay"


def without_seconds(utilities):
    return utilities.drop(columns=["train_seconds", "sample_seconds"])


def in_one_go(project, folder, measuring=MEASURE, config=BARE):
    """``run`` in stores of their own."""
    campaign, table = project["campaign"], FileRef.of(project["folder"] / "table.parquet")
    plan = draw_plan(CONTRIBUTORS, load_pack(campaign.images.path), config, campaign.root_seed)
    stores = {"models": Store(folder / "models"), "records": Store(folder / "properties")}
    start = {"start": project["start"], "image_table": table, "measuring": measuring, "estimator": "gp"}
    manifest = grow(campaign, plan, CONTRIBUTORS, config, **stores, **start)
    return manifest, measure_models(campaign, stores["records"], manifest, table, measuring)


def test_without_weights_the_utilities_are_the_same_and_killed_jobs_go_on(project, tmp_path, caplog, monkeypatch):
    caplog.set_level("INFO", logger="groupshap")
    kept = run(project)
    evaluate = importlib.import_module("groupshap.tasks.evaluate")
    for name, left in (("measure_task", "weights"), ("discard_files", "weights and measurement")):
        with monkeypatch.context() as killed:
            killed.setattr(evaluate, name, functools.partial(die, left))
            with pytest.raises(JobsFailedError, match=f"6 of 6 tasks failed.*{left}"):
                in_one_go(project, tmp_path)
    trained = [path.stat().st_mtime_ns for path in sorted(tmp_path.glob("models/*/*/weights.safetensors"))]
    with monkeypatch.context() as no_more:
        no_more.setattr(evaluate, "train_task", functools.partial(die, "trained again"))
        no_more.setattr(evaluate, "measure_task", functools.partial(die, "measured again"))
        bare = in_one_go(project, tmp_path)
    assert len(trained) == 6
    pd.testing.assert_frame_equal(without_seconds(assemble(*bare)), without_seconds(assemble(*kept)))
    assert bare[0]["checkpoint_sha256"].tolist() == kept[0]["checkpoint_sha256"].tolist()
    assert not list(tmp_path.glob("models/**/*.safetensors"))
    caplog.clear()
    in_one_go(project, tmp_path)
    assert "6 re-used, 0 to fine-tune" in caplog.text


def die(what, *_):
    raise RuntimeError(what)


def test_a_new_property_of_models_that_were_not_kept_says_what_to_do_and_training_again_gives_them_back(
    project, tmp_path, caplog
):
    caplog.set_level("INFO", logger="groupshap")
    manifest, _ = in_one_go(project, tmp_path)
    other = MEASURE.model_copy(update={"n_images": 6})
    table = FileRef.of(project["folder"] / "table.parquet")
    with pytest.raises(WeightsGoneError, match=r"6 of 6 models .*subset_finetune.keep=weights"):
        measure_models(project["campaign"], Store(tmp_path / "properties"), manifest, table, other)
    again = in_one_go(project, tmp_path, other)
    assert "6 of these were trained before" in caplog.text
    expected = run(project, measuring=other)
    assert again[1]["colourfulness"].tolist() == expected[1]["colourfulness"].tolist()
    restored, _ = in_one_go(project, tmp_path, config=FINETUNE)
    assert [FileRef.of(path).sha256 for path in restored["checkpoint"]] == manifest["checkpoint_sha256"].tolist()
    caplog.clear()
    in_one_go(project, tmp_path, other)
    assert "6 re-used, 0 to fine-tune" in caplog.text, "weights that were once kept stay"
    assert len(list(tmp_path.glob("models/*/*/weights.safetensors"))) == 6


def plan_of(project, folder, utilities=None, finetuning=BARE, **changes):
    """The forecast as a Series of values, and of what each is based on."""
    known = Known(
        contributors=CONTRIBUTORS,
        utilities=utilities,
        image_table=FileRef.of(project["folder"] / "table.parquet"),
        base_model=project["start"].base,
        pruned_model=project["start"].pruned,
        models=Store(folder / "models"),
        records=Store(folder / "properties"),
    )
    data = DataGroupingConfig(image_size=8, n_images_per_contributor=4, **changes.pop("grouping", {}))
    settings = Settings(PlanConfig(), data, BASE, PRUNING, finetuning, MEASURE, EstimationConfig())
    where = {"device": "cpu", "n_threads": 1}
    campaign = changes.pop("campaign", project["campaign"])
    table = forecast(campaign, replace(known, **changes), settings, where, n_at_once=2).set_index("quantity")
    return table["value"], table["basis"]


def test_a_forecast_needs_nothing_and_says_what_it_rests_on(project, tmp_path):
    nothing = dict.fromkeys(("contributors", "image_table", "base_model", "pruned_model", "campaign"))
    value, basis = plan_of(project, tmp_path, **nothing)
    assert np.isnan(value["contributors"])
    assert np.isnan(value["interval width"])
    assert value["parameters, pruned"] == project["report"]["n_parameters_after"]
    flop = 6 * project["report"]["n_macs_after"] * STEPS.n_steps * STEPS.batch_size
    assert value["training per coalition"] == pytest.approx(flop / 0.05e12)
    assert "plan.throughput_tflops" in basis["training per coalition"]
    assert value["disk in all"] < 2
    at_most, why = plan_of(project, tmp_path, grouping={"max_contributors": 5}, **nothing)
    assert (at_most["contributors"], why["contributors"]) == (5, "data_grouping.max_contributors, at most")
    assert not list(tmp_path.iterdir()), "it writes nothing"


def test_a_forecast_takes_what_was_measured_before_what_is_estimated(project, tmp_path):
    _, measured = in_one_go(project, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    value, basis = plan_of(project, tmp_path)
    assert (value["coalitions trained"], value["coalitions measured"], value["still to do"]) == (6, 6, 0)
    trained = measured["train_seconds"][measured["train_seconds"] > 0]
    assert value["training per coalition"] == pytest.approx(trained.mean())
    assert "5 coalitions of this recipe" in basis["training per coalition"]
    longer = BARE.model_copy(update={"train": STEPS.model_copy(update={"n_steps": 20})})
    scaled, why = plan_of(project, tmp_path, finetuning=longer)
    assert scaled["training per coalition"] == pytest.approx(10 * trained.mean())
    assert "like models, scaled" in why["training per coalition"]
    assert scaled["still to do"] == pytest.approx(
        3
        * (scaled["training per coalition"] + scaled["sampling per coalition"] + scaled["measuring per coalition"])
        / 3600
    )
    assert sorted(tmp_path.rglob("*")) == before, "it writes nothing"


def test_a_forecast_of_widths_needs_sixteen_evaluations(project, tmp_path):
    plan = draw_plan(
        CONTRIBUTORS, load_pack(project["campaign"].images.path), FINETUNE.model_copy(update={"budget": 16}), 0
    )
    noise = np.random.default_rng(0).normal(size=16)
    columns = {"quality": plan["n_contributors"] + 0.1 * noise, "train_seconds": 1.0, "sample_seconds": 1.0}
    utilities = plan.drop(columns="task_id").assign(**columns, fingerprint="f")
    value, basis = plan_of(project, tmp_path, utilities.head(15))
    assert "15 coalitions are measured" in basis["interval width"]
    value, _ = plan_of(project, tmp_path, utilities)
    assert value["interval width, quality, budget 12"] == pytest.approx(
        2**0.5 * value["interval width, quality, budget 24"]
    )
