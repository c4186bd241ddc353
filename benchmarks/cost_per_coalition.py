"""What one coalition costs, and what fidelity costs: training, generation, and utilities beside an expensive setting.

    python benchmarks/cost_per_coalition.py            the default data and model; hours, on two idle cores
    python benchmarks/cost_per_coalition.py --tiny     the same on almost nothing, to see that it runs
    ... --expensive "ddim 50" --images 512 --coalitions 16      less of it

Everything that is compared is interleaved in one process, repetition by repetition, and reported as a ratio of medians
of CPU seconds, because other users of the machine slow everything alike. ``--project DIR`` is a folder in which
``kedro run`` was run; without it data, base model and pruned model are made first. Results, written after every
coalition: benchmarks/results/cost_per_coalition.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml

from groupshap.campaign.architecture import ModelSize
from groupshap.diffusion.base import Family
from groupshap.diffusion.config import SamplerConfig, TrainConfig
from groupshap.diffusion.sampler import sample_all
from groupshap.diffusion.training import Denoising, train
from groupshap.games import plan_coalitions, spearman
from groupshap.image_pack import ImagePack, load_pack
from groupshap.model_file import ModelDescription, load_model
from groupshap.properties.base import fit_properties, measure, resolve_properties, restore_properties
from groupshap.properties.config import PropertiesConfig
from groupshap.pruning.cost import count_activations, count_macs, count_parameters
from groupshap.seeds import seed_for

PROJECT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results"
CPU = torch.device("cpu")
IMAGES = "data/03_primary/images.safetensors"
PROPERTIES = ("frechet_efficientnet", "inception_efficientnet", "diversity_entropy")
SETTINGS = ("ddim 25", "ddim 10", "dpm_solver 20", "dpm_solver 10", "dpm_solver 5", "unipc 10", "unipc 5")


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        n_repeats: Interleaved repetitions of every timing.
        n_steps: Training steps per timing.
        n_images: Images per timed sampling.
        n_coalitions: Behind the fidelity.
        n_expensive: Images per coalition of the expensive setting.
        counts: Images per coalition of the cheaper ones.
        n_finetune: Steps of a coalition's fine-tuning.
        expensive: Sampler of the expensive setting.
        settings: Samplers of the cheaper ones.
    """

    n_repeats: int = 5
    n_steps: int = 6
    n_images: int = 64
    n_coalitions: int = 24
    n_expensive: int = 1024
    counts: tuple[int, ...] = (64, 128, 512, 1024)
    n_finetune: int = 100
    expensive: str = "ddim 100"
    settings: tuple[str, ...] = SETTINGS


TINY = Size(1, 1, 16, 4, 32, (16, 32), 2, "ddim 4", ("dpm_solver 4", "unipc 4"))


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--project", type=Path)
    parser.add_argument("--coalitions", type=int, default=24)
    parser.add_argument("--images", type=int, default=1024, help="of the expensive setting")
    parser.add_argument("--expensive", default="ddim 100", help="its solver and steps")
    parser.add_argument("--settings", default=";".join(SETTINGS), help="solvers and steps, with ; between them")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS / "cost_per_coalition.md")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    full = Size(
        n_repeats=arguments.repeats,
        n_coalitions=arguments.coalitions,
        n_expensive=arguments.images,
        expensive=arguments.expensive,
        settings=tuple(arguments.settings.split(";")),
    )
    size = TINY if arguments.tiny else full
    with tempfile.TemporaryDirectory() as folder:
        project = arguments.project or made_project(Path(folder), arguments.tiny)
        page = [*header(size), *costs(project, size)]
        arguments.out.write_text("\n".join([*page, ""]), encoding="utf-8")
        for table in fidelity(project, size):
            arguments.out.write_text("\n".join([*page, *table, ""]), encoding="utf-8")
    print(arguments.out.read_text(encoding="utf-8"))


def made_project(folder: Path, is_tiny: bool) -> Path:
    """A run of data, base training and pruning in a copy of the project."""
    shutil.copytree(PROJECT / "conf", folder / "conf")
    shutil.copy(PROJECT / "pyproject.toml", folder)
    (folder / "src").mkdir()
    command = [sys.executable, "-m", "kedro", "run", "--pipelines", "data_grouping,base_training,pruning"]
    command += ["--env", "test"] if is_tiny else []
    subprocess.run(command, cwd=folder, env={**os.environ, "KEDRO_DISABLE_TELEMETRY": "1"}, check=True)
    return folder


