"""What one coalition costs, and what fidelity costs: training, generation, and utilities beside an expensive setting.

    python benchmarks/cost_per_coalition.py            the default data and model; half an hour on two idle cores
    python benchmarks/cost_per_coalition.py --tiny     the same on almost nothing, to see that it runs
    ... --expensive "ddim 100" --images 512 --coalitions 16      another measure

Everything that is compared is interleaved in one process, repetition by repetition, and reported as a ratio of medians
of CPU seconds, because other users of the machine slow everything alike. ``--project DIR`` is a folder in which
``kedro run`` was run, and stays as it is; without it data and base model are made first. Results, written after every
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
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from multiprocessing import get_context
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
from groupshap.image_pack import load_pack
from groupshap.model_file import ModelDescription, load_model
from groupshap.properties.base import Property, fit_properties, measure, resolve_properties, restore_properties
from groupshap.properties.config import PropertiesConfig
from groupshap.pruning.cost import count_activations, count_macs, count_parameters
from groupshap.seeds import seed_for

PROJECT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results"
CPU = torch.device("cpu")
Job = tuple[str, float]
"""What is timed, and the share of the channels that was removed from its model."""
IMAGES = "data/03_primary/images.safetensors"
PROPERTIES = ("frechet_efficientnet", "inception_efficientnet", "diversity_entropy")
SETTINGS = ("ddim 100", "dpm_solver 10", "dpm_solver 5", "unipc 10", "unipc 8", "unipc 5")
FINETUNINGS = ("0.3 100 0.002 0.98", "0.3 50 0.003 0.95", "0.5 100 0.002 0.98")
FASTEST = ("unipc 8", "unipc 5")


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
        finetunings: Nominal share of the channels removed, and steps, learning rate and decay of the weights' average
            of a coalition's fine-tuning; the first is that of the expensive setting.
        expensive: Sampler of the expensive setting.
        settings: Samplers of the cheaper ones.
    """

    n_repeats: int = 5
    n_steps: int = 6
    n_images: int = 64
    n_coalitions: int = 24
    n_expensive: int = 256
    counts: tuple[int, ...] = (64, 128)
    finetunings: tuple[str, ...] = FINETUNINGS
    expensive: str = "unipc 50"
    settings: tuple[str, ...] = SETTINGS


TINY = Size(1, 1, 16, 4, 32, (16, 32), ("0.3 3 0.002 0.9", "0.5 2 0.002 0.9"), "ddim 4", ("dpm_solver 4", "unipc 4"))


@dataclass(frozen=True)
class Rates:
    """Seconds of one core per image and step of the network, by share of the channels removed (0: dense)."""

    train: Mapping[float, float]
    sample: Mapping[float, float]
    retrain: float

    def cost(self, fraction: float, n_trained: int, n_images: int, n_steps: int) -> tuple[float, float]:
        """Seconds of a training that sees so many images, and of a generation."""
        return self.train[fraction] * n_trained, self.sample[fraction] * n_images * n_steps

    def retrained(self, n_images: int, n_steps: int) -> tuple[float, float]:
        """Seconds of the default training from scratch, and of a generation by the dense model."""
        train = default("base_training")["train"]
        return self.retrain * train["n_steps"] * train["batch_size"], self.sample[0.0] * n_images * n_steps


@dataclass(frozen=True)
class Variant:
    """One way to a utility: fine-tuning and its seed, sampler and its noise, rows of the table with their images."""

    finetuning: str
    seed: int
    sampler: str
    noise: int
    counts: Mapping[str, int]


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--project", type=Path)
    parser.add_argument("--coalitions", type=int, default=24)
    parser.add_argument("--images", type=int, default=256, help="of the expensive setting")
    parser.add_argument("--expensive", default="unipc 50", help="its solver and steps")
    parser.add_argument("--settings", default=";".join(SETTINGS), help="solvers and steps, with ; between them")
    parser.add_argument("--finetunings", default=";".join(FINETUNINGS), help="share, steps, rate, decay; ...")
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
        finetunings=tuple(arguments.finetunings.split(";")),
    )
    size = TINY if arguments.tiny else full
    if len({row(how, "", 0) for how in size.finetunings}) < len(size.finetunings):
        parser.error("Two fine-tunings of the same share and number of steps: the table could not tell them apart.")
    with tempfile.TemporaryDirectory() as folder:
        project = made_project(Path(folder), arguments.project, size, arguments.tiny)
        head = header(size)
        tables, rates = costs(project, size)
        page = [*head, *tables]
        arguments.out.write_text("\n".join([*page, ""]), encoding="utf-8")
        for table in fidelity(project, size, rates):
            arguments.out.write_text("\n".join([*page, *table, ""]), encoding="utf-8")
    print(arguments.out.read_text(encoding="utf-8"))


