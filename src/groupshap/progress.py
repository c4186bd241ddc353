"""How far a long computation is: a bar on a terminal, otherwise one log line now and then.

    with progress("fine-tuning coalitions", total=64, unit="coalition") as bar:
        bar.update(1, loss=0.1)

Silent for ``total=0`` and inside a job (see :func:`quiet`): there the driver already counts the jobs, and bars of
several processes on one terminal are unreadable. No colours are used, so NO_COLOR holds by construction.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar

__all__ = ["Progress", "duration", "progress", "quiet"]

logger = logging.getLogger("groupshap")

_FIRST_SECONDS = 3.0

_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


class Progress:
    """Counts and shows nothing: the null object, and the interface of the two that show something.

    Attributes:
        n_done: Units finished so far, those of an earlier run (``initial``) included.
    """

    def __init__(self, label: str, total: int, unit: str, initial: int = 0) -> None:
        self.label = label
        self.total = total
        self.unit = unit
        self.initial = initial
        self.n_done = initial

    def update(self, n_units: int = 1, **fields: float | str) -> None:
        """Count ``n_units`` more; ``fields`` (loss, images_per_s, ...) are shown as the newest values."""
        self.n_done += n_units

    def close(self) -> None:
        """Show the final state; called by :func:`progress`."""


class _Lines(Progress):
    """A log line soon after the start, then every ``every_seconds``, and one at the end.

    The first one tells how long it will take, while it costs little to stop.
    """

    def __init__(self, label: str, total: int, unit: str, initial: int = 0, *, every_seconds: float) -> None:
        super().__init__(label, total, unit, initial)
        self._every_seconds = every_seconds
        self._start = time.monotonic()
        self._last_seconds = 0.0
        self._fields: dict[str, float | str] = {}

    def update(self, n_units: int = 1, **fields: float | str) -> None:
        super().update(n_units, **fields)
        self._fields |= fields
        seconds = time.monotonic() - self._start
        wait = self._every_seconds if self._last_seconds else min(_FIRST_SECONDS, self._every_seconds)
        if seconds - self._last_seconds >= wait and self.n_done < self.total:
            self._last_seconds = seconds
            seconds_each = seconds / max(1, self.n_done - self.initial)
            self._log(seconds, f"{duration(seconds_each * (self.total - self.n_done))} left")

    def close(self) -> None:
        seconds = time.monotonic() - self._start
        self._log(seconds, f"took {duration(seconds)}")

    def _log(self, seconds: float, time_text: str) -> None:
        """One line: count, rate, time, fields."""
        parts = [f"{self.n_done} of {self.total} {self.unit}s"]
        parts += [_rate((self.n_done - self.initial) / max(seconds, 1e-9), self.unit), time_text]
        parts += [f"{name} {value}" for name, value in _shown(self._fields).items()]
        logger.info("%s: %s", self.label, ", ".join(parts))


class _Bar(Progress):
    """A tqdm bar on stderr; what is logged meanwhile appears above it."""

    def __init__(self, label: str, total: int, unit: str, initial: int = 0) -> None:
        from tqdm import tqdm  # noqa: PLC0415 - off a terminal it is never needed
        from tqdm.contrib.logging import logging_redirect_tqdm  # noqa: PLC0415

        super().__init__(label, total, unit, initial)
        self._open = ExitStack()
        self._open.enter_context(logging_redirect_tqdm())
        about = {"desc": label, "total": total, "unit": f" {unit}s", "initial": initial, "file": sys.stderr}
        self._bar = self._open.enter_context(tqdm(**about, **_size_of_terminal()))

    def update(self, n_units: int = 1, **fields: float | str) -> None:
        super().update(n_units, **fields)
        if fields:
            self._bar.set_postfix(_shown(fields), refresh=False)
        self._bar.update(n_units)

    def close(self) -> None:
        self._open.close()


def _size_of_terminal() -> dict[str, int | bool]:
    """Arguments of tqdm: the size as it is at any moment, or a usual one where the terminal says 0, as some do."""
    try:
        known = all(os.get_terminal_size(sys.stderr.fileno()))
    except (OSError, ValueError):  # a stream that is no file
        known = False
    return {"dynamic_ncols": True} if known else {"ncols": 80, "nrows": 20}


@contextmanager
def progress(
    label: str, total: int, unit: str = "step", *, initial: int = 0, every_seconds: float = 15.0
) -> Iterator[Progress]:
    """Reporter for ``total`` units of work.

    Args:
        label: What is being done, for example "fine-tuning coalitions".
        total: Number of units; nothing is shown for 0.
        unit: Singular noun of one unit.
        initial: Units that an earlier, interrupted run has done; they count, but not for the rate.
        every_seconds: Time between two log lines where there is no terminal.

    Yields:
        The reporter; call its ``update`` after each unit.
    """
    reporter = _reporter(label, total, unit, initial, every_seconds)
    try:
        yield reporter
    finally:
        reporter.close()


def _reporter(label: str, total: int, unit: str, initial: int, every_seconds: float) -> Progress:
    """The kind of reporter that suits the place we run in."""
    if total <= 0 or _quiet.get():
        return Progress(label, total, unit, initial)
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        return _Bar(label, total, unit, initial)
    return _Lines(label, total, unit, initial, every_seconds=every_seconds)


@contextmanager
def quiet() -> Iterator[None]:
    """Show no progress inside this block; the engines wrap every job in it."""
    token = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(token)


def _shown(fields: dict[str, float | str]) -> dict[str, str]:
    """Fields as a reader wants them: ``images_per_s=1234.56`` becomes "images/s" and "1235"."""
    return {
        name.replace("_per_", "/").replace("_", " "): f"{value:.4g}" if isinstance(value, float) else str(value)
        for name, value in fields.items()
    }


def _rate(units_per_second: float, unit: str) -> str:
    """Units per second, or seconds per unit for slow work."""
    if units_per_second >= 1 or units_per_second == 0:
        return f"{units_per_second:.3g} {unit}s/s"
    return f"{1 / units_per_second:.3g} s per {unit}"


def duration(seconds: float) -> str:
    """A duration for humans: "8 s", "3 min 20 s", "2 h 05 min"."""
    total = round(seconds)
    if total < 60:
        return f"{total} s"
    if total < 3600:
        return f"{total // 60} min {total % 60:02d} s"
    return f"{total // 3600} h {total % 3600 // 60:02d} min"
