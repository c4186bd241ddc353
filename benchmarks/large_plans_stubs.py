"""Jobs of ``large_plans.py`` that commit at once; a module of its own, because worker processes import it by name."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from groupshap.store import commit

JOB_SECONDS = 10.0
PROPERTY = "frechet_efficientnet"


def stub_train(job: dict[str, Any]) -> dict[str, Any]:
    """Commit what ``train_task`` commits, without the training: 4 kB of weights."""
    weights = hashlib.sha256(job["task_id"].encode()).digest() * 128
    record = {"train_seconds": JOB_SECONDS, "n_steps": 1, "members": job["names"], "losses": [0.5] * 10}
    return commit(Path(job["folder"]), record, {"weights.safetensors": lambda path: path.write_bytes(weights)})


def stub_fit(job: dict[str, Any]) -> dict[str, Any]:
    """Commit a reference."""
    return commit(Path(job["folder"]), {}, {"reference.safetensors": lambda path: path.write_bytes(b"reference")})


def stub_measure(job: dict[str, Any]) -> dict[str, Any]:
    """Commit a property that depends on the coalition, without generating images."""
    value = int(hashlib.sha256(job["task_id"].encode()).hexdigest()[:8], 16) / 2**32
    seconds = {"sample_seconds": 0.0, "measure_seconds": 0.0}
    values = {PROPERTY: 100.0 + value}
    return commit(Path(job["folder"]), {"values": values, **seconds, "model_sha256": job["model_sha256"]}, {})
