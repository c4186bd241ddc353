"""Words in the state of a property, which holds only arrays."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["as_array", "from_array"]


def as_array(about: Any) -> npt.NDArray[np.uint8]:
    """Anything that JSON can hold, as bytes (n,)."""
    return np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)


def from_array(array: npt.NDArray[np.uint8]) -> Any:
    """What :func:`as_array` was given."""
    return json.loads(array.tobytes())
