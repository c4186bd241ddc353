"""``python -m groupshap``: ``kedro run`` of an installed package."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from kedro.framework.cli.utils import find_run_command
from kedro.framework.project import configure_project

__all__ = ["main"]


def main(*args: Any, **kwargs: Any) -> Any:
    """Run the pipelines of the package with the options of ``kedro run``."""
    package = Path(__file__).parent.name
    configure_project(package)
    kwargs["standalone_mode"] = not hasattr(sys, "ps1")
    return find_run_command(package)(*args, **kwargs)


if __name__ == "__main__":
    main()
