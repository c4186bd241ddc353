"""Kedro's settings of this project; values of experiments live in ``conf/``."""

from __future__ import annotations

from kedro.config import OmegaConfigLoader

from groupshap.preflight import PreflightHooks
from groupshap.tracking import CONFIG_PATTERNS, TrackingHooks

HOOKS = (PreflightHooks(), TrackingHooks())

CONFIG_LOADER_CLASS = OmegaConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "config_patterns": {"mlflow": CONFIG_PATTERNS},
}
