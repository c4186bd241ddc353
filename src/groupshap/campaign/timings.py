"""What training, generation and measurement took before: under the very recipe, else for models of like size.

Read from committed records; nothing is opened for writing, so a forecast leaves no trace in a store.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from groupshap.store import RECIPE_NAME, Record, Store, StoreRun
from groupshap.tasks.config import WEIGHTS, CoalitionTraining, PropertyEvalConfig

__all__ = ["Earlier", "Timing", "measuring_time", "sampling_time", "training_time"]

_LIKE = 0.1  # relative difference of the weights' sizes in bytes


@dataclass(frozen=True)
class Timing:
    """Seconds of one worker for one coalition, and where the number comes from."""

    seconds: float
    basis: str


@dataclass(frozen=True)
class Earlier:
    """Where to look for runs like the one that is forecast.

    Attributes:
        models: Store of coalitions' models.
        records: Store of their measurements.
        size_bytes: Of one model's weights.
        where: Fields that a like recipe must share: device, n_threads.
    """

    models: Store
    records: Store
    size_bytes: float
    where: Mapping[str, Any]

    def is_like(self, record: Record) -> bool:
        """Whether a model is about as large."""
        return abs(record["files"][WEIGHTS]["size"] - self.size_bytes) <= _LIKE * self.size_bytes


def training_time(earlier: Earlier, own: StoreRun | None, config: CoalitionTraining) -> Timing | None:
    """Of one coalition's training; None where no like model was trained.

    Args:
        earlier: What is like it.
        own: Models of this very recipe; None: it cannot be known yet.
        config: The training.
    """
    rates = (
        record["train_seconds"] / (record["n_steps"] * recipe["train"]["batch_size"])
        for recipe, run in _recipes(earlier.models, {**earlier.where, "recipe": config.recipe})
        for record in run.committed()
        if record["train_seconds"] > 0 and record["n_steps"] and earlier.is_like(record)
    )
    trained = [record["train_seconds"] for record in _records(own) if record["train_seconds"] > 0]
    return _timing(trained, rates, config.mean_n_steps() * config.train.batch_size, "steps and batch")


def sampling_time(earlier: Earlier, own: StoreRun | None, config: PropertyEvalConfig) -> Timing | None:
    """Of generating one coalition's images; arguments as for :func:`training_time`, ``own`` the measurements."""
    rates = (
        record["sample_seconds"] / (recipe["n_images"] * recipe["sampler"]["n_steps"])
        for recipe, record in _measurements(earlier)
    )
    sampled = [record["sample_seconds"] for record in _records(own)]
    return _timing(sampled, rates, config.n_images * config.sampler.n_steps, "images and steps")


def measuring_time(earlier: Earlier, own: StoreRun | None, config: PropertyEvalConfig) -> Timing | None:
    """Of measuring the properties of one coalition's images; arguments as for :func:`sampling_time`."""
    rates = (record["measure_seconds"] / recipe["n_images"] for recipe, record in _measurements(earlier))
    return _timing([record["measure_seconds"] for record in _records(own)], rates, config.n_images, "images")


def _timing(seconds: list[float], rates: Iterable[float], n_units: float, by: str) -> Timing | None:
    """The mean of what this very recipe took, else the mean rate of like ones times the units of work."""
    if seconds:
        return Timing(float(np.mean(seconds)), f"measured: mean of {len(seconds)} coalitions of this recipe")
    found = list(rates)
    if not found:
        return None
    return Timing(float(np.mean(found)) * n_units, f"measured: {len(found)} like models, scaled by {by}")


def _measurements(earlier: Earlier) -> Iterator[tuple[dict[str, Any], Record]]:
    """Measurements of like models, each with its recipe."""
    for recipe, run in _recipes(earlier.records, {**earlier.where, "stage": "measure"}):
        measured = next(iter(StoreRun(earlier.models.root / recipe["models_fingerprint"]).committed()), None)
        if measured is not None and earlier.is_like(measured):
            yield from ((recipe, record) for record in run.committed())


def _records(run: StoreRun | None) -> list[Record]:
    return [] if run is None else run.committed()


def _recipes(store: Store, fields: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], StoreRun]]:
    """Recipes with these fields, in the order of their fingerprints."""
    for path in sorted(store.root.glob(f"*/{RECIPE_NAME}")):
        recipe = json.loads(path.read_text(encoding="utf-8"))
        if all(recipe.get(name) == value for name, value in fields.items()):
            yield recipe, StoreRun(path.parent)
