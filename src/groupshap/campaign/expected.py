"""What a stage will take, from what earlier ones took on this machine: said before it starts, and only said."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np

from groupshap.progress import duration
from groupshap.store import RECIPE_NAME, RECORD_NAME, FileRef, Store
from groupshap.tasks.config import WEIGHTS

__all__ = ["expected_words", "seconds_per_image"]


def seconds_per_image(stores: Iterable[Store], model: FileRef) -> float | None:
    """Seconds that one image in one step took in the training that made these weights.

    Args:
        stores: Where that training may be committed, at any depth.
        model: The weights, or a copy of them.

    Returns:
        None if the weights were not trained, or not here.
    """
    for path in chain.from_iterable(store.root.glob(f"**/{RECORD_NAME}") for store in stores):
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["files"].get(WEIGHTS, {}).get("sha256") == model.sha256 and record.get("train_seconds"):
            train = json.loads((path.parents[1] / RECIPE_NAME).read_text(encoding="utf-8"))["train"]
            return float(record["train_seconds"] / (train["n_steps"] * train["batch_size"]))
    return None


def expected_words(n_tasks: int, n_at_once: int, seconds_each: Sequence[float], size_bytes: int = 0) -> str:
    """The end of an announcement, ", about 5 min 20 s and 40 MiB": what is known; empty without tasks.

    Args:
        n_tasks: How many are to be done.
        n_at_once: How many run at the same time.
        seconds_each: What such tasks have taken; may be empty.
        size_bytes: What one of them leaves on the disk.
    """
    known = []
    if len(seconds_each):
        known.append(duration(float(np.mean(seconds_each)) * n_tasks / min(n_at_once, max(n_tasks, 1))))
    if size_bytes:
        known.append(f"{n_tasks * size_bytes / 2**20:,.1f} MiB")
    return f", about {' and '.join(known)}" if known and n_tasks else ""