def header(size: Size) -> list[str]:
    """What was run where."""
    options = f'--expensive "{size.expensive}" --images {size.n_expensive} --coalitions {size.n_coalitions} '
    options += f'--settings "{";".join(size.settings)}" --repeats {size.n_repeats}'
    return [
        "# cost_per_coalition",
        "",
        f"Command: `python benchmarks/cost_per_coalition.py {options}`  ",
        f"Machine: {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"torch {torch.__version__}  ",
        f"Date: {datetime.now(UTC):%Y-%m-%d}, load average {os.getloadavg()[0]:.1f} at the start  ",
        "Times: medians of CPU seconds of one thread, rows interleaved; where threads differ, wall time.",
    ]


def loaded(project: Path, name: str) -> tuple[torch.nn.Module, ModelDescription]:
    """base_model or pruned_model of the run."""
    return load_model(project / f"data/06_models/{name}.safetensors")


def size_of(model: torch.nn.Module) -> ModelSize:
    """Parameters and operations."""
    return ModelSize(count_parameters(model), count_macs(model), count_activations(model))


def interleaved(jobs: Mapping[str, Callable[[], object]], n_repeats: int) -> dict[str, float]:
    """Median CPU seconds of each job, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for repeat in range(n_repeats + 1):
        for name, job in jobs.items():
            start = time.process_time()
            job()
            if repeat:
                seconds[name].append(time.process_time() - start)
    return {name: float(np.median(values)) for name, values in seconds.items()}


def sampler(name: str) -> SamplerConfig:
    """``"ddim 100"`` as a configuration."""
    solver, _, n_steps = name.partition(" ")
    return SamplerConfig(solver=solver, n_steps=int(n_steps), batch_size=64)


def costs(project: Path, size: Size) -> list[str]:
    """Tables of training and sampling rates, and whole coalitions as ratios."""
    (dense, description), (pruned, small) = loaded(project, "base_model"), loaded(project, "pruned_model")
    family, pack = description.family(), load_pack(project / "data/03_primary/images.safetensors")
    sizes = {"dense": size_of(dense), "pruned": size_of(pruned)}
    inputs = family.encode(pack.images[:256])
    matrix = torch.randn(512, 512)
    trainings = {
        f"train {name}, {precision}": (path, precision)
        for name, path in (("dense", "base_model"), ("pruned", "pruned_model"))
        for precision in ("no", "bf16")
    }

    def training(path: str, precision: str) -> None:
        config = TrainConfig(n_steps=size.n_steps, batch_size=32, mixed_precision=precision)
        train(Denoising(family), models[path], inputs, config, seed=0, device=CPU)

    models = {name: loaded(project, name)[0] for name in ("base_model", "pruned_model")}
    jobs: dict[str, Callable[[], object]] = {"matmul": lambda: [matrix @ matrix for _ in range(20)]}
    jobs |= {
        name: lambda path=path, precision=precision: training(path, precision)
        for name, (path, precision) in trainings.items()
    }
    one_step = SamplerConfig(solver="ddim", n_steps=2)
    seeds = list(range(size.n_images))
    for name, model, known in (("dense", dense, description), ("pruned", pruned, small)):
        jobs[f"sample {name}"] = lambda model=model, known=known: sample_all(
            known.family(), model, seeds, one_step, device=CPU
        )
    seconds = interleaved(jobs, size.n_repeats)
    peak = 20 * 2 * 512**3 / seconds["matmul"]
    n_seen = {"train": size.n_steps * 32, "sample": size.n_images * one_step.n_steps}
    rows = [rate_row(name, value, sizes, n_seen, peak) for name, value in seconds.items() if name != "matmul"]
    page = [
        "",
        "## One image through the network",
        "",
        f"Matrix products of 512 x 512 reach {peak / 1e9:.0f} GFLOP/s in the same interleaved loop: that is the peak.",
        "Operations are counted in convolutions, linear layers and attention; training counts three passes.",
        "",
        "| | ms per image and step | images per s and step | GFLOP/s | of the peak |",
        "|---|---|---|---|---|",
        *rows,
    ]
    return [*page, *whole_coalitions(project, seconds, size), *two_threads(project, size)]


def rate_row(name: str, seconds: float, sizes: Mapping[str, ModelSize], n_seen: Mapping[str, int], peak: float) -> str:
    """One job: time and operations of an image in one step."""
    what, _, which = name.partition(",")[0].partition(" ")
    n_images = n_seen[what]
    flop = sizes[which].training_flop(n_images) if what == "train" else sizes[which].sampling_flop(n_images, 1)
    rate = flop / seconds
    return (
        f"| {name} | {1e3 * seconds / n_images:.2f} | {n_images / seconds:.0f} | {rate / 1e9:.1f} | {rate / peak:.0%} |"
    )


def whole_coalitions(project: Path, seconds: Mapping[str, float], size: Size) -> list[str]:
    """Seconds of one coalition under several settings, composed of the rates above."""
    conf = {
        name: yaml.safe_load((PROJECT / f"conf/base/parameters_{name}.yml").read_text())
        for name in ("base_training", "subset_finetune", "property_eval")
    }
    base, fine = conf["base_training"]["base_training"]["train"], conf["subset_finetune"]["subset_finetune"]["train"]
    ours = conf["property_eval"]["property_eval"]
    per_train = {name: seconds[f"train {name}, no"] / (size.n_steps * 32) for name in ("dense", "pruned")}
    per_sample = {name: seconds[f"sample {name}"] / (size.n_images * 2) for name in ("dense", "pruned")}

    def cost(which: str, n_seen: int, n_images: int, n_steps: int) -> tuple[float, float]:
        return per_train[which] * n_seen, per_sample[which] * n_images * n_steps

    finetuned, retrained = fine["n_steps"] * fine["batch_size"], base["n_steps"] * base["batch_size"]
    settings = {
        "default": cost("pruned", finetuned, ours["n_images"], ours["sampler"]["n_steps"]),
        "default, dense model": cost("dense", finetuned, ours["n_images"], ours["sampler"]["n_steps"]),
        "default, 64 images": cost("pruned", finetuned, 64, ours["sampler"]["n_steps"]),
        "default, 1024 images": cost("pruned", finetuned, 1024, ours["sampler"]["n_steps"]),
        "default, 100 steps of DDIM": cost("pruned", finetuned, ours["n_images"], 100),
        "paper's generation: 1024 images, 100 steps of DDIM": cost("pruned", finetuned, 1024, 100),
        "retrained from scratch, default generation": cost(
            "dense", retrained, ours["n_images"], ours["sampler"]["n_steps"]
        ),
        "retrained from scratch, paper's generation": cost("dense", retrained, 1024, 100),
    }
    unit = sum(settings["default"])
    return [
        "",
        "## One coalition of the default run",
        "",
        "Seconds of one core, from the rates above; properties are measured beside this.",
        "",
        "| setting | training | generation | together | times the default |",
        "|---|---|---|---|---|",
        *(f"| {name} | {a:.1f} | {b:.1f} | {a + b:.1f} | {(a + b) / unit:.1f} |" for name, (a, b) in settings.items()),
    ]


def two_threads(project: Path, size: Size) -> list[str]:
    """Wall seconds of two trainings: one after the other with two threads each, or two processes with one each."""
    code = (
        "import sys, time, torch; torch.set_num_threads(int(sys.argv[1]));"
        "from groupshap.model_file import load_model; from groupshap.diffusion.training import Denoising, train;"
        "from groupshap.diffusion.config import TrainConfig; from groupshap.image_pack import load_pack;"
        "from pathlib import Path;"
        "p=Path(sys.argv[2]); m,d=load_model(p/'data/06_models/pruned_model.safetensors'); f=d.family();"
        "x=f.encode(load_pack(p/'data/03_primary/images.safetensors').images[:256]); sys.stdin.readline();"
        "n=int(sys.argv[3]); t=time.monotonic();"
        "train(Denoising(f),m,x,TrainConfig(n_steps=n,batch_size=32),seed=0,device=torch.device('cpu'));"
        "print(time.monotonic()-t, flush=True)"
    )

    def run(n_processes: int, n_threads: int, n_steps: int) -> float:
        environment = {**os.environ, "OMP_NUM_THREADS": str(n_threads), "OMP_WAIT_POLICY": "PASSIVE"}
        command = [sys.executable, "-c", code, str(n_threads), str(project), str(n_steps)]
        children = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
            for _ in range(n_processes)
        ]
        for child in children:
            child.stdin.write("go\n")
            child.stdin.flush()
        return max(float(child.communicate()[0].split()[-1]) for child in children)

    n_steps = 3 * size.n_steps
    wide, narrow = [], []
    for _ in range(max(1, size.n_repeats // 2)):
        wide.append(run(1, 2, 2 * n_steps))
        narrow.append(run(2, 1, n_steps))
    return [
        "",
        f"Two trainings of {n_steps} steps, wall time: {np.median(wide):.1f} s one after the other with two threads, "
        f"{np.median(narrow):.1f} s side by side with one each: ratio {np.median(wide) / np.median(narrow):.2f}.",
    ]


def fidelity(project: Path, size: Size) -> Iterator[list[str]]:
    """Rank correlation of cheap with expensive utilities on the same models; the table after each coalition."""
    family, pack = loaded(project, "pruned_model")[1].family(), load_pack(project / IMAGES)
    properties = resolve_properties(PropertiesConfig(names=PROPERTIES))
    table = pd.read_parquet(project / "data/03_primary/image_table.parquet")
    restore_properties(properties, fit_properties(properties, pack.images, table))
    n_players = int(pack.players.max()) + 1
    masks = plan_coalitions(n_players, size.n_coalitions + 2, seed=7)[2:]
    utilities: dict[str, list[dict[str, float]]] = {}
    seconds: dict[str, list[float]] = {}
    for number, mask in enumerate(masks):
        model = finetuned(project, family, pack, mask, size.n_finetune, number)
        for (setting, stream), counts in variants(size, number).items():
            start = time.process_time()
            seeds = [seed_for(stream, "image", image) for image in range(max(counts.values()))]
            images = sample_all(family, model, seeds, sampler(setting), device=CPU)
            each = (time.process_time() - start) / len(images)
            for name, count in counts.items():  # fewer images with the same noise are the first of more
                seconds.setdefault(name, []).append(each * count)
                utilities.setdefault(name, []).append(measure(properties, images[:count]))
        print(f"coalition {number + 1} of {len(masks)}", file=sys.stderr, flush=True)
        if number >= 3 or number + 1 == len(masks):
            yield fidelity_page(utilities, seconds, size)


def finetuned(
    project: Path, family: Family, pack: ImagePack, mask: np.ndarray, n_steps: int, number: int
) -> torch.nn.Module:
    """The default recipe for one coalition."""
    model, _ = loaded(project, "pruned_model")
    inputs = family.encode(pack.of(np.flatnonzero(mask).tolist()))
    config = TrainConfig(
        n_steps=n_steps, batch_size=32, learning_rate=2e-3, n_warmup_steps=min(10, n_steps - 1), ema_decay=0.98
    )
    return train(Denoising(family), model, inputs, config, seed=seed_for(0, "cost", number), device=CPU).model


def variants(size: Size, number: int) -> dict[tuple[str, int], dict[str, int]]:
    """(sampler, seed of the noise) to rows of the table and their images: noise 0 is common to all coalitions."""
    n_default = min(256, size.n_expensive)
    found = {
        (size.expensive, 0): {"expensive": size.n_expensive, f"{size.expensive}, {n_default}": n_default},
        (size.expensive, 1): {"expensive, other noise": size.n_expensive},
    }
    found |= {(name, 0): {f"{name}, {n_default}": n_default} for name in size.settings}
    counts = {f"dpm_solver 10, {count}": count for count in size.counts if count <= size.n_expensive}
    found[("dpm_solver 10", 0)] = {**found.get(("dpm_solver 10", 0), {}), **counts}
    found[("dpm_solver 10", 1000 + number)] = {f"dpm_solver 10, {n_default}, own noise": n_default}
    return found


def fidelity_page(
    utilities: Mapping[str, Sequence[Mapping[str, float]]], seconds: Mapping[str, Sequence[float]], size: Size
) -> list[str]:
    """One row per setting."""
    values = {name: pd.DataFrame(rows) for name, rows in utilities.items()}
    truth = values["expensive"]
    rows = []
    for name, found in values.items():
        ranks = [spearman(found[column].to_numpy(), truth[column].to_numpy()) for column in truth]
        errors = [
            float(
                np.std((found[column] - truth[column]) - (found[column] - truth[column]).mean()) / np.std(truth[column])
            )
            for column in truth
        ]
        cells = [f"{rank:.2f}" for rank in ranks] + [f"{error:.2f}" for error in errors]
        rows.append(f"| {name} | {np.median(seconds[name]):.2f} | {' | '.join(cells)} |")
    columns = [column.partition("_")[0] for column in truth]
    heads = [*(f"rank, {name}" for name in columns), *(f"error, {name}" for name in columns)]
    return [
        "",
        "## Fidelity against cost",
        "",
        f"{len(truth)} coalitions, the same fine-tuned models for every row; expensive: {size.expensive} steps, "
        f"{size.n_expensive} images.",
        "Rank: Spearman with the expensive setting. Error: standard deviation of the difference to it, as a share of",
        "that of the utilities themselves; a common shift is taken out, because it changes no value. The row with",
        "other noise is what noise allows: the expensive setting repeated. The noise is common to all coalitions, but",
        "in the row that says otherwise.",
        "",
        f"| solver steps, images | generation, s | {' | '.join(heads)} |",
        f"|---|---|{'---|' * len(heads)}",
        *rows,
    ]


if __name__ == "__main__":
    main()
