"""The three rehearsals as a user runs them: how long until the report, and does another root seed rank the same?

    python benchmarks/rehearsals.py                      all three, root seeds 0 and 1: two hours on two cores
    python benchmarks/rehearsals.py rehearse_ddpm        one of them

Each root seed is a ``kedro run`` up to the report in an empty copy of the project below ``--folder`` (a temporary one
by default); what is finished there is not run again. The foundation model of rehearse_text_lora is trained once, with
root seed 0, and timed apart: like a user's own model, it is the same for both. Root seeds differ in everything that is
drawn: weights, order of the images, noise, coalitions. Results of all three: benchmarks/results/rehearsals.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from groupshap.games import spearman
from main_job import RESULTS, Run, kedro_run
from validity import markdown, prepared, report

REHEARSALS = ("rehearse_ddpm", "rehearse_latent", "rehearse_text_lora")
ROOT_SEEDS = (0, 1)
FOUNDATION = "data/06_models/foundation"


def timed(project: Path, name: str, *arguments: str) -> Run:
    """A ``kedro run``, or what it took when it was run here before."""
    record = project / f"{name}.json"
    if not record.exists():
        run = kedro_run(project, *arguments)
        record.write_text(json.dumps({"seconds": run.seconds, "peak_mib": run.peak_mib}))
    return Run(**json.loads(record.read_text()))


def rehearse(name: str, folder: Path) -> tuple[list[dict[str, object]], list[pd.DataFrame]]:
    """Seconds and memory of each step, and the Shapley values of each root seed."""
    steps, values = [], []
    for seed in ROOT_SEEDS:
        project = prepared(folder / f"{name}_{seed}")
        stages = {"run": ["__default__"], "report": ["reporting"]}
        if name == "rehearse_text_lora" and seed == ROOT_SEEDS[0]:
            stages = {"foundation": ["data_grouping", "foundation"], **stages}
        elif name == "rehearse_text_lora":
            trained = folder / f"{name}_{ROOT_SEEDS[0]}" / FOUNDATION
            shutil.copytree(trained, project / FOUNDATION, dirs_exist_ok=True)
        for stage, pipelines in stages.items():
            seeded = ("--env", name, "--params", f"root_seed={seed}")
            run = timed(project, stage, "--pipelines", ",".join(pipelines), *seeded)
            minutes = f"{run.seconds / 60:.1f}"
            steps.append(
                {
                    "rehearsal": name,
                    "root seed": seed,
                    "step": stage,
                    "minutes": minutes,
                    "peak memory, MiB": f"{run.peak_mib:.0f}",
                }
            )
        values.append(report(project, "shapley_values").assign(diagnosed=diagnosed(project)))
    return steps, values


def diagnosed(project: Path) -> pd.Series:
    """What each run says of itself: the rank correlation that its intervals let expect with the true values."""
    table = report(project, "estimation_diagnostics").set_index("property")["predicted_spearman"]
    return report(project, "shapley_values")["property"].map(table)


def agreement(name: str, values: list[pd.DataFrame]) -> list[dict[str, object]]:
    """Per property: the rankings of the two root seeds against each other, and what each run says of itself."""
    rows = []
    for measured in values[0]["property"].unique():
        tables = [table[table["property"] == measured].set_index("contributor").sort_index() for table in values]
        decided = [int(((table["ci_low"] > 0) | (table["ci_high"] < 0)).sum()) for table in tables]
        rows.append(
            {
                "rehearsal": name,
                "property": measured,
                "contributors": len(tables[0]),
                "Spearman between root seeds": spearman(*(table["shapley_value"] for table in tables)),
                "expected": float(np.prod([table["diagnosed"].iloc[0] for table in tables])),
                "predicted with the truth": " and ".join(f"{table['diagnosed'].iloc[0]:.2f}" for table in tables),
                "intervals without 0": " and ".join(map(str, decided)),
            }
        )
    return rows


def main() -> None:
    """Run and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=REHEARSALS, help="which, all by default")
    parser.add_argument("--note", default="", help="what a reader of the minutes should know, for the table's head")
    parser.add_argument("--folder", type=Path, default=None, help="goes on with what is finished there")
    arguments = parser.parse_args()
    folder = (arguments.folder or Path(tempfile.mkdtemp(prefix="groupshap_rehearsals_"))).resolve()
    steps, rows = [], []
    for name in arguments.names:
        its_steps, values = rehearse(name, folder)
        steps += its_steps
        rows += agreement(name, values)
    lines = [
        "# rehearsals",
        "",
        f"Command: `python benchmarks/rehearsals.py`; machine: {platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}; date: {datetime.now(UTC):%Y-%m-%d}.",
        "",
        *([arguments.note, ""] if arguments.note else []),
        markdown(pd.DataFrame(steps)),
        "",
        "Predicted: the rank correlation with the true values of *its* game that the intervals of a run let expect "
        "(`estimation_diagnostics.csv`). Expected: their product, the correlation of two rankings that err "
        "independently. Another root seed is another game: another base model, other noise of every coalition.",
        "",
        markdown(pd.DataFrame(rows), digits=2),
        "",
    ]
    text = "\n".join(lines)
    if tuple(arguments.names) == REHEARSALS:
        (RESULTS / "rehearsals.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
