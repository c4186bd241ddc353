"""The main job as a user runs it: how long, how much memory, how stable the ranking, is a planted defect found.

    python benchmarks/main_job.py stability     the default run with root seeds 0 and 1: time, memory, rank correlation
    python benchmarks/main_job.py planted       a folder of PNGs, one contributor's are noise: who is worst?
    python benchmarks/main_job.py resume        kill -9 in the middle of subset_finetune: are the values the same bits?

Each runs ``kedro run`` in a copy of the project in a temporary folder; nothing of yours is touched. Results go to
benchmarks/results/main_job_<what>.md. Linux only: memory is read from /proc.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from groupshap.games import spearman
from groupshap.image_pack import load_pack

PROJECT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results"
SAMPLE_SECONDS = 0.5


@dataclass(frozen=True)
class Run:
    """One finished ``kedro run``: seconds of wall time, peak memory of all its processes together in MiB."""

    seconds: float
    peak_mib: float


def project_copy(folder: Path) -> Path:
    """Configuration and metadata of the project; the package is the installed one."""
    shutil.copytree(PROJECT / "conf", folder / "conf")
    shutil.copy(PROJECT / "pyproject.toml", folder)
    (folder / "src").mkdir()
    return folder


def start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """``kedro run`` in its own session; its log goes to run.log."""
    environment = {**os.environ, "KEDRO_DISABLE_TELEMETRY": "1"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    log = (folder / "run.log").open("ab")
    command = [sys.executable, "-m", "kedro", "run", *arguments]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)


def kedro_run(folder: Path, *arguments: str) -> Run:
    """Run to the end and watch the memory."""
    begin, peak = time.monotonic(), 0.0
    process = start(folder, *arguments)
    while process.poll() is None:
        peak = max(peak, memory_mib(process.pid))
        time.sleep(SAMPLE_SECONDS)
    if process.returncode:
        sys.exit(f"kedro run failed, see {folder / 'run.log'}:\n{(folder / 'run.log').read_text()[-3000:]}")
    return Run(time.monotonic() - begin, peak)


def memory_mib(session: int) -> float:
    """Resident memory of all processes of a session, in MiB; shared pages count once per process."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if int(fields[3]) == session:
            total += int(fields[21])
    return total * os.sysconf("SC_PAGE_SIZE") / 2**20


def shapley_values(folder: Path) -> pd.DataFrame:
    """Properties as columns, contributors as rows."""
    table = pd.read_csv(folder / "data/08_reporting/shapley_values.csv", keep_default_na=False)
    return table.pivot_table(index="contributor", columns="property", values="shapley_value").sort_index()


def stability(folder: Path) -> list[str]:
    """Two root seeds: other weights, other coalitions, other noise; the same images."""
    lines, values = ["| root seed | wall time | peak memory |", "|---|---|---|"], []
    for seed in (0, 1):
        project = project_copy(folder / f"seed{seed}")
        run = kedro_run(project, "--params", f"root_seed={seed}")
        values.append(shapley_values(project))
        lines.append(f"| {seed} | {run.seconds:.0f} s | {run.peak_mib:.0f} MiB |")
    lines += ["", "| property | Spearman between the two rankings |", "|---|---|"]
    lines += [f"| {name} | {spearman(values[0][name], values[1][name]):.3f} |" for name in values[0]]
    return lines


def planted(folder: Path) -> list[str]:
    """Our avatars as a user's PNGs, one folder per contributor; one contributor's replaced by uniform noise."""
    donor = project_copy(folder / "donor")
    kedro_run(donor, "--pipelines", "data_grouping")
    pack = load_pack(donor / "data/03_primary/images.safetensors")
    names = pd.read_csv(donor / "data/03_primary/contributors.csv", keep_default_na=False)["contributor"].tolist()
    culprit = names[len(names) // 2]
    rng = np.random.default_rng(0)
    for number, (image, player) in enumerate(zip(pack.images, pack.players, strict=True)):
        pixels = rng.integers(0, 256, image.shape, dtype=np.uint8) if names[player] == culprit else image
        path = folder / "photos" / names[player].replace("/", "_") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.transpose(1, 2, 0)).save(path)
    project = project_copy(folder / "project")
    source = f"data_grouping.source=image_folder,data_grouping.path={folder / 'photos'}"
    run = kedro_run(project, "--params", source)
    table = pd.read_csv(project / "data/08_reporting/shapley_values.csv", keep_default_na=False)
    own = table[table["property"] == "frechet_efficientnet"].set_index("contributor")
    others = own.drop(index=culprit)["shapley_value"]
    row = own.loc[culprit]
    worst = row["shapley_value"] > others.max()
    excluded = not row["ci_low"] <= others.median() <= row["ci_high"]
    return [
        f"Noise planted on {culprit}; Fréchet distance (lower is better), {run.seconds:.0f} s.",
        "",
        "| | value |",
        "|---|---|",
        f"| {culprit} | {row['shapley_value']:.1f}, 95 % interval {row['ci_low']:.1f} to {row['ci_high']:.1f} |",
        f"| the others | median {others.median():.1f}, {others.min():.1f} to {others.max():.1f} |",
        f"| its value is the worst | {worst} |",
        f"| its interval excludes the others' median | {excluded} |",
    ]


def resume(folder: Path) -> list[str]:
    """SIGKILL after a third of the coalitions, the same command again, against an undisturbed run."""
    whole, killed = project_copy(folder / "whole"), project_copy(folder / "killed")
    kedro_run(whole)
    process = start(killed)
    records = killed / "data/06_models/coalitions"
    while len(list(records.glob("*/*/record.json"))) < 16:
        if process.poll() is not None:
            sys.exit(f"it ended before it could be killed, see {killed / 'run.log'}")
        time.sleep(SAMPLE_SECONDS)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in records.glob("*/*/record.json")}
    run = kedro_run(killed)
    same = [(project / "data/08_reporting/shapley_values.csv").read_bytes() for project in (whole, killed)]
    kept = all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())
    return [
        f"Killed with {len(before)} coalitions committed; the second run took {run.seconds:.0f} s.",
        "",
        f"* committed coalitions left alone: {kept}",
        f"* `shapley_values.csv` equal bit for bit: {same[0] == same[1]}",
    ]


def main() -> None:
    """Run one of the three and write its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = {"stability": stability, "planted": planted, "resume": resume}
    parser.add_argument("what", choices=what)
    parser.add_argument("--folder", type=Path, help="empty; keeps the runs (otherwise they are deleted)")
    arguments = parser.parse_args()
    name = arguments.what
    with tempfile.TemporaryDirectory() as folder:
        lines = what[name]((arguments.folder or Path(folder)).resolve())
    header = [
        f"# main_job {name}",
        "",
        f"Command: `python benchmarks/main_job.py {name}`  ",
        f"Machine: {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}  ",
        f"Date: {datetime.now(UTC):%Y-%m-%d}",
        "",
    ]
    text = "\n".join([*header, *lines, ""])
    (RESULTS / f"main_job_{name}.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
