"""scikit-learn's handwritten digits: 1,797 images of 8 x 8, without writers. For tests and benchmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from groupshap.grouping.checks import fit_arrays
from groupshap.grouping.config import DataGroupingConfig
from groupshap.grouping.data import SourceData

__all__ = ["load_digits"]


def load_digits(config: DataGroupingConfig, cache: Path) -> SourceData:
    """Read the digits; label column ``digit`` (int 0..9). They have no contributors: use ``split``."""
    from sklearn.datasets import load_digits as sklearn_digits  # slow to import  # noqa: PLC0415

    digits = sklearn_digits()
    arrays = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # (1797, 8, 8), 0..16 before
    table = pd.DataFrame(
        {
            "image_id": np.arange(len(arrays)),
            "contributor": None,
            "source_item": [f"digits/{row}" for row in range(len(arrays))],
            "digit": digits.target.astype(int),
        }
    )
    credit = "E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits (UCI), as shipped by scikit-learn"
    credits_table = pd.DataFrame(
        [{"contributor": None, "licence": "CC BY 4.0 (data), BSD-3-Clause (package)", "credit": credit}]
    )
    return SourceData(
        fit_arrays(arrays, config), table, credits_table, f"# Credits\n\n{credit}.\n", label_column="digit"
    )
