"""Addressed randomness: every random draw has an address instead of a place in a queue.

A seed depends on (root seed, purpose, keys) and on nothing else, so a draw is the same whatever ran before it, on
however many workers, in whatever order, and in a resumed run.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np

__all__ = ["generator_for", "seed_for"]


def seed_for(root_seed: int, purpose: str, *keys: int | str) -> int:
    """Seed in [0, 2**63) for one purpose, for example ``seed_for(0, "finetune", task_id)``."""
    address = json.dumps([int(root_seed), purpose, *keys], separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(address.encode()).digest()[:8], "big") >> 1


def generator_for(root_seed: int, purpose: str, *keys: int | str) -> np.random.Generator:
    """Numpy generator seeded by :func:`seed_for`."""
    return np.random.default_rng(seed_for(root_seed, purpose, *keys))
