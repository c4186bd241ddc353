"""The same 24 coalitions on every engine: how long, and are the values the same bits?

    python benchmarks/engines.py              one worker, two workers, a Dask cluster of two processes, Ray

The default data, base model and pruned model are made once; each engine then fine-tunes and measures the same 24
coalitions from the same start, one after the other. Also measured: two processes that only multiply matrices against
one, because two workers cannot gain more than this machine's second core gives. Results: benchmarks/results/engines.md.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from main_job import RESULTS, kedro_run
from validity import prepared

N_COALITIONS = 24
STAGES = "subset_finetune,property_eval,shapley_estimation"
MATMUL = (
    "import torch, time; torch.set_num_threads(1); a = torch.randn(512, 512); "
    "start = time.monotonic(); [a @ a for _ in range({n})]; print({n} / (time.monotonic() - start))"
)


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def dask_cluster(folder: Path) -> Iterator[str]:
    """A scheduler and two workers of one thread, each a process of its own; their address."""
    address = f"tcp://127.0.0.1:{free_port()}"
    port = address.rpartition(":")[2]
    commands = [["dask_scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard"]]
    commands += [["dask_worker", address, "--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1"]] * 2
    with (folder / "dask.log").open("wb") as log:
        processes = []
        for name, *arguments in commands:
            command = [sys.executable, "-m", f"distributed.cli.{name}", *arguments]
            processes.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=folder))
            time.sleep(3.0)
        try:
            yield address
        finally:
            for process in reversed(processes):
                process.terminate()
                process.wait()


def machine_gain() -> float:
    """Throughput of two processes that multiply matrices, over that of one."""
    speeds = [[float(text) for text in _outputs(n_processes)] for n_processes in (1, 2)]
    return sum(speeds[1]) / sum(speeds[0])


def _outputs(n_processes: int) -> list[str]:
    command = [sys.executable, "-c", MATMUL.format(n=3000)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(n_processes)
    ]
    return [process.communicate()[0] for process in running]


def per_minute(project: Path, n_workers: int) -> float:
    """Coalitions fine-tuned per minute, from when every worker has finished its first one to the last."""
    records = (project / "data/06_models/coalitions").glob("*/*/record.json")
    finished = sorted(record.stat().st_mtime for record in records)
    return 60.0 * (len(finished) - n_workers) / (finished[-1] - finished[n_workers - 1])


def measured(template: Path, folder: Path, engine: str, n_workers: int = 2) -> dict[str, object]:
    """One engine on a copy of the prepared project: how fast it was, and what came out."""
    project = Path(shutil.copytree(template, folder))
    params = f"subset_finetune.budget={N_COALITIONS},engine.n_threads_per_worker=1,{engine}"
    run = kedro_run(project, "--pipelines", STAGES, "--params", params)
    values = project / "data/08_reporting/shapley_values.csv"
    return {
        "wall time, s": run.seconds,
        "coalitions per minute": per_minute(project, n_workers),
        "sha256 of shapley_values.csv": hashlib.sha256(values.read_bytes()).hexdigest(),
    }


def compare(folder: Path) -> list[str]:
    """Markdown lines: a table of the engines, the machine's own gain."""
    template = prepared(folder / "prepared")
    kedro_run(template, "--pipelines", "data_grouping,base_training,pruning")
    rows = {}
    for n_workers in (1, 2):
        local = f"engine.kind=local,engine.n_workers={n_workers}"
        rows[f"local, {n_workers} worker(s)"] = measured(template, folder / f"local{n_workers}", local, n_workers)
    with dask_cluster(folder) as address:
        rows["dask, two processes by address"] = measured(
            template, folder / "dask", f"engine.kind=dask,engine.address={address}"
        )
    rows["ray, two workers"] = measured(template, folder / "ray", "engine.kind=ray,engine.n_workers=2")
    table = pd.DataFrame.from_dict(rows, orient="index")
    table["gain"] = table["coalitions per minute"] / table["coalitions per minute"].iloc[0]
    lines = [
        "| engine | wall time | fine-tuned per minute | times one worker | sha256 of shapley_values.csv |",
        "|---|---|---|---|---|",
    ]
    for name, seconds, speed, digest, gain in table.itertuples():
        lines.append(f"| {name} | {seconds:.0f} s | {speed:.2f} | {gain:.2f} | {digest[:16]}… |")
    same = table["sha256 of shapley_values.csv"].nunique() == 1
    return [
        *lines,
        "",
        f"Values identical on all engines: {same}. Wall times are of whole `kedro run`s of three pipelines: start of "
        "Python, the imports of every worker, measuring and estimation included. Fine-tuned per minute: from when "
        "every worker has finished its first coalition.",
        f"Two processes that only multiply matrices do {machine_gain():.2f} times the work of one on this machine.",
    ]


def main() -> None:
    """Run and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--folder", type=Path, default=None, help="goes on with what is prepared there; a new one by default"
    )
    folder = parser.parse_args().folder or Path(tempfile.mkdtemp(prefix="groupshap_engines_"))
    folder.mkdir(parents=True, exist_ok=True)
    header = [
        "# engines",
        "",
        f"Command: `python benchmarks/engines.py`; machine: {platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}; date: {datetime.now(UTC):%Y-%m-%d}. {N_COALITIONS} coalitions of the default "
        "data.",
        "",
    ]
    text = "\n".join([*header, *compare(folder.resolve())]) + "\n"
    (RESULTS / "engines.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
