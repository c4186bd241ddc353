"""What the stages of one run share: images, seed, device, engine; and one task run or found in the store."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from groupshap.engines.base import EngineConfig, JobFunction, threads
from groupshap.store import FileRef, Store, StoreRun, check_disk
from groupshap.tasks.config import TRAINING_STATE, WEIGHTS

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["LEAST_BYTES", "Campaign", "file_of", "run_single"]

logger = logging.getLogger(__name__)

_FORMAT = 1  # raised whenever our code starts to give other numbers for the same settings
_LIBRARIES = ("torch", "diffusers")
LEAST_BYTES = 100 * 2**20
"""Disk to ask for where the size of a model is not known before it is built."""


@dataclass(frozen=True)
class Campaign:
    """What all stages of one run share.

    Attributes:
        images: The image pack.
        root_seed: Every draw descends from it.
        device: cpu, cuda or auto.
        engine: Where jobs run.
        timings: Where earlier stages are committed; how long they took tells how long the next one will take.
    """

    images: FileRef
    root_seed: int
    device: str
    engine: EngineConfig = field(default_factory=EngineConfig)
    timings: tuple[Store, ...] = ()

    def recipe(self, stage: str, n_threads: int, **settings: Any) -> dict[str, Any]:
        """Everything that the numbers of a stage depend on.

        Engine and number of workers are no part of it; threads and device are, because they change how sums are
        rounded, and a game must not mix such models silently.
        """
        versions = {name: ".".join(version(name).split(".")[:2]) for name in _LIBRARIES}
        where = {"device": self._device_type(), "n_threads": n_threads}
        return {"format": _FORMAT, "stage": stage, "root_seed": self.root_seed, **where, **versions, **settings}

    def _device_type(self) -> str:
        """Cpu or cuda; asks torch only where the setting leaves it open."""
        if self.device != "auto":
            return self.device
        from groupshap.diffusion.base import resolve_device  # noqa: PLC0415 - imports torch

        return resolve_device("auto").type

    @property
    def n_threads(self) -> int:
        """Threads of every job of the engine."""
        return self.engine.n_threads_per_worker


def run_single(
    fn: JobFunction,
    job: partial[BaseModel],
    run: StoreRun,
    task_id: str,
    *,
    n_threads: int,
    needed_bytes: int,
    name: str = WEIGHTS,
) -> FileRef:
    """Run one task in this process, unless it is committed; its file ``name`` either way.

    Raises:
        DiskSpaceError: less than ``needed_bytes`` are free; before any compute.
    """
    if run.is_committed(task_id):
        logger.info("Re-used: %s", run.task_folder(task_id))
        (run.task_folder(task_id) / TRAINING_STATE).unlink(missing_ok=True)  # of a kill right after the commit
    else:
        check_disk(run.folder, needed_bytes, f"{name} of {task_id} and what it takes to make it")
        with threads(n_threads):
            fn(job(task_id=task_id, folder=run.task_folder(task_id)).model_dump(mode="json"))
    return file_of(run, task_id, name)


def file_of(run: StoreRun, task_id: str, name: str) -> FileRef:
    """A committed file, with the hash that its record holds."""
    return FileRef(run.task_folder(task_id) / name, run.record(task_id)["files"][name]["sha256"])
