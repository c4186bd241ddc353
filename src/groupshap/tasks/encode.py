"""Encode all images of a run once; every training reads its rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from groupshap.diffusion.base import resolve_device
from groupshap.diffusion.config import Device
from groupshap.model_file import read_description
from groupshap.store import Record, commit
from groupshap.tasks.config import ENCODED
from groupshap.tasks.inputs import cached_pack, encoded_rows, save_encoded

__all__ = ["EncodeJob", "encode_task"]


class EncodeJob(BaseModel):
    """One encoding of a whole pack as plain data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task_id: str
    folder: Path
    """The task's folder in the store."""
    model: Path
    """Any model of the run: its family encodes."""
    images: Path
    """Image pack."""
    device: Device = "cpu"


def encode_task(job: dict[str, Any]) -> Record:
    """Commit ``encoded.safetensors``: one row per image of the pack, in its order.

    Args:
        job: A dumped :class:`EncodeJob`.
    """
    task = EncodeJob.model_validate(job)
    pack, family = cached_pack(task.images), read_description(task.model).family()
    encoded = encoded_rows(family, pack, np.arange(len(pack.images)), None, resolve_device(task.device))
    return commit(task.folder, {"n_images": len(encoded)}, {ENCODED: lambda file: save_encoded(file, encoded)})
