"""What a training sees: rows of the images that were encoded once for the whole run, or images encoded here."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from groupshap.diffusion.base import Encoded, Family
from groupshap.image_pack import ImagePack, load_pack

__all__ = ["cached_pack", "encoded_rows", "save_encoded"]


def encoded_rows(
    family: Family, pack: ImagePack, rows: npt.NDArray[np.int64], encoded: Path | None, device: torch.device
) -> Encoded:
    """Some images of the pack as the family's denoiser sees them, on the CPU.

    Args:
        family: Who encodes, if nobody has yet.
        pack: All images.
        rows: (n,) int64: which of them, in this order.
        encoded: File of :func:`save_encoded` with one row per image of the pack; None: encode them now.
        device: Where frozen networks run.
    """
    if encoded is None:
        return family.encode(pack.images[rows], pack.prompts_of(rows), device=device)
    clean, conditions = _read(encoded, encoded.stat().st_mtime_ns)
    at = torch.from_numpy(rows)
    return Encoded(clean[at], None if conditions is None else conditions[at])


def save_encoded(path: Path, encoded: Encoded) -> None:
    """Write; the same rows give the same bytes. A writer for :func:`groupshap.store.commit`."""
    tensors = {"clean": encoded.clean.contiguous()}
    if encoded.conditions is not None:
        tensors["conditions"] = encoded.conditions.contiguous()
    save_file(tensors, path)


@lru_cache(maxsize=1)
def _read(path: Path, _changed_ns: int) -> tuple[Tensor, Tensor | None]:
    """Mapped into memory, once per worker: only the rows that are used are read."""
    with safe_open(path, framework="pt") as file:
        names = set(file.keys())
        return file.get_tensor("clean"), file.get_tensor("conditions") if "conditions" in names else None


def cached_pack(path: Path) -> ImagePack:
    """One read per worker: every job of a run has the same pack; a rewritten file is read again."""
    return _cached_pack(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _cached_pack(path: Path, _changed_ns: int) -> ImagePack:
    return load_pack(path)
