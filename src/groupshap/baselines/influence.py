"""The TRAK family on projected gradients: formulas only, whatever was differentiated.

Phi (n_images, d) holds the gradients g_i of the training images, g_x those of generated images; K = Phi'Phi + lambda I.
A score is positive where training on image i lowers the loss at the generated images.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve

from groupshap.baselines.aggregation import FloatArray

__all__ = ["Influence", "das_weights", "influence_of"]

Features = npt.NDArray[np.floating]

_N_PER_CHUNK = 1024


@dataclass(frozen=True)
class Influence:
    """Scores (n_images,) of the training images, means over the generated images.

    Attributes:
        trak: g_x' K^-1 g_i (Park et al. 2023, arXiv:2303.14186; one model, no factors of a classifier).
        relative: trak / |K^-1 g_i| (Barshan et al. 2020, arXiv:2003.11630).
        renormalised: trak / |g_i| (Hammoudeh & Lowd 2022, arXiv:2201.10055).
    """

    trak: FloatArray
    relative: FloatArray
    renormalised: FloatArray


def influence_of(
    train: Features, generated: Features, damping: float, unit: Literal["mean_eigenvalue", "one"] = "one"
) -> Influence:
    """All three scores from gradients of training (n_images, d) and generated (n_generated, d) images.

    Args:
        train: Phi.
        generated: Any gradients to be explained, averaged first, because all scores are linear in them.
        damping: lambda > 0, in ``unit``.
        unit: ``one``, or ``mean_eigenvalue`` of Phi'Phi, with which scores do not depend on the unit of the gradients
            but for a common factor.

    Raises:
        ValueError: gradients that are not finite, or all zero.
    """
    for name, gradients in (("train", train), ("generated", generated)):
        if not np.isfinite(gradients).all():
            raise ValueError(f"Expected finite gradients, got others among those of `{name}`: the model diverged.")
    gram = sum((part.T @ part for part in _chunks(train)), start=np.zeros((train.shape[1],) * 2))
    scale = float(np.trace(gram)) / len(gram) if unit == "mean_eigenvalue" else 1.0
    if scale == 0:
        raise ValueError("Expected gradients that are not all zero: the outputs do not depend on the parameters.")
    factor = cho_factor(gram + damping * scale * np.eye(len(gram)), lower=True)
    direction = cho_solve(factor, generated.mean(axis=0, dtype=np.float64))
    parts = [(part @ direction, _lengths(cho_solve(factor, part.T).T), _lengths(part)) for part in _chunks(train)]
    trak, solved_lengths, lengths = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Influence(trak, trak / solved_lengths, trak / lengths)


def das_weights(losses: npt.NDArray[np.floating]) -> FloatArray:
    """(n_images,) >= 0: mean over timesteps of the root of the loss, divided by its 2-norm over all images.

    The weight that SurrogateSHAP's evaluation gives to TRAK under the name DAS; nearly constant. The Diffusion
    Attribution Score proper (Lin et al. 2024, arXiv:2410.18639) also has a leverage term, as small as 1 / n_images.

    Args:
        losses: (n_images, n_timesteps) mean squared errors of the prediction.
    """
    errors = np.sqrt(losses.astype(np.float64))
    return (errors / np.linalg.norm(errors, axis=0)).mean(axis=1)


def _lengths(vectors: FloatArray) -> FloatArray:
    """2-norms (n,); infinite for a vector of zeros, whose TRAK is 0 and stays 0 when divided."""
    lengths = np.linalg.norm(vectors, axis=1)
    return np.where(lengths == 0, np.inf, lengths)


def _chunks(features: Features) -> Iterator[FloatArray]:
    """Parts of at most ``_N_PER_CHUNK`` rows in double precision."""
    for first in range(0, len(features), _N_PER_CHUNK):
        yield features[first : first + _N_PER_CHUNK].astype(np.float64)