def made_project(folder: Path, finished: Path | None, size: Size, is_tiny: bool) -> Path:
    """A copy of the project with data and base model, finished ones or new, and a pruned model of every share."""
    shutil.copytree(PROJECT / "conf", folder / "conf")
    shutil.copy(PROJECT / "pyproject.toml", folder)
    (folder / "src").mkdir()
    environment = ["--env", "test"] if is_tiny and finished is None else []

    def kedro_run(*arguments: str) -> None:
        command = [sys.executable, "-m", "kedro", "run", *arguments, *environment]
        subprocess.run(command, cwd=folder, env={**os.environ, "KEDRO_DISABLE_TELEMETRY": "1"}, check=True)

    if finished is None:
        kedro_run("--pipelines", "data_grouping,base_training")
    else:
        shutil.copytree(finished / "data/03_primary", folder / "data/03_primary")
        (folder / "data/06_models").mkdir()
        shutil.copy(finished / "data/06_models/base_model.safetensors", folder / "data/06_models")
    shutil.copy(folder / "data/06_models/base_model.safetensors", weights(folder, 0.0))
    for fraction in shares(size):
        kedro_run("--pipelines", "pruning", "--params", f"pruning.fraction_removed={fraction}")
        shutil.copy(folder / "data/06_models/pruned_model.safetensors", weights(folder, fraction))
    return folder


def shares(size: Size) -> list[float]:
    """Shares of the channels removed, of the default and of every fine-tuning."""
    return sorted({float(how.split()[0]) for how in size.finetunings} | {default("pruning")["fraction_removed"]})


def weights(project: Path, fraction: float) -> Path:
    """The file of the model of which this share was removed."""
    return project / f"data/06_models/share_{fraction:g}.safetensors"


def header(size: Size) -> list[str]:
    """What was run where."""
    options = f'--expensive "{size.expensive}" --images {size.n_expensive} --coalitions {size.n_coalitions} '
    options += f'--settings "{";".join(size.settings)}" --finetunings "{";".join(size.finetunings)}" '
    options += f"--repeats {size.n_repeats}"
    return [
        "# cost_per_coalition",
        "",
        f"Command: `python benchmarks/cost_per_coalition.py {options}`  ",
        f"Machine: {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"torch {torch.__version__}  ",
        f"Date: {datetime.now(UTC):%Y-%m-%d}, load average {os.getloadavg()[0]:.1f} at the start  ",
        "Times: medians of CPU seconds of one thread, rows interleaved; where threads differ, wall time.",
    ]


def loaded(project: Path, fraction: float) -> tuple[torch.nn.Module, ModelDescription]:
    """The model of which this share was removed, and trained again on everybody's images."""
    return load_model(weights(project, fraction))


def size_of(model: torch.nn.Module) -> ModelSize:
    """Parameters and operations."""
    return ModelSize(count_parameters(model), count_macs(model), count_activations(model))


def interleaved(jobs: Mapping[Job, Callable[[], object]], n_repeats: int) -> dict[Job, float]:
    """Median CPU seconds of each job, after one round that does not count."""
    seconds: dict[Job, list[float]] = {name: [] for name in jobs}
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


