"""All tracking: one MLflow run per ``kedro run``, one child run per measured model, written by the driver only.

The rest of the code knows nothing of MLflow. Tracking never costs results: a wrong address is found before any
compute; a server that fails later costs one ERROR line, and the next run of the same command sends what is missing,
because a child run is looked up (by fingerprint, split, coalition, replicate) before it is created.

Reading it again needs the store alone: :func:`utilities`, :func:`shapley_values`, :func:`compare`.
"""

from groupshap.tracking.config import CONFIG_PATTERNS, TrackingConfig, TrackingError
from groupshap.tracking.hooks import TrackingHooks
from groupshap.tracking.queries import compare, shapley_values, utilities

__all__ = [
    "CONFIG_PATTERNS",
    "TrackingConfig",
    "TrackingError",
    "TrackingHooks",
    "compare",
    "shapley_values",
    "utilities",
]
