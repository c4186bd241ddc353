"""Is the credit right? Retrained games against ours, run for real and written to benchmarks/RESULTS.md.

    python benchmarks/validity.py digits8      8 contributors, all 256 coalitions retrained twice, and sparsified
    python benchmarks/validity.py avatars16    10 contributors: LDS of ours, the paper's recipe and every baseline
    python benchmarks/validity.py planted      a noise contributor, a duplicate and a null contributor
    python benchmarks/validity.py exact_lds    the LDS of exact Shapley values, from the recorded digits8: seconds

Each but the last runs ``kedro run`` in copies of the project below ``--folder`` (a temporary folder by default). Given
the same folder again, what is committed there is not computed again, so a killed benchmark goes on where it stopped.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from groupshap.games import all_coalitions, estimate, exact_shapley, lds, load_recorded_games, plan_coalitions, spearman
from main_job import PROJECT, kedro_run, project_copy

RESULTS = Path(__file__).parent / "RESULTS.md"
GAMES = Path(__file__).parent / "games"


def prepared(folder: Path) -> Path:
    """A copy of the project whose results, if it has any, are kept and whose configuration is today's."""
    if not folder.exists():
        folder.mkdir(parents=True)
        return project_copy(folder)
    shutil.copytree(PROJECT / "conf", folder / "conf", dirs_exist_ok=True)
    return folder


def markdown(table: pd.DataFrame, digits: int = 3) -> str:
    """A table as Markdown; numbers rounded."""

    def cell(value: object) -> str:
        return f"{value:.{digits}f}" if isinstance(value, float) else str(value)

    rows = [table.columns.tolist(), ["---"] * table.shape[1], *table.to_numpy(dtype=object).tolist()]
    return "\n".join("| " + " | ".join(cell(value) for value in row) + " |" for row in rows)


def report(folder: Path, name: str) -> pd.DataFrame:
    """A table of data/08_reporting."""
    return pd.read_csv(folder / f"data/08_reporting/{name}.csv", keep_default_na=False, na_values=[""])


def digits8(folder: Path) -> list[str]:
    """Exact Shapley values of three games: dense and sparsified fine-tuning, and retraining."""
    project = prepared(folder / "digits8")
    games, lines = [], []
    for recipe in ("sparsified", "dense"):
        choice = ("--params", f"subset_finetune.recipe={recipe}")
        run = kedro_run(project, "--env", "digits8", "--pipelines", "__default__,validation", *choice)
        recorded = pd.read_parquet(project / "data/08_reporting/recorded_game.parquet")
        games.append(recorded[recorded["recipe"] == recipe])
        lines += [f"### {recipe} fine-tuning", "", f"Wall time of the last call: {run.seconds:.0f} s.", ""]
        lines += [*fidelity_lines(project), ""]
        if recipe == "sparsified":
            kedro_run(project, "--env", "digits8", "--pipelines", "counterfactuals,ablation")
            lines += [*removal_lines(project), ""]
    GAMES.mkdir(exist_ok=True)
    whole = pd.concat([*games, recorded[recorded["recipe"] == "retrain"]], ignore_index=True)
    whole.to_parquet(GAMES / "digits8.parquet", index=False)
    return [
        "Every game has all 256 coalitions, so these Shapley values are exact; `replicates` is the measure between two "
        "single retrainings, `ceiling` what noise allows.",
        "",
        *lines[:-1],
    ]


def removal_lines(project: Path) -> list[str]:
    """Counterfactuals and ablation of the recipe that ran last."""
    return [
        "Counterfactuals: retraining without the first or last 25 or 50 % of the contributors, against random removal:",
        "",
        markdown(report(project, "counterfactuals").drop(columns=["n_replicates", "n_random", "note"])),
        "",
        *ablation_lines(project, 64),
    ]


def ablation_lines(project: Path, n_coalitions: int) -> list[str]:
    """Fidelity and seconds of every cell."""
    return [
        f"Ablation on {n_coalitions} coalitions; fidelity = Spearman of v with the mean of the retrainings:",
        "",
        markdown(report(project, "ablation").drop(columns=["why"])),
    ]


def fidelity_lines(project: Path) -> list[str]:
    """Fidelity and residual influence of one recipe."""
    kept = ["pearson_v", "spearman_v", "mae_v", "bias_v", "pearson_shapley", "spearman_shapley", "relative_l2_shapley"]
    fidelity = report(project, "fidelity")
    rows = fidelity[fidelity["measure"].isin([*kept, "cost_ratio"])]
    residual = report(project, "residual_influence")[["stage", "loss_included", "loss_excluded", "gap", "low", "high"]]
    return [
        markdown(rows[["property", "measure", "value", "low", "high", "replicates", "ceiling", "ratio"]]),
        "",
        "What the models still know of contributors they must not know (denoising loss):",
        "",
        markdown(residual, 4),
    ]


