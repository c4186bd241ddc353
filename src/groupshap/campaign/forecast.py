"""What a run will take, before it is started: coalitions, hours, memory, disk, and how wide the intervals will be.

Starts nothing and writes nothing. Whatever was measured counts before whatever is only estimated; the column ``basis``
says which it is, and every formula is named where it is used.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from groupshap.attribution.config import EstimationConfig
from groupshap.attribution.fits import values_of
from groupshap.attribution.summary import MAX_TIMES_AS_MANY
from groupshap.attribution.utilities_table import coalition_utilities, player_names
from groupshap.campaign.architecture import ModelSize, model_sizes, stored_sizes
from groupshap.campaign.coalitions import draw_plan
from groupshap.campaign.expected import seconds_per_image
from groupshap.campaign.measuring import measurement_recipe, reference_recipe
from groupshap.campaign.recipes import StartModels, models_recipe
from groupshap.campaign.shared import Campaign
from groupshap.campaign.timings import Earlier, Timing, measuring_time, sampling_time, training_time
from groupshap.games import evaluations_to_converge, relative_standard_error
from groupshap.grouping.config import DataGroupingConfig
from groupshap.image_pack import load_pack
from groupshap.store import FileRef, Store, StoreRun, canonical_fingerprint
from groupshap.tasks.config import (
    REFERENCE,
    BaseTrainingConfig,
    PlanConfig,
    PropertyEvalConfig,
    PruningStageConfig,
    SubsetFinetuneConfig,
)

__all__ = ["Known", "Settings", "forecast"]

logger = logging.getLogger(__name__)

_N_MEASURED = 16
"""Evaluations from which standard errors are forecast: fewer leave them to chance."""
_RECORD_BYTES = 2048
_UNKNOWN = float("nan")
Row = tuple[str, float, str, str]


@dataclass(frozen=True)
class Settings:
    """The parameters of the run that is forecast."""

    plan: PlanConfig
    data: DataGroupingConfig
    base: BaseTrainingConfig
    pruning: PruningStageConfig
    finetuning: SubsetFinetuneConfig
    measuring: PropertyEvalConfig
    estimation: EstimationConfig


@dataclass(frozen=True)
class Known:
    """What earlier runs have left; None where they have not.

    Attributes:
        contributors: One row per player.
        utilities: Of the coalitions that are measured.
        image_table: One row per image.
        base_model: The dense model.
        pruned_model: Where coalitions start.
        models: Store of the coalitions' models.
        records: Store of their measurements.
    """

    contributors: pd.DataFrame | None
    utilities: pd.DataFrame | None
    image_table: FileRef | None
    base_model: FileRef | None
    pruned_model: FileRef | None
    models: Store
    records: Store


@dataclass(frozen=True)
class _Runs:
    """Where the models and measurements of exactly this run are, or would be; None: that cannot be known yet."""

    models: StoreRun | None = None
    records: StoreRun | None = None


def forecast(
    campaign: Campaign | None, known: Known, settings: Settings, where: Mapping[str, Any], n_at_once: int
) -> pd.DataFrame:
    """The table, which is also logged.

    Args:
        campaign: What all stages share; None before there are images.
        known: What earlier runs have left.
        settings: The parameters.
        where: device (cpu, cuda) and n_threads of the workers: what like runs must share.
        n_at_once: Workers.

    Returns:
        Columns quantity, value (NaN: unknown), unit, basis.
    """
    shape = (settings.data.channels, settings.data.image_size, settings.data.image_size)
    if campaign is not None and load_pack(campaign.images.path).images.shape[1:] != shape:
        campaign, known = None, replace(known, contributors=None, utilities=None)
    sizes, known = _sizes(known, settings, shape)
    runs = _runs(campaign, known, settings)
    counts = _count_rows(campaign, known, settings, runs)
    size = None if sizes is None else sizes[settings.finetuning.recipe == "sparsified"]
    times = _time_rows(campaign, known, settings, runs, size, where)
    rows = [*counts, *times, *_total_rows(counts, times, settings, n_at_once)]
    rows += _size_rows(sizes, size, settings, counts) + _width_rows(known, settings)
    table = pd.DataFrame(rows, columns=["quantity", "value", "unit", "basis"])
    logger.info("Plan; nothing was started.\n%s", "\n".join(_line(row) for row in rows))
    return table


def _sizes(
    known: Known, settings: Settings, shape: tuple[int, int, int]
) -> tuple[tuple[ModelSize, ModelSize] | None, Known]:
    """Sizes of the models that are configured, and what is known without stored models of another configuration."""
    sizes, stored = model_sizes(settings.base, settings.pruning, shape, settings.plan.latent_shape), None
    if known.base_model is not None and known.pruned_model is not None:
        stored = stored_sizes(settings.base, shape, known.base_model, known.pruned_model)
    if stored is None or (sizes is not None and stored != sizes):
        known = replace(known, base_model=None, pruned_model=None)
    return sizes or stored, known


def _line(row: Row) -> str:
    quantity, value, unit, basis = row
    number = "unknown" if math.isnan(value) else f"{value:,.4g} {unit}"
    return f"  {quantity}: {number} ({basis})" if basis else f"  {quantity}: {number}"


def _runs(campaign: Campaign | None, known: Known, settings: Settings) -> _Runs:
    if campaign is None or known.base_model is None or known.pruned_model is None:
        return _Runs()
    start = StartModels(known.base_model, known.pruned_model)
    models = _peek(known.models, models_recipe(campaign, start, settings.finetuning))
    if known.image_table is None:
        return _Runs(models)
    fit = _peek(
        Store(known.records.root / "reference"), reference_recipe(campaign, known.image_table, settings.measuring)
    )
    if not fit.is_committed("reference"):
        return _Runs(models)
    sha256 = fit.record("reference")["files"][REFERENCE]["sha256"]
    recipe = measurement_recipe(campaign, settings.measuring, sha256, models.fingerprint)
    return _Runs(models, _peek(known.records, recipe))


def _peek(store: Store, recipe: dict[str, Any]) -> StoreRun:
    """As ``Store.open``, without making anything."""
    return StoreRun(store.root / canonical_fingerprint(recipe))


def _count_rows(campaign: Campaign | None, known: Known, settings: Settings, runs: _Runs) -> list[Row]:
    n_planned = settings.finetuning.budget
    at_most = settings.finetuning.target_relative_error is not None or settings.finetuning.hours is not None
    basis = "subset_finetune.budget" + (", at most: the plan may end early" if at_most else "")
    rows = [("coalitions", float(n_planned), "", basis)]
    if campaign is None or known.contributors is None:
        return [
            *rows,
            _configured_contributors(settings.data),
            ("coalitions trained", 0.0, "", "no data yet"),
            ("coalitions measured", 0.0, "", "no data yet"),
        ]
    rows.append(("contributors", float(len(known.contributors)), "", "data_grouping has run"))
    plan = draw_plan(known.contributors, load_pack(campaign.images.path), settings.finetuning, campaign.root_seed)
    for what, run in (("trained", runs.models), ("measured", runs.records)):
        n_done = 0 if run is None else len(plan) - len(run.missing(plan["task_id"]))
        basis = "committed under this recipe" if run else "nothing that they start from is there"
        rows.append((f"coalitions {what}", float(n_done), "", basis))
    return rows


def _configured_contributors(data: DataGroupingConfig) -> Row:
    """How many there will be, where the parameters tell."""
    limits = {
        "data_grouping.only": len(set(data.only) - set(data.leave_out)) or None,
        "data_grouping.split": data.split.n_contributors if data.split.by == "dirichlet" else None,
        "data_grouping.max_contributors": data.max_contributors,
    }
    known = {name: limit for name, limit in limits.items() if limit is not None}
    if not known:
        return ("contributors", _UNKNOWN, "", "known once data_grouping has run with these settings")
    least = min(known, key=lambda name: known[name])
    return ("contributors", float(known[least]), "", least if least == "data_grouping.only" else f"{least}, at most")


def _time_rows(
    campaign: Campaign | None,
    known: Known,
    settings: Settings,
    runs: _Runs,
    size: ModelSize | None,
    where: Mapping[str, Any],
) -> list[Row]:
    """Seconds of one worker for one coalition."""
    start = known.pruned_model if settings.finetuning.recipe == "sparsified" else known.base_model
    size_bytes = float(start.path.stat().st_size if start else size.weights_bytes if size else 0)
    earlier = Earlier(known.models, known.records, size_bytes, where)
    train = training_time(earlier, runs.models, settings.finetuning)
    if train is None and size is not None:
        of_image = seconds_per_image(campaign.timings, start) if campaign and start else None
        train = _training_without_records(settings, size, of_image)
    sample = sampling_time(earlier, runs.records, settings.measuring)
    if sample is None and size is not None and train is not None:
        sample = _sampling_at_the_rate_of(train, settings, size)
    measure = measuring_time(earlier, runs.records, settings.measuring)
    timings = {"training": train, "sampling": sample, "measuring": measure}
    unknown = Timing(_UNKNOWN, "nothing like it was measured, and it is not counted")
    return [
        (f"{what} per coalition", (timing or unknown).seconds, "s", (timing or unknown).basis)
        for what, timing in timings.items()
    ]


def _n_seen(settings: Settings) -> float:
    """Images that one coalition's training sees, counted once per step."""
    return settings.finetuning.mean_n_steps() * settings.finetuning.train.batch_size


