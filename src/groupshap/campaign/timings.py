"""What training, generation and measurement took before: under the very recipe, else for models of like size.

Read from committed records; nothing is opened for writing, so a forecast leaves no trace in a store.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from groupshap.store import RECIPE_NAME, Record, Store, StoreRun
from groupshap.tasks.config import WEIGHTS, CoalitionTraining, PropertyEvalConfig

__all__ = ["Timing", "measuring_time", "sampling_time", "training_time"]

_LIKE = 0.1  # relative difference of the weights' sizes in bytes


@dataclass(frozen=True)
class Timing:
    """Seconds of one worker for one coalition, and where the number comes from."""

    seconds: float
    basis: str


def training_time(
    models: Store, own: StoreRun | None, config: CoalitionTraining, size_bytes: float, where: Mapping[str, Any]
) -> Timing | None:
    """Of one coalition's training; None where no like model was trained.

    Args:
        models: Store of coalitions' models.
        own: Those of this very recipe; None: it cannot be known yet.
        config: The training.
        size_bytes: Of one model's weights.
        where: Fields that a like recipe must share: device, n_threads.
    """
    seconds = [record["train_seconds"] for record in _records(own) if record["train_seconds"] > 0]
    if seconds:
        return Timing(float(np.mean(seconds)), f"measured: mean of {len(seconds)} coalitions of this recipe")
    rates = [
        record["train_seconds"] / (record["n_steps"] * recipe["train"]["batch_size"])
        for recipe, run in _recipes(models, {**where, "recipe": config.recipe})
        for record in run.committed()
        if record["train_seconds"] > 0 and record["n_steps"] and _is_like(record, size_bytes)
    ]
    if not rates:
        return None
    n_seen = config.mean_n_steps() * config.train.batch_size
    return Timing(float(np.mean(rates)) * n_seen, f"measured: {len(rates)} like models, scaled by steps and batch")


def sampling_time(
    models: Store,
    records: Store,
    own: StoreRun | None,
    config: PropertyEvalConfig,
    size_bytes: float,
    where: Mapping[str, Any],
) -> Timing | None:
    """Of generating one coalition's images; arguments as for :func:`training_time`, ``records`` the measurements."""
    n_evaluations = config.n_images * config.sampler.n_steps
    return _of_measurements(
        models, records, own, size_bytes, where, "sample_seconds", n_evaluations, "images and steps"
    )


def measuring_time(
    models: Store,
    records: Store,
    own: StoreRun | None,
    config: PropertyEvalConfig,
    size_bytes: float,
    where: Mapping[str, Any],
) -> Timing | None:
    """Of measuring the properties of one coalition's images; arguments as for :func:`sampling_time`."""
    return _of_measurements(models, records, own, size_bytes, where, "measure_seconds", config.n_images, "images")


def _of_measurements(
    models: Store,
    records: Store,
    own: StoreRun | None,
    size_bytes: float,
    where: Mapping[str, Any],
    column: str,
    n_units: int,
    by: str,
) -> Timing | None:
    seconds = [record[column] for record in _records(own)]
    if seconds:
        return Timing(float(np.mean(seconds)), f"measured: mean of {len(seconds)} coalitions of this recipe")
    rates = []
    for recipe, run in _recipes(records, {**where, "stage": "measure"}):
        measured = next(iter(StoreRun(models.root / recipe["models_fingerprint"]).committed()), None)
        if measured is not None and _is_like(measured, size_bytes):
            n_steps = recipe["sampler"]["n_steps"] if column == "sample_seconds" else 1
            rates += [record[column] / (recipe["n_images"] * n_steps) for record in run.committed()]
    if not rates:
        return None
    return Timing(float(np.mean(rates)) * n_units, f"measured: {len(rates)} like models, scaled by {by}")


def _records(run: StoreRun | None) -> list[Record]:
    return [] if run is None else run.committed()


def _recipes(store: Store, fields: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], StoreRun]]:
    """Recipes with these fields, in the order of their fingerprints."""
    for path in sorted(store.root.glob(f"*/{RECIPE_NAME}")):
        recipe = json.loads(path.read_text(encoding="utf-8"))
        if all(recipe.get(name) == value for name, value in fields.items()):
            yield recipe, StoreRun(path.parent)


def _is_like(record: Record, size_bytes: float) -> bool:
    return abs(record["files"][WEIGHTS]["size"] - size_bytes) <= _LIKE * size_bytes
