"""Random projection of gradients, its matrix made on the fly.

The entries are +1 or -1 over the root of the dimension (Achlioptas 2003), where the reference uses normal numbers: the
same expectation and no larger variance of inner products, and one random bit per entry. A block of the matrix has the
address (seed, parameter name, block), so no more than one block ever exists, and no order of anything changes it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from groupshap.seeds import generator_for

__all__ = ["Projection"]

_ENTRIES_PER_BLOCK = 2**22  # 16 MiB as float32


class Projection:
    """Projection of the gradients of named parameters to ``dim`` dimensions.

    Args:
        dim: Dimension of the result; None: no projection, the gradients side by side.
        seed: Root of the addresses.
    """

    def __init__(self, dim: int | None, seed: int) -> None:
        self.dim = dim
        self.seed = seed

    def __call__(self, gradients: Mapping[str, Tensor]) -> Tensor:
        """(n, dim) float32 of gradients by parameter, each (n, *shape of the parameter)."""
        flat = {name: gradient.flatten(1) for name, gradient in gradients.items()}
        if self.dim is None:
            return torch.cat(list(flat.values()), dim=1)
        n_rows = max(1, _ENTRIES_PER_BLOCK // self.dim)
        projected = 0.0
        for name, gradient in flat.items():
            for number, part in enumerate(gradient.split(n_rows, dim=1)):
                bits = _bits((part.shape[1], self.dim), generator_for(self.seed, "projection", self.dim, name, number))
                # With bits b the signs are 2b - 1.
                projected = projected + 2.0 * (part @ bits.to(part.device)) - part.sum(dim=1, keepdim=True)
        return projected / self.dim**0.5


def _bits(shape: tuple[int, int], rng: np.random.Generator) -> Tensor:
    """float32 of 0 and 1."""
    n_entries = shape[0] * shape[1]
    packed = rng.integers(0, 256, -(-n_entries // 8), dtype=np.uint8)
    return torch.from_numpy(np.unpackbits(packed, count=n_entries).reshape(shape)).float()
