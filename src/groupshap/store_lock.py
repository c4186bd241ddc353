"""One driver per folder of results: a second one would compute everything twice.

    with exclusive(run.folder):
        run_jobs(...)

Readers and workers need no lock. Temporary files have drawn names and records are written last, so even where there is
no lock nothing can be damaged; results that differ in their last bits could then be mixed up.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from groupshap.errors import UserError

__all__ = ["InUseError", "exclusive"]

logger = logging.getLogger(__name__)

LOCK_NAME = ".driver.lock"


class InUseError(UserError, RuntimeError):
    """Another driver computes the same results at this moment."""


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Be the only driver that computes into the folder (made if needed) inside the block.

    The lock belongs to the process and ends with it, however it ends; the file stays. Where the file system knows no
    locks, a WARNING says so and nobody is refused.

    Raises:
        InUseError: another driver is at it; says which.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK_NAME).open("a+", encoding="utf-8") as file:
        if not _lock(file):
            file.seek(0)
            raise InUseError(
                f"Another run ({file.read().strip() or 'unknown'}) computes the same results in {folder}. Wait for it "
                "or end it, then run the same command again; what it has committed will be re-used."
            )
        file.truncate(0)
        file.write(f"{socket.gethostname()}, process {os.getpid()}, since {datetime.now(UTC):%Y-%m-%d %H:%M} UTC\n")
        file.flush()
        yield


def _lock(file: TextIO) -> bool:
    """Whether nobody else holds the file; if so, we do until it is closed."""
    try:
        import fcntl  # noqa: PLC0415 - POSIX only

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError) as error:
        logger.warning("%s: no lock possible (%s); do not start a second run on this folder.", file.name, error)
    return True