def keep_game(project: Path, name: str) -> None:
    """Every utility that was paid for."""
    GAMES.mkdir(exist_ok=True)
    shutil.copy(project / "data/08_reporting/recorded_game.parquet", GAMES / f"{name}.parquet")


def avatars16(folder: Path) -> list[str]:
    """LDS at alpha 0.5 of everything there is."""
    ours, paper = prepared(folder / "avatars16"), prepared(folder / "avatars16_paper")
    kedro_run(ours, "--env", "avatars16", "--pipelines", "__default__,baselines")
    kedro_run(paper, "--env", "avatars16", "--pipelines", "data_grouping,base_training,pruning")
    stages = "subset_finetune,property_eval,shapley_estimation"
    kedro_run(paper, "--env", "avatars16_paper", "--pipelines", stages)
    equal = equal_seconds(ours, paper)
    rivals = {"paper": values_of(paper, folder / "paper.csv")}
    fewer = f"subset_finetune.budget={max(equal, LEAST_OF_THE_PAPER)}"
    kedro_run(paper, "--env", "avatars16_paper", "--pipelines", stages, "--params", fewer)
    rivals["paper_equal_seconds"] = values_of(paper, folder / "paper_equal_seconds.csv")
    override = ",".join(f"validation.rivals.{name}={path}" for name, path in rivals.items())
    kedro_run(ours, "--env", "avatars16", "--pipelines", "validation", "--params", override)
    keep_game(ours, "avatars16")
    kedro_run(ours, "--env", "avatars16", "--pipelines", "ablation")
    lds, calibration = report(ours, "lds"), report(ours, "calibration")
    table = lds[lds["n_contributors"] == 5].pivot(index="attribution", columns="property", values="lds")
    ceilings = lds[lds["n_contributors"] == 5].drop_duplicates("property").set_index("property")
    order = table.mean(axis=1).sort_values(ascending=False).index
    scale = calibration[calibration["r_squared"].notna()]
    return [
        f"LDS (Spearman with the mean of {ceilings['n_replicates'].iloc[0]:g} retrainings) on "
        f"{ceilings['n_coalitions'].min()} held-out coalitions of 5 of 10 contributors. The paper's recipe has 48 "
        f"evaluations (`paper`). The seconds of our 48 pay for {equal} of them; `paper_equal_seconds` has "
        f"{max(equal, LEAST_OF_THE_PAPER)}, the least that its estimator takes is {LEAST_OF_THE_PAPER}.",
        "",
        markdown(table.loc[order].reset_index()),
        "",
        markdown(ceilings.reset_index()[["property", "replicate_spearman", "ceiling", "ceiling_low", "ceiling_high"]]),
        "",
        intervals(lds[lds["attribution"].isin(["groupshap", "paper", "paper_equal_seconds", "size", "random"])]),
        "",
        "What LDS cannot see: v(∅) + sum of values against retrained v(S), and leave-one-out effects of retraining.",
        "",
        markdown(scale[["attribution", "property", "r_squared", "slope", "bias", "loo_spearman"]]),
        "",
        *ablation_lines(ours, 32),
    ]


def intervals(lds: pd.DataFrame) -> str:
    """Markdown of the rows at size 5 with their intervals."""
    rows = lds[lds["n_contributors"] == 5]
    return markdown(rows[["attribution", "property", "lds", "low", "high", "ratio"]])


LEAST_OF_THE_PAPER = 26
"""Evaluations: the smallest plan of ten contributors that its estimator takes, see its error message."""


def equal_seconds(ours: Path, paper: Path) -> int:
    """Evaluations of the paper's recipe for the seconds that ours took."""
    totals, means = [], []
    for folder in (ours, paper):
        table = pd.read_csv(folder / "data/07_model_output/utilities.csv")
        seconds = table["train_seconds"] + table["sample_seconds"]
        totals.append(seconds.sum())
        means.append(seconds.mean())
    return int(totals[0] / means[1])


def values_of(folder: Path, file: Path) -> Path:
    """A copy of a run's values, which the next run in the folder would overwrite."""
    return Path(shutil.copy(folder / "data/08_reporting/shapley_values.csv", file))


