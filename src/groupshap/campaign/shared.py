"""What the stages of one run share: images, seed, device, engine; and one task run or found in the store."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from groupshap.engines.base import EngineConfig, JobFunction, threads
from groupshap.store import FileRef, StoreRun

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["WEIGHTS", "Campaign", "file_of", "plain", "run_single"]

logger = logging.getLogger(__name__)

WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class Campaign:
    """What all stages of one run share.

    Attributes:
        images: The image pack.
        root_seed: Every draw descends from it.
        device: cpu, cuda or auto.
        engine: Where jobs run.
    """

    images: FileRef
    root_seed: int
    device: str
    engine: EngineConfig = field(default_factory=EngineConfig)

    def recipe(self, stage: str, **settings: Any) -> dict[str, Any]:
        """Everything that the numbers of a stage depend on; where it runs is no part of it."""
        return {"stage": stage, "root_seed": self.root_seed, **settings}


def run_single(fn: JobFunction, job: partial[BaseModel], run: StoreRun, task_id: str, n_threads: int) -> FileRef:
    """Run one task in this process, unless it is committed; its weights either way."""
    if run.is_committed(task_id):
        logger.info("Re-used: %s", run.task_folder(task_id))
    else:
        with threads(n_threads):
            fn(job(task_id=task_id, folder=run.task_folder(task_id)).model_dump(mode="json"))
    return file_of(run, task_id, WEIGHTS)


def file_of(run: StoreRun, task_id: str, name: str) -> FileRef:
    """A committed file, with the hash that its record holds."""
    return FileRef(run.task_folder(task_id) / name, run.record(task_id)["files"][name]["sha256"])


def plain(config: BaseModel) -> dict[str, Any]:
    """A config as it enters a fingerprint."""
    return config.model_dump(mode="json")
