"""What a large plan costs besides its jobs: planning, scheduling, committing, assembling, logging, estimating.

    python benchmarks/large_plans.py                    258 x 1000 and 5000 x 2000, about 10 minutes on one core
    python benchmarks/large_plans.py --plans 258x100    contributors x coalitions
    python benchmarks/large_plans.py --kind dask        another engine

The plan, store, engine, utilities table, MLflow and estimator are the real ones; only the jobs are stubs that commit at
once. So every second is overhead, to be compared with jobs of ten seconds. Each plan is also killed with SIGKILL at
half of its coalitions, and the time until the next coalition is committed after a new start is measured. Results go to
benchmarks/results/large_plans.{csv,md}.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil

from groupshap.attribution.config import EstimationConfig
from groupshap.attribution.fits import attribute
from groupshap.attribution.tables import coalition_utilities
from groupshap.campaign.coalitions import draw_plan, finetune
from groupshap.campaign.measuring import assemble, measure_models
from groupshap.campaign.recipes import StartModels
from groupshap.campaign.shared import Campaign
from groupshap.diffusion.config import ModelConfig
from groupshap.engines.base import EngineConfig
from groupshap.games import estimate
from groupshap.image_pack import ImagePack, load_pack, save_pack
from groupshap.model_file import ModelDescription, save_model
from groupshap.store import FileRef, Store
from groupshap.tasks import measure, train
from groupshap.tasks.config import PropertyEvalConfig, SubsetFinetuneConfig
from groupshap.tracking.config import TrackingConfig
from groupshap.tracking.writer import MlflowTracker
from large_plans_stubs import JOB_SECONDS, PROPERTY, stub_fit, stub_measure, stub_train

RESULTS = Path(__file__).parent / "results"
SHARE = 0.05
OVERHEAD = ("plan", "coalitions", "measuring", "assembling", "tracking")


class Stopwatch:
    """Wall seconds and CPU seconds of this process, per phase."""

    def __init__(self) -> None:
        self.phases: dict[str, tuple[float, float]] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Time the block under this name."""
        wall, cpu = time.monotonic(), time.process_time()
        yield
        self.phases[phase] = (time.monotonic() - wall, time.process_time() - cpu)