def costs(project: Path, size: Size) -> tuple[list[str], Rates]:
    """Tables of training and sampling rates, and whole coalitions as ratios; and the rates."""
    fractions = [0.0, *shares(size)]
    models, known = {}, {}
    for fraction in fractions:
        models[fraction], known[fraction] = loaded(project, fraction)
    family, pack = known[0.0].family(), load_pack(project / IMAGES)
    sizes = {fraction: size_of(model) for fraction, model in models.items()}
    inputs = family.encode(pack.images[:256])
    matrix = torch.randn(512, 512)
    small_batch, large_batch = (default(of)["train"]["batch_size"] for of in ("subset_finetune", "base_training"))

    def training(fraction: float, batch_size: int, precision: str = "no") -> None:
        config = TrainConfig(n_steps=size.n_steps, batch_size=batch_size, mixed_precision=precision)
        train(Denoising(family), models[fraction], inputs, config, seed=0, device=CPU)

    one_step = SamplerConfig(solver="ddim", n_steps=2)
    seeds = list(range(size.n_images))

    def sampling(fraction: float) -> None:
        sample_all(known[fraction].family(), models[fraction], seeds, one_step, device=CPU)

    jobs: dict[Job, Callable[[], object]] = {("matmul", 0.0): lambda: [matrix @ matrix for _ in range(20)]}
    for fraction in fractions:
        jobs["train", fraction] = partial(training, fraction, small_batch)
        jobs["sample", fraction] = partial(sampling, fraction)
    jobs["retrain", 0.0] = partial(training, 0.0, large_batch)
    jobs["train in bf16", 0.0] = partial(training, 0.0, small_batch, "bf16")
    seconds = interleaved(jobs, size.n_repeats)
    peak = 20 * 2 * 512**3 / seconds.pop(("matmul", 0.0))
    n_seen = dict.fromkeys(("train", "train in bf16"), size.n_steps * small_batch)
    n_seen |= {"retrain": size.n_steps * large_batch, "sample": size.n_images * one_step.n_steps}
    each = {job: value / n_seen[job[0]] for job, value in seconds.items()}
    rows = [rate_row(job, value, sizes[job[1]], peak) for job, value in each.items()]
    page = [
        "",
        "## One image through the network",
        "",
        f"Matrix products of 512 x 512 reach {peak / 1e9:.0f} GFLOP/s in the same interleaved loop: that is the peak.",
        "Operations are counted in convolutions, linear layers and attention; training counts three passes. Batches of",
        f"{small_batch} images, retraining as by default of {large_batch}.",
        "",
        "| | ms per image and step | images per s and step | GFLOP/s | of the peak |",
        "|---|---|---|---|---|",
        *rows,
    ]
    rates = Rates(
        train={fraction: each["train", fraction] for fraction in fractions},
        sample={fraction: each["sample", fraction] for fraction in fractions},
        retrain=each["retrain", 0.0],
    )
    return [*page, *whole_coalitions(rates), *two_threads(project, size)], rates


def rate_row(job: Job, seconds: float, size: ModelSize, peak: float) -> str:
    """One job: time and operations of an image in one step."""
    what, fraction = job
    flop = size.sampling_flop(1, 1) if what == "sample" else size.training_flop(1)
    rate, which = flop / seconds, f"{fraction:.0%} pruned" if fraction else "dense"
    return f"| {what}, {which} | {1e3 * seconds:.2f} | {1 / seconds:.0f} | {rate / 1e9:.1f} | {rate / peak:.0%} |"


@cache
def default(name: str) -> dict[str, dict[str, object]]:
    """The default settings of a pipeline."""
    return yaml.safe_load((PROJECT / f"conf/base/parameters_{name}.yml").read_text(encoding="utf-8"))[name]


def whole_coalitions(rates: Rates) -> list[str]:
    """Seconds of one coalition under several settings, composed of the rates above."""
    fine, ours = default("subset_finetune")["train"], default("property_eval")
    finetuned, n_images, n_steps = fine["n_steps"] * fine["batch_size"], ours["n_images"], ours["sampler"]["n_steps"]
    pruned = default("pruning")["fraction_removed"]
    settings = {
        "default": rates.cost(pruned, finetuned, n_images, n_steps),
        "default, dense model": rates.cost(0.0, finetuned, n_images, n_steps),
        "default, 64 images": rates.cost(pruned, finetuned, 64, n_steps),
        "default, 1024 images": rates.cost(pruned, finetuned, 1024, n_steps),
        "default, 100 steps of DDIM": rates.cost(pruned, finetuned, n_images, 100),
        "paper's generation: 1024 images, 100 steps of DDIM": rates.cost(pruned, finetuned, 1024, 100),
        "retrained from scratch, default generation": rates.retrained(n_images, n_steps),
        "retrained from scratch, paper's generation": rates.retrained(1024, 100),
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
        "m,d=load_model(Path(sys.argv[2])); f=d.family();"
        "x=f.encode(load_pack(Path(sys.argv[4])).images[:256]); sys.stdin.readline();"
        "n=int(sys.argv[3]); t=time.monotonic();"
        "train(Denoising(f),m,x,TrainConfig(n_steps=n,batch_size=32),seed=0,device=torch.device('cpu'));"
        "print(time.monotonic()-t, flush=True)"
    )

    def run(n_processes: int, n_threads: int, n_steps: int) -> float:
        environment = {**os.environ, "OMP_NUM_THREADS": str(n_threads), "OMP_WAIT_POLICY": "PASSIVE"}
        pruned = weights(project, default("pruning")["fraction_removed"])
        command = [sys.executable, "-c", code, str(n_threads), str(pruned), str(n_steps), str(project / IMAGES)]
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


