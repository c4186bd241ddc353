"""What is lost when images are encoded and decoded again, as numbers and as a picture."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from groupshap.diffusion.base import resolve_device
from groupshap.diffusion.config import Device
from groupshap.diffusion.grid import draw_grid
from groupshap.image_pack import load_pack
from groupshap.images import ImageArray
from groupshap.model_file import read_description

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_reconstruction", "reconstruct"]

_N_IMAGES = 256  # spread over the pack, and with it over the contributors
_N_COLUMNS = 12


def reconstruct(model_file: Path, images: Path, device: Device) -> tuple[ImageArray, ImageArray, dict[str, Any]]:
    """Images of the pack before and after, and the error.

    Returns:
        Originals and reconstructions (n, channels, height, width) uint8, and a report: family, n_images, mse (mean
        squared error of pixels in [0, 1]), psnr_db (peak signal-to-noise ratio, -10 log10 mse; None: no error at all).
    """
    pack, description, on = load_pack(images), read_description(model_file), resolve_device(device)
    rows, family = _spread(len(pack.images), _N_IMAGES), description.family()
    originals = pack.images[rows]
    encoded = family.encode(originals, pack.prompts_of(rows), device=on)
    reconstructed = family.decode(encoded.clean.to(on))
    mse = float(np.mean(np.square((originals.astype(np.float64) - reconstructed) / 255)))
    report = {
        "family": description.config.family,
        "n_images": len(originals),
        "mse": mse,
        "psnr_db": -10 * math.log10(mse) if mse > 0 else None,
    }
    return originals, reconstructed, report


def draw_reconstruction(originals: ImageArray, reconstructed: ImageArray, report: dict[str, Any]) -> Figure:
    """Rows of images, and under each row what decoding makes of it."""
    n_columns = min(_N_COLUMNS, len(originals))
    n_shown = min(2 * n_columns, len(originals) // n_columns * n_columns)
    rows = _spread(len(originals), n_shown).reshape(-1, n_columns)
    sheet = np.concatenate([part for row in rows for part in (originals[row], reconstructed[row])])
    error = "no error" if report["psnr_db"] is None else f"PSNR {report['psnr_db']:.1f} dB"
    return draw_grid(sheet, f"originals, and below what decoding makes of them: {error}", n_columns=n_columns)


def _spread(n: int, n_wanted: int) -> npt.NDArray[np.int64]:
    """(min(n, n_wanted),) int64: rows spread evenly, none twice."""
    return np.linspace(0, n - 1, min(n, n_wanted)).round().astype(np.int64)
