"""Progress: readable without a terminal, a bar on one, silent where there is nothing to tell."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys

import pytest

from groupshap.progress import Progress, progress, quiet


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, logger="groupshap")
    return lambda: [record.getMessage() for record in caplog.records]


def test_off_a_terminal_there_is_a_line_now_and_then_and_one_at_the_end(lines, monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr("groupshap.progress.time.monotonic", lambda: float(next(clock)) * 4)
    with progress("fine-tuning", total=20, unit="coalition", every_seconds=15) as bar:
        for step in range(20):
            bar.update(1, loss=1 / (step + 1), images_per_s=1234.56)
    assert 3 <= len(lines()) <= 8
    assert lines()[0].startswith("fine-tuning: 1 of 20 coalitions, "), "how long it will take, as soon as it is known"
    assert lines()[1].startswith("fine-tuning: 5 of 20 coalitions, ")
    assert "left, loss 0.2, images/s 1235" in lines()[1]
    assert lines()[-1].startswith("fine-tuning: 20 of 20 coalitions, ")
    assert "took " in lines()[-1]


def test_a_resumed_count_starts_where_it_stopped_but_its_rate_does_not(lines, monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr("groupshap.progress.time.monotonic", lambda: float(next(clock)))
    with progress("training", total=1000, initial=900) as bar:
        bar.update(100)
    assert lines() == ["training: 1000 of 1000 steps, 50 steps/s, took 2 s"]


def test_on_a_terminal_there_is_a_bar_without_colours(lines, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress("training", total=3) as bar:
        for _ in range(3):
            bar.update(1, loss=0.5)
    assert "training: 100%" in terminal.getvalue()
    assert "loss=0.5" in terminal.getvalue()
    assert "\x1b[" not in terminal.getvalue()
    assert lines() == []


@pytest.mark.skipif(os.name != "posix", reason="a pseudo-terminal")
@pytest.mark.parametrize("n_columns", [0, 60])
def test_on_a_real_terminal_the_bar_is_drawn_whatever_its_size_and_log_lines_stay_whole(n_columns):
    """Terminals without a size (0 columns) are what many containers give."""
    import fcntl
    import pty
    import struct
    import termios

    code = (
        "import logging, sys\n"
        "logging.basicConfig(stream=sys.stderr, format='%(message)s')\n"
        "from groupshap.progress import progress\n"
        "with progress('measuring', total=2, unit='task') as bar:\n"
        "    bar.update(1)\n    logging.error('task x failed')\n    bar.update(1)\n"
    )
    driver, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", n_columns // 2, n_columns, 0, 0))
    subprocess.run([sys.executable, "-c", code], stderr=terminal, check=True)
    os.close(terminal)
    shown = b""
    while True:
        try:
            part = os.read(driver, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(driver)
    text = shown.decode()
    assert "measuring:  50%" in text
    assert "2/2" in text
    assert "tasks/s" in text
    assert "\rtask x failed\r\n" in text, "on a line of its own"
    assert max(len(line) for line in text.replace("\r", "\n").splitlines()) <= (n_columns or 80)


def test_nothing_to_do_and_quiet_show_nothing(lines):
    with progress("training", total=0) as bar:
        bar.update(0)
    with quiet(), progress("training", total=3) as bar:
        bar.update(2)
        assert (type(bar), bar.n_done) == (Progress, 2)
    assert lines() == []
