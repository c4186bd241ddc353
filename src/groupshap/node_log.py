"""Where the run is, one line per node in plain words, and what to look at when it is over."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.framework.hooks import hook_impl

if TYPE_CHECKING:
    from kedro.io import DataCatalog
    from kedro.pipeline import Pipeline
    from kedro.pipeline.node import Node

__all__ = ["NodeLogHooks"]

logger = logging.getLogger(__name__)


class NodeLogHooks:
    """Kedro hooks that log "[3 of 15] pruning: prune model" before a node starts, and where the results are.

    Kedro's own lines come after a node, two for each, and among its lines on loading and saving.
    """

    def __init__(self) -> None:
        self._n_nodes = 0
        self._n_started = 0

    @hook_impl
    def before_pipeline_run(self, pipeline: Pipeline) -> None:
        """Count anew."""
        self._n_nodes, self._n_started = len(pipeline.nodes), 0

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Say what starts."""
        self._n_started += 1
        stage, _, what = node.name.rpartition(".")
        words = ": ".join(filter(None, [stage, what.replace("_", " ")]))
        logger.info("[%d of %d] %s", self._n_started, self._n_nodes, words)

    @hook_impl
    def after_pipeline_run(self, run_params: Mapping[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Say where the page is, or how to get it: the same settings again, for the pipeline ``reporting``."""
        made = pipeline.all_outputs()
        if "report" in made:
            logger.info("Open %s in any browser; it needs no network.", _file_of(catalog, "report"))
        elif "shapley_values" in made:
            logger.info(
                "Tables and pictures: %s. For a page to show: %s",
                _file_of(catalog, "shapley_values").parent, _command("reporting", run_params),
            )  # fmt: skip


def _file_of(catalog: DataCatalog, name: str) -> Path:
    # Kedro has no public way to ask a dataset for its file.
    return Path(catalog[name]._get_load_path())


def _command(pipeline: str, run_params: Mapping[str, Any]) -> str:
    """The same run with another pipeline, to be copied into a shell."""
    words = ["kedro", "run", "--pipelines", pipeline]
    if run_params.get("env"):
        words += ["--env", run_params["env"]]
    settings = _flat(run_params.get("runtime_params") or {})
    if settings:
        words += ["--params", ",".join(f"{key}={value}" for key, value in settings.items())]
    return shlex.join(words)


def _flat(parameters: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested parameters with dotted keys, in the words of ``kedro run --params``."""
    flat: dict[str, str] = {}
    for key, value in parameters.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = "null" if value is None else str(value)
    return flat