def fidelity(project: Path, size: Size, rates: Rates) -> Iterator[list[str]]:
    """Rank correlation of cheap with expensive utilities; the table after each coalition.

    One process per core: what is compared here are utilities, the seconds are those of the rates.
    """
    n_players = int(load_pack(project / IMAGES).players.max()) + 1
    masks = plan_coalitions(n_players, size.n_coalitions + 2, seed=7)[2:]
    utilities: dict[str, list[dict[str, float]]] = {}
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        jobs = [pool.submit(utilities_of, project, size, number, mask) for number, mask in enumerate(masks)]
        for number, job in enumerate(jobs):
            for name, measured in job.result().items():
                utilities.setdefault(name, []).append(measured)
            print(f"coalition {number + 1} of {len(masks)}", file=sys.stderr, flush=True)
            if number >= 3 or number + 1 == len(masks):
                yield fidelity_page(utilities, size, rates)


@cache
def measured_with(project: Path) -> tuple[Property, ...]:
    """The properties, fitted to the images of the project."""
    pack, table = load_pack(project / IMAGES), pd.read_parquet(project / "data/03_primary/image_table.parquet")
    properties = resolve_properties(PropertiesConfig(names=PROPERTIES))
    restore_properties(properties, fit_properties(properties, pack.images, table))
    return tuple(properties)


def utilities_of(project: Path, size: Size, number: int, mask: np.ndarray) -> dict[str, dict[str, float]]:
    """Utilities of one coalition by row of the table."""
    torch.set_num_threads(1)
    family, pack = loaded(project, 0.0)[1].family(), load_pack(project / IMAGES)
    inputs = family.encode(pack.of(np.flatnonzero(mask).tolist()))
    models: dict[tuple[str, int], torch.nn.Module] = {}
    utilities = {}
    for way in variants(size, number):
        made = (way.finetuning, way.seed)
        if made not in models:
            models[made] = finetuned(project, family, inputs, way.finetuning, seed_for(0, "cost", number, way.seed))
        seeds = [seed_for(way.noise, "image", image) for image in range(max(way.counts.values()))]
        images = sample_all(family, models[made], seeds, sampler(way.sampler), device=CPU)
        for name, count in way.counts.items():  # fewer images with the same noise are the first of more
            utilities[name] = measure(measured_with(project), images[:count])
    return utilities


def finetuned(project: Path, family: Family, inputs: torch.Tensor, how: str, seed: int) -> torch.nn.Module:
    """The pruned model fine-tuned on one coalition."""
    fraction, n_steps, learning_rate, decay = how.split()
    config = TrainConfig(
        n_steps=int(n_steps),
        batch_size=default("subset_finetune")["train"]["batch_size"],
        learning_rate=float(learning_rate),
        n_warmup_steps=min(10, int(n_steps) - 1),
        ema_decay=float(decay),
    )
    model, _ = loaded(project, float(fraction))
    return train(Denoising(family), model, inputs, config, seed=seed, device=CPU).model


EXPENSIVE, AGAIN = "expensive", "expensive again"


def variants(size: Size, number: int) -> list[Variant]:
    """All ways of one coalition.

    The expensive setting alone has training seed 0 and noise 0. Its repetition and all cheaper settings have others,
    so that none is near it by chance. Noise 1 is common to all coalitions.
    """
    first, *fewer = size.finetunings
    n_default = min(256, size.n_expensive)
    again = {AGAIN: size.n_expensive, row(first, size.expensive, n_default): n_default}
    found = [
        Variant(first, 0, size.expensive, 0, {EXPENSIVE: size.n_expensive}),
        Variant(first, 1, size.expensive, 1, again),
    ]
    for name in dict.fromkeys((*size.settings, FASTEST[0])):
        counts = {n_default, *(count for count in size.counts if count <= size.n_expensive and name == FASTEST[0])}
        found.append(Variant(first, 1, name, 1, {row(first, name, count): count for count in sorted(counts)}))
    own = {row(first, FASTEST[0], n_default) + ", own noise": n_default}
    found.append(Variant(first, 1, FASTEST[0], 1000 + number, own))
    return found + [
        Variant(how, 2, name, 1, {row(how, name, n_default): n_default}) for how in fewer for name in FASTEST
    ]


