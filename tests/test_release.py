"""What is released works as its pages say: the tutorial word for word, the wheel, the citation."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[1]
DOCS = PROJECT / "docs"
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)


def blocks(page: str) -> list[tuple[str, str, str]]:
    """Language, title (empty if none) and text of each code block of a page."""
    return BLOCK.findall((DOCS / page).read_text(encoding="utf-8"))


def environment(**more: str) -> dict[str, str]:
    """The developer's, without their tracking server, and with the tested Python's programs first."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "PYTHONPATH"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    return {**kept, "PATH": path, "KEDRO_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1", **more}


def run(command: list[str], folder: Path, **more: str) -> str:
    """Run to the end; everything it said."""
    done = subprocess.run(command, cwd=folder, env=environment(**more), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def project_copy(folder: Path) -> Path:
    """The project without data, git and local settings."""
    shutil.copytree(PROJECT / "conf", folder / "conf", ignore=shutil.ignore_patterns("local"))
    (folder / "conf/local").mkdir()
    (folder / "src").mkdir()
    shutil.copy(PROJECT / "pyproject.toml", folder)
    return folder


def test_the_tutorial_word_for_word(tmp_path):
    folder = project_copy(tmp_path)
    commands = []
    for language, title, text in blocks("tutorial.md"):
        if title:
            (folder / title).parent.mkdir(parents=True, exist_ok=True)
            (folder / title).write_text(text, encoding="utf-8")
        elif language == "bash":
            commands.append(text)
    log = run(["bash", "-euo", "pipefail", "-c", "".join(commands)], folder)
    assert "16 planned, 0 re-used" in log
    assert "20 planned, 16 re-used, 4 to fine-tune" in log
    values = pd.read_csv(folder / "data/08_reporting/shapley_values.csv")
    redness = values[values["property"] == "redness"].set_index("contributor")
    assert redness["shapley_value"].idxmax() == "erin"
    assert redness.loc["erin", "ci_low"] > redness.drop("erin")["ci_high"].max()
    reddest = log.partition("metrics.redness\n")[2].splitlines()[:3]
    assert all("erin" in line for line in reddest), "the reddest coalitions, as MLflow names them"
    assert "erin" in (folder / "data/08_reporting/report.html").read_text(encoding="utf-8")
    pictures = re.findall(r"`(\w+\.png)`", (DOCS / "tutorial.md").read_text(encoding="utf-8"))
    assert not {name for name in pictures if not (folder / "data/08_reporting" / name).is_file()}


def test_the_examples_of_properties_work():
    from groupshap.properties.base import measure, restore_properties

    namespace: dict = {}
    for language, _, text in blocks("how-to/own-property.md"):
        if language == "python":
            exec(text, namespace)
    images = np.random.default_rng(0).integers(0, 256, size=(5, 3, 4, 4), dtype=np.uint8)
    brightness, distance = namespace["Brightness"](), namespace["LikeTheAverage"]()
    restore_properties([distance], {f"{distance.name}.average": distance.fit(images, pd.DataFrame())["average"]})
    assert measure([brightness, distance], images)["brightness"] == pytest.approx(images.mean())


def test_the_example_of_the_estimation_prints_what_the_page_shows():
    (code,) = [text for language, _, text in blocks("index.md") if language == "python"]
    (shown,) = [text.split() for language, _, text in blocks("index.md") if language == "text"]
    printed = run([sys.executable, "-c", code], PROJECT).split()
    number = re.compile(r"\[?(-?\d+\.\d+)[,\]]?")
    words = [[word for word in text if not number.fullmatch(word)] for text in (shown, printed)]
    assert words[0] == words[1]
    numbers = [[float(found[1]) for word in text if (found := number.fullmatch(word))] for text in (shown, printed)]
    assert numbers[1] == pytest.approx(numbers[0], rel=1e-3)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, because setuptools leaves a build folder in the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(PROJECT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, folder)
    run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", "dist", "."], folder)
    (built,) = (folder / "dist").glob("groupshap-*.whl")
    return built


def test_the_wheel_holds_every_file_of_the_package(wheel):
    files = {
        path.relative_to(PROJECT / "src").as_posix()
        for path in (PROJECT / "src/groupshap").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    packed = set(zipfile.ZipFile(wheel).namelist())
    assert files - packed == set()
    assert {name for name in packed if ".dist-info/" not in name} - files == set()


def test_the_wheel_runs_with_a_folder_of_settings(wheel, tmp_path):
    site, folder = tmp_path / "site", tmp_path / "somewhere"
    folder.mkdir()
    run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)], folder)
    where = run([sys.executable, "-c", "import groupshap; print(groupshap.__file__)"], folder, PYTHONPATH=str(site))
    assert Path(where.strip()).is_relative_to(site)
    scripts = next(site.glob("groupshap-*.dist-info/entry_points.txt")).read_text(encoding="utf-8")
    assert "groupshap = groupshap.__main__:main" in scripts
    arguments = ["--conf-source", str(PROJECT / "conf"), "--env", "test", "--pipelines", "data_grouping"]
    run([sys.executable, "-m", "groupshap", *arguments], folder, PYTHONPATH=str(site))
    assert (folder / "data/03_primary/contributors.csv").is_file()


def test_one_version_everywhere():
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    citation = yaml.safe_load((PROJECT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == version
    assert re.fullmatch(r"\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?", version)
    changelog = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{version}]" in changelog or "## [Unreleased]" in changelog


def test_what_the_container_copies_exists():
    lines = (PROJECT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = [name for line in lines if line.startswith("COPY") for name in line.split()[1:-1] if name[:2] != "--"]
    assert copied
    assert not [name for name in copied if not (PROJECT / name).exists()]
