"""What the engines for clusters share: their errors, and what they say while there is nothing to run on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from groupshap.errors import UserError

__all__ = ["ClusterError", "MissingExtraError", "Patience", "missing_extra"]

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_COMPLAINTS = 60.0


class ClusterError(UserError, RuntimeError):
    """A cluster cannot be reached, or was lost."""


class MissingExtraError(UserError, ImportError):
    """An optional dependency is not installed."""


def missing_extra(extra: str, error: ImportError) -> MissingExtraError:
    """What to install for an engine."""
    return MissingExtraError(
        f"Engine {extra} needs a package that is not installed here ({error}). Run `pip install 'groupshap[{extra}]'`, "
        "also where the workers run, or choose `engine.kind=local`."
    )


class Patience:
    """Says now and then that nothing can run, and why; a queue of a batch system may take hours."""

    def __init__(self) -> None:
        self._last = float("-inf")

    def see(self, n_slots: int, why_none: Callable[[], str]) -> None:
        """Look at the number of slots; ``why_none`` is asked if there are none."""
        if n_slots == 0 and time.monotonic() - self._last > _SECONDS_BETWEEN_COMPLAINTS:
            self._last = time.monotonic()
            logger.warning("Waiting: %s.", why_none())
