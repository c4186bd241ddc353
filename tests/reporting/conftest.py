from __future__ import annotations

import shutil

import pytest
from browser import NAMES, Browser
from toy_report import report_inputs

from groupshap.reporting.config import ReportingConfig
from groupshap.reporting.page import write_page


@pytest.fixture(scope="session")
def browser():
    """Skipped only where no browser is installed: the tests must pass on a machine with nothing but Python."""
    if not any(shutil.which(name) for name in NAMES):
        pytest.skip(f"none of {', '.join(NAMES)} is installed (apt-get install -y chromium)")
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def hostile_page(tmp_path_factory):
    """The report of contributors with hostile names, and what it was made of."""
    inputs = report_inputs()
    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(write_page(inputs), encoding="utf-8")
    return file, inputs


@pytest.fixture(scope="session")
def crowded_page(tmp_path_factory):
    """The report of more contributors than are drawn at once."""
    config = ReportingConfig(n_convergence_points=1, n_contributors_in_full=4)
    file = tmp_path_factory.mktemp("crowd") / "report.html"
    file.write_text(write_page(report_inputs([f"c{i}" for i in range(45)], config, budget=30)), encoding="utf-8")
    return file