def _training_without_records(settings: Settings, size: ModelSize, of_image: float | None) -> Timing:
    """By the seconds that an image took in the training of the start model, else by the stated throughput."""
    n_seen, stated = _n_seen(settings), settings.plan.throughput_tflops
    if of_image is not None:
        return Timing(of_image * n_seen, "scaled: the training of the start model, by steps and batch")
    flop = size.training_flop(n_seen)
    basis = f"estimated: {flop:.2e} FLOP at {stated:g} TFLOP/s, which plan.throughput_tflops states"
    return Timing(flop / (stated * 1e12), basis)


def _sampling_at_the_rate_of(train: Timing, settings: Settings, size: ModelSize) -> Timing:
    flop = size.sampling_flop(settings.measuring.n_images, settings.measuring.sampler.n_steps)
    rate = size.training_flop(_n_seen(settings)) / train.seconds
    return Timing(flop / rate, f"estimated: {flop:.2e} FLOP at the {rate / 1e12:.3g} TFLOP/s of training")


def _total_rows(counts: list[Row], times: list[Row], settings: Settings, n_at_once: int) -> list[Row]:
    """What is still to be done."""
    value = {name: number for name, number, _, _ in [*counts, *times]}
    train, sample, measure = (value[f"{what} per coalition"] for what in ("training", "sampling", "measuring"))
    n_train = value["coalitions"] - value["coalitions trained"]
    n_measure = value["coalitions"] - value["coalitions measured"]
    each = sample + (0.0 if math.isnan(measure) else measure)
    hours = (math.ceil(n_train / n_at_once) * train + math.ceil(n_measure / n_at_once) * each) / 3600
    rows = [
        ("jobs at once", float(n_at_once), "", "engine"),
        ("still to do", hours, "h", f"{n_train:.0f} trainings, {n_measure:.0f} measurements, by turns of {n_at_once}"),
    ]
    if settings.finetuning.hours is not None:
        n_paid = settings.finetuning.hours * 3600 / (train + each)
        rows.append(
            ("coalitions that the hours pay for", n_paid, "", "subset_finetune.hours, one-off costs not counted")
        )
    return rows


