"""Kedro's settings of this project; values of experiments live in ``conf/``."""

from __future__ import annotations

import os

from kedro.config import OmegaConfigLoader

from groupshap.node_log import NodeLogHooks
from groupshap.preflight import PreflightHooks
from groupshap.tracking import CONFIG_PATTERNS, TrackingHooks

# Read when torch is loaded. Threads that wait by spinning make training several times slower as soon as anything else
# wants the cores (measured: 1700 against 330 ms per step with two threads beside two other processes).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

HOOKS = (PreflightHooks(), TrackingHooks(), NodeLogHooks())

CONFIG_LOADER_CLASS = OmegaConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "config_patterns": {"mlflow": CONFIG_PATTERNS},
    # An environment holds overrides only: what it does not name stays as in conf/base.
    "merge_strategy": {"parameters": "soft"},
}