def peak_mib() -> float:
    """Peak resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def use_stubs() -> None:
    """The stages run the stubs in place of the tasks."""
    train.train_task, measure.fit_task, measure.measure_task = stub_train, stub_fit, stub_measure


def inputs(folder: Path, n_contributors: int) -> tuple[Any, Any, Any]:
    """Contributors of one tiny image each, their pack, and the file that stands for the start model."""
    folder.mkdir(parents=True, exist_ok=True)
    images = np.random.default_rng(0).integers(0, 256, (n_contributors, 1, 4, 4), dtype=np.uint8)
    if not (folder / "pack.safetensors").exists():
        save_pack(folder / "pack.safetensors", ImagePack(images, np.arange(n_contributors)))
        like = ModelDescription(ModelConfig(block_out_channels=(8,), norm_num_groups=4), (1, 4, 4))
        save_model(folder / "start.safetensors", like.initialise(0), like)
    names = [f"contributor {player:04d}" for player in range(n_contributors)]
    contributors = pd.DataFrame({"player": range(n_contributors), "contributor": names, "n_images": 1})
    return contributors, FileRef.of(folder / "pack.safetensors"), FileRef.of(folder / "start.safetensors")


def run_stages(folder: Path, n_contributors: int, budget: int, engine: dict[str, Any]) -> dict[str, Any]:
    """All stages, as the nodes call them; gives back seconds per phase and peak memory."""
    use_stubs()

    watch = Stopwatch()
    contributors, pack, start = inputs(folder, n_contributors)
    config = SubsetFinetuneConfig(budget=budget)
    campaign = Campaign(pack, 0, "cpu", EngineConfig(**engine))
    with watch("plan"):
        plan = draw_plan(contributors, load_pack(pack.path), config, 0)
    with watch("coalitions"):
        models = StartModels(base=start, pruned=start)
        manifest = finetune(campaign, Store(folder / "models"), models, plan, contributors, config)
    measuring = PropertyEvalConfig(properties={"names": [PROPERTY]})
    with watch("measuring"):
        measured = measure_models(campaign, Store(folder / "records"), manifest, start, measuring)
    with watch("assembling"):
        utilities = assemble(manifest, measured)
        masks, by_property = coalition_utilities(utilities, contributors)
    with watch("tracking"):
        track(folder, measured)
    with watch("tracking again"):
        track(folder, measured)
    before = peak_mib()
    estimation = EstimationConfig()
    with watch("values"):
        estimate(masks, by_property[PROPERTY], player_names=contributors["contributor"].tolist())
    with watch("values, companions, curve, interactions"):
        attribute(masks, by_property[PROPERTY], estimation, contributors["contributor"].tolist())
    with watch("all again"):
        manifest = finetune(campaign, Store(folder / "models"), models, plan, contributors, config)
        assemble(manifest, measure_models(campaign, Store(folder / "records"), manifest, start, measuring))
    return {"phases": watch.phases, "peak_mib": before, "peak_mib_with_values": peak_mib()}


def track(folder: Path, measured: Any) -> None:
    """One parent and its child runs."""
    tracker = MlflowTracker(TrackingConfig(), folder)
    tracker.start("large plan", {"root_seed": "0"}, {"kind": "kedro_run"})
    tracker.log_measured_models(measured, {"data_source": "stub"})
    tracker.end("FINISHED")


def start_process(folder: Path, plan: str, kind: str) -> subprocess.Popen[str]:
    """The stages in a process of their own, whose last line of output is the result."""
    command = [sys.executable, __file__, "--stages", str(folder), "--plans", plan, "--kind", kind]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def n_committed(folder: Path) -> int:
    """Coalitions whose model is committed."""
    return len(list((folder / "models").glob("*/*/record.json")))


def seconds_to_go_on(folder: Path, plan: str, kind: str) -> tuple[int, float, float]:
    """Kill a run in the middle, start again: how many were committed, wall and CPU seconds until there is one more."""
    half = int(plan.partition("x")[2]) // 2
    first = start_process(folder, plan, kind)
    while n_committed(folder) < half:
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    time.sleep(3)  # its jobs in flight are gone now
    done, begin = n_committed(folder), time.monotonic()
    second = start_process(folder, plan, kind)
    while n_committed(folder) <= done:
        time.sleep(0.02)
    seconds, spent = time.monotonic() - begin, psutil.Process(second.pid).cpu_times()
    second.kill()
    second.communicate()
    return done, seconds, spent.user + spent.system


def benchmark(plan: str, kind: str) -> dict[str, Any]:
    """Everything about one plan, as a row of the table."""
    n_contributors, budget = map(int, plan.split("x"))
    folder = Path(tempfile.mkdtemp(prefix="large_plans_"))
    try:
        output, _ = start_process(folder / "whole", plan, kind).communicate()
        found = json.loads(output.splitlines()[-1])
        done, seconds, cpu_seconds = seconds_to_go_on(folder / "killed", plan, kind)
    finally:
        shutil.rmtree(folder)
    overhead, cpu = (sum(found["phases"][phase][kind] for phase in OVERHEAD) for kind in (0, 1))
    return {
        "contributors": n_contributors,
        "coalitions": budget,
        "engine": kind,
        **{f"{phase} (s)": round(wall, 2) for phase, (wall, _) in found["phases"].items()},
        "overhead per coalition (ms)": round(1000 * overhead / budget, 1),
        "of it CPU of the driver (ms)": round(1000 * cpu / budget, 1),
        "share of jobs of 10 s (%)": round(100 * overhead / (budget * JOB_SECONDS), 2),
        "workers up to 5 %": int(SHARE * JOB_SECONDS * budget / overhead),
        "peak memory (MiB)": round(found["peak_mib"]),
        "peak memory with values (MiB)": round(found["peak_mib_with_values"]),
        "committed at the kill": done,
        "until the next one (s)": round(seconds, 1),
        "of it CPU of the driver (s)": round(cpu_seconds, 1),
    }


def save(rows: list[dict[str, Any]], folder: Path) -> None:
    """Table as CSV, and turned on its side as Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(rows)
    table.to_csv(folder / "large_plans.csv", index=False)
    lines = [
        "# Large plans",
        "",
        f"`python benchmarks/large_plans.py` on {os.cpu_count()} cores ({platform.machine()}), load "
        f"{os.getloadavg()[1]:.1f}; stub jobs that commit at once. *Overhead*: plan, coalitions, measuring, assembling "
        "and tracking; *values* are computed once per property.",
        "",
        "| | " + " | ".join(f"{row['contributors']} x {row['coalitions']}, {row['engine']}" for row in rows) + " |",
        "|---|" + "---|" * len(rows),
        *(f"| {name} | " + " | ".join(str(row[name]) for row in rows) + " |" for name in list(table)[3:]),
    ]
    (folder / "large_plans.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plans", nargs="+", default=["258x1000", "5000x2000"])
    parser.add_argument("--kind", default="local", choices=["inline", "local", "dask", "ray"])
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the table")
    parser.add_argument("--stages", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stages:
        n_contributors, budget = map(int, arguments.plans[0].split("x"))
        engine = {"kind": arguments.kind, "n_workers": 2} if arguments.kind != "inline" else {"kind": "inline"}
        print(json.dumps(run_stages(arguments.stages, n_contributors, budget, engine)))
        return
    rows: list[dict[str, Any]] = []
    for plan in arguments.plans:
        rows.append(benchmark(plan, arguments.kind))
        save(rows, arguments.results)
    print((arguments.results / "large_plans.md").read_text())


if __name__ == "__main__":
    main()