def _size_rows(
    sizes: tuple[ModelSize, ModelSize] | None, size: ModelSize | None, settings: Settings, counts: list[Row]
) -> list[Row]:
    if sizes is None or size is None:
        why = f"family {settings.base.model.family}: known once base_training and pruning have run, for U-Nets"
        return [(name, _UNKNOWN, "MiB", why) for name in ("memory per job", "disk per coalition", "disk in all")]
    dense, pruned = sizes
    train, mib = settings.finetuning.train, 2.0**20
    numbers = 2 if train.mixed_precision == "bf16" else 4
    memory = (
        f"20 B x {size.n_parameters:,} parameters (weights, gradients, two moments, average) + {numbers} B x "
        f"{size.n_activations:,} activations x batch of {train.batch_size} + 500 MiB of libraries; an estimate"
    )
    is_kept = settings.finetuning.keep == "weights"
    left = (size.weights_bytes if is_kept else 0) + 2 * _RECORD_BYTES
    in_all = settings.finetuning.budget * left + dense.weights_bytes + 2 * pruned.weights_bytes
    flop = settings.base.train.n_steps * settings.base.train.batch_size if settings.base.train else 0
    return [
        ("parameters, dense", float(dense.n_parameters), "", "configuration"),
        (
            "parameters, pruned",
            float(pruned.n_parameters),
            "",
            f"fraction_removed = {settings.pruning.fraction_removed:g}",
        ),
        (
            "one forward pass of an image",
            size.n_macs / 1e6,
            "M multiply-accumulates",
            "of a coalition's denoiser; autoencoders are not counted",
        ),
        ("base training", dense.training_flop(flop), "FLOP", "once"),
        ("memory per job", size.training_bytes(train.batch_size, numbers) / mib, "MiB", memory),
        ("disk per coalition", left / mib, "MiB", f"keep: {settings.finetuning.keep}"),
        ("disk in all", in_all / mib, "MiB", "coalitions and the models that they start from"),
    ]


def _width_rows(known: Known, settings: Settings) -> list[Row]:
    """Mean width of the intervals per property and budget: today's, times the root of the ratio of evaluations."""
    n_measured = 0 if known.utilities is None else len(known.utilities)
    if known.utilities is None or known.contributors is None or n_measured < _N_MEASURED:
        why = f"{n_measured} coalitions are measured; from {_N_MEASURED} on their estimator tells"
        return [("interval width", _UNKNOWN, "", why)]
    masks, by_property = coalition_utilities(known.utilities, known.contributors)
    names, estimation, budget = player_names(known.contributors), settings.estimation, settings.finetuning.budget
    budgets = settings.plan.budgets or (budget // 2, budget, 2 * budget, 4 * budget)
    rows: list[Row] = []
    for name, values in by_property.items():
        fitted = values_of(estimation.estimator, masks, values, estimation, names)
        low, high = fitted.interval(estimation.level)
        for planned in sorted(set(budgets)):
            width = float(np.mean(high - low)) * math.sqrt(len(values) / planned)
            basis = (
                f"mean of the contributors; {len(values)} evaluations in utilities.csv, errors fall as 1/sqrt(budget)"
            )
            rows.append((f"interval width, {name}, budget {planned}", width, "", basis))
        n_more = evaluations_to_converge(fitted, estimation.target)
        reached = f"relative error {estimation.target:g}; now {relative_standard_error(fitted):.2g}"
        if n_more > MAX_TIMES_AS_MANY * len(values):
            n_more, reached = _UNKNOWN, f"{reached}: more than {MAX_TIMES_AS_MANY} times as many evaluations"
        rows.append((f"budget to converge, {name}", len(values) + n_more, "", reached))
    return rows