def row(finetuning: str, setting: str, count: int) -> str:
    """Name of a row of the table."""
    fraction, n_steps, *_ = finetuning.split()
    return f"{float(fraction):.0%} pruned, {n_steps} steps; {setting}, {count}"


def ratio(found: np.ndarray, again: np.ndarray, truth: np.ndarray) -> str:
    """Spearman of a setting with the expensive one over that of its repetition, with a 90 % bootstrap interval."""
    draws = np.random.default_rng(0).integers(0, len(truth), size=(1000, len(truth)))
    pairs = np.array([[spearman(of[draw], truth[draw]) for of in (found, again)] for draw in draws])
    usable = pairs[pairs[:, 1] > 0.0]  # a repetition that does not repeat is no measure of anything
    low, high = np.nanquantile(usable[:, 0] / usable[:, 1], (0.05, 0.95)) if len(usable) else (np.nan, np.nan)
    limit = spearman(again, truth)
    return f"{spearman(found, truth) / limit if limit > 0.0 else np.nan:.2f} ({low:.2f} to {high:.2f})"


def fidelity_page(utilities: Mapping[str, Sequence[Mapping[str, float]]], size: Size, rates: Rates) -> list[str]:
    """One row per setting."""
    values = {name: pd.DataFrame(rows) for name, rows in utilities.items()}
    truth, again = values[EXPENSIVE], values[AGAIN]
    ours, expensive = default("property_eval"), row(size.finetunings[0], size.expensive, size.n_expensive)
    retrained = sum(rates.retrained(ours["n_images"], ours["sampler"]["n_steps"]))
    batch_size = default("subset_finetune")["train"]["batch_size"]
    ways = {name: (way, count) for way in variants(size, 0) for name, count in way.counts.items()}
    rows = []
    for name, found in values.items():
        way, count = ways[name]
        fraction, n_steps, *_ = way.finetuning.split()
        n_trained, sampling = int(n_steps) * batch_size, sampler(way.sampler)
        train_seconds, sample_seconds = rates.cost(float(fraction), n_trained, count, sampling.n_steps)
        both = train_seconds + sample_seconds
        cells = [f"{train_seconds:.1f}", f"{sample_seconds:.1f}", f"{both:.1f}", f"{retrained / both:.1f}"]
        for column in truth:
            arrays = (found[column].to_numpy(), again[column].to_numpy(), truth[column].to_numpy())
            cells += [f"{spearman(arrays[0], arrays[2]):.2f}", "" if name == EXPENSIVE else ratio(*arrays)]
        shared = name != AGAIN and (way.finetuning, way.seed) == (ways[AGAIN][0].finetuning, ways[AGAIN][0].seed)
        cells += [spread(found[column] - again[column], truth[column]) if shared else "" for column in truth]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    columns = [column.partition("_")[0] for column in truth]
    heads = ["training, s", "generation, s", "together, s", "retraining is x times that"]
    heads += [head for name in columns for head in (f"rank, {name}", "share of the repetition's")]
    heads += [f"error, {name}" for name in columns]
    return [
        "",
        "## Fidelity against cost",
        "",
        f"{len(truth)} coalitions. A row says how much was pruned, how many steps fine-tuning had, and how many",
        f"steps of which solver made how many images. Expensive: {expensive} images.",
        "Share of the channels removed, steps, learning rate and decay of the average of the weights: "
        f"{'; '.join(size.finetunings)}.",
        "Rank: Spearman with the expensive setting. All other rows have another training seed and another noise than",
        "it, its repetition too, so the repetition's rank is what noise allows; beside each rank its share of that, in",
        "brackets 90 % of bootstrap draws of coalitions. Error, where the fine-tuned models are those of the",
        "repetition: standard deviation of the difference to it, as a share of that of the utilities; a common shift",
        "is taken out: it changes no value. The noise of the images is common to all coalitions, except in the row",
        f"that says otherwise. Seconds of one core from the rates above; retraining takes {retrained:.0f}.",
        "",
        f"| setting | {' | '.join(heads)} |",
        f"|---|{'---|' * len(heads)}",
        *rows,
    ]


def spread(difference: pd.Series, truth: pd.Series) -> str:
    """Standard deviation of a difference, as a share of that of the utilities."""
    return f"{np.std(difference - difference.mean()) / np.std(truth):.2f}"


if __name__ == "__main__":
    main()
