"""`kedro` in a fork of a process that has imported everything: most of a tiny run is the import of its libraries.

The fork has a folder, an environment and outputs of its own, as a new process would; what a start from nothing is like
is seen by the tests that start one.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from pathlib import Path

# Kedro itself is not among them: it looks for the project's logging in the folder it is imported in.
HEAVY = [
    *("diffusers", "matplotlib.pyplot", "mlflow.store.tracking.sqlalchemy_store", "pandas", "sklearn.linear_model"),
    *("scipy.stats", "torch", "torch_pruning", "torchmetrics", "groupshap.preflight", "groupshap.tracking.hooks"),
]
LIMIT_S = 600

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(HEAVY)


def kedro(arguments: list[str], folder: Path, environment: dict[str, str]) -> tuple[int, str]:
    """Run ``kedro`` with these arguments to its end; exit status and everything it said."""
    log = folder / "kedro.log"
    process = context.Process(target=_child, args=(arguments, folder, environment, log))
    process.start()
    process.join(LIMIT_S)
    if process.is_alive():
        process.kill()
        raise TimeoutError(f"kedro {' '.join(arguments)} took more than {LIMIT_S} s:\n{log.read_text()}")
    return process.exitcode, log.read_text(encoding="utf-8")


def _child(arguments: list[str], folder: Path, environment: dict[str, str], log: Path) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    with log.open("w") as file:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(file.fileno(), stream.fileno())
    sys.argv = ["kedro", *arguments]
    from kedro.framework.cli.cli import main

    try:
        main()
    except Exception:
        sys.excepthook(*sys.exc_info())  # as an interpreter would; multiprocessing has a way of its own
        raise SystemExit(1) from None