def planted(folder: Path) -> list[str]:
    """Values of the three contributors that theory speaks about."""
    project = prepared(folder / "planted")
    seconds = kedro_run(project, "--env", "avatars16_planted").seconds
    values = report(project, "shapley_values")
    names = {
        "noise": "Micah Lanier",
        "duplicate": "The Visual Team",
        "its original": "Lisa Wischofsky",
        "null (unused)": "Pablo Stanley",
    }
    rows = []
    for name in dict.fromkeys(values["property"]):
        own = values[values["property"] == name].set_index("contributor")
        others = own.drop(index=list(names.values()))["shapley_value"]
        for role, contributor in names.items():
            row = own.loc[contributor]
            rows.append([name, role, row["shapley_value"], row["ci_low"], row["ci_high"], others.min(), others.max()])
    columns = ["property", "planted", "value", "low", "high", "others' least", "others' largest"]
    return [
        f"Wall time {seconds:.0f} s, 64 evaluations.",
        "",
        markdown(pd.DataFrame(rows, columns=columns)),
    ]


def exact_lds(_: Path) -> list[str]:
    """What right values can reach: LDS of exact Shapley values of a game of which every coalition was retrained."""
    games, rows = load_recorded_games(GAMES), []
    masks = all_coalitions(8)
    for (name, recipe, measured), retrained in games.items():
        if name != "digits8" or recipe != "retrain":
            continue
        cheap = games[("digits8", "sparsified", measured)].table()
        first, second = retrained.table(0), retrained.table(1)
        for size in (2, 4, 6):
            chosen = masks.sum(axis=1) == size
            scores = [
                scores_of(masks, chosen, known, cheap, target) for known, target in ((first, second), (second, first))
            ]
            means = np.mean(scores, axis=0)
            rows.append([measured, size, means[0], np.sqrt(means[0]), *means[1:]])
    columns = [
        "property",
        "size",
        "another retraining",
        "what noise allows",
        "least squares at this size",
        "exact Shapley values, retrained",
        "exact Shapley values, sparsified",
        "gp, 48 sparsified evaluations",
    ]
    return [
        "Spearman with one retraining of all coalitions of one size: of another retraining (its root is what noise",
        "allows a perfect prediction), of sums of scores fitted to that other retraining at this very size, of sums of",
        f"its exact Shapley values, of those of the sparsified game, and of estimates from {N_EVALUATIONS} of its",
        f"evaluations (mean of {N_PLANS} plans). Means over both orders of the two retrainings. Shapley values average",
        "marginal contributions over all sizes; what orders coalitions of one size best is another question.",
        "",
        markdown(pd.DataFrame(rows, columns=columns)),
    ]


N_EVALUATIONS, N_PLANS = 48, 20


def scores_of(
    masks: np.ndarray, chosen: np.ndarray, known: np.ndarray, cheap: np.ndarray, target: np.ndarray
) -> list[float]:
    """LDS on the chosen coalitions of ``target``: of ``known`` itself, and of four sets of scores."""
    held, codes = masks[chosen], 1 << np.arange(masks.shape[1])
    fitted = np.linalg.lstsq(held.astype(float), known[chosen], rcond=None)[0]
    plans = [plan_coalitions(masks.shape[1], N_EVALUATIONS, seed=seed) for seed in range(N_PLANS)]
    estimates = [lds(estimate(plan, cheap[plan @ codes]), held, target[chosen]) for plan in plans]
    exact = [lds(exact_shapley(table), held, target[chosen]) for table in (known, cheap)]
    return [spearman(known[chosen], target[chosen]), lds(fitted, held, target[chosen]), *exact, np.mean(estimates)]


def write_section(name: str, lines: list[str]) -> None:
    """Replace one section of RESULTS.md."""
    text = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else "# Is the credit right?\n"
    header = [
        f"## {name}",
        "",
        f"Command: `python benchmarks/validity.py {name}`; machine: {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}; date: {datetime.now(UTC):%Y-%m-%d}.",
        "",
    ]
    section = "\n".join([*header, *lines, ""])
    pattern = re.compile(rf"^## {name}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    whole = pattern.sub(lambda _: section + "\n", text) if pattern.search(text) else f"{text.rstrip()}\n\n{section}"
    RESULTS.write_text(whole.rstrip() + "\n", encoding="utf-8")
    print(section)


def main() -> None:
    """Run one and write its section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = {"digits8": digits8, "avatars16": avatars16, "planted": planted, "exact_lds": exact_lds}
    parser.add_argument("what", choices=what)
    parser.add_argument("--folder", type=Path, default=None)
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="groupshap_validity_"))
    print(f"Working in {folder}")
    write_section(arguments.what, what[arguments.what](folder.resolve()))


if __name__ == "__main__":
    main()
