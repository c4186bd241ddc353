"""Are the paper's models the size that the paper says, and what is left of them after pruning?

    python benchmarks/full_size.py artbench      adapters on Stable Diffusion 1.x: 51.0 M at rank 256, half of them off
    python benchmarks/full_size.py celeba_hq     latent diffusion on CelebA-HQ: U-Net 274 M, half of the channels off
    python benchmarks/full_size.py cifar20       pixels of CIFAR-20: U-Net 35.7 M, a third off; a step, a sampling

One subcommand per configuration in conf/. The networks are real and have random weights (magnitude pruning removes the
same number of channels whatever they are); nothing is downloaded. Results go to benchmarks/results/full_size_<name>.md.
"""

from __future__ import annotations

import argparse
import platform
import resource
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from diffusers import UNet2DConditionModel

from groupshap.campaign.architecture import ModelSize
from groupshap.diffusion.adapters import AdapterPair
from groupshap.diffusion.base import family_of
from groupshap.diffusion.config import ModelConfig, SamplerConfig, TrainConfig
from groupshap.diffusion.denoiser import UNetDenoiser
from groupshap.diffusion.lora_unet import AdaptedUNet
from groupshap.diffusion.sampler import sample_all
from groupshap.diffusion.training import Denoising, train
from groupshap.pruning.channels import prune_channels
from groupshap.pruning.config import PruningConfig, PruningReport
from groupshap.pruning.cost import count_activations, count_parameters
from groupshap.pruning.ranks import prune_ranks

PROJECT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results"

Row = dict[str, Any]


def settings(name: str) -> dict[str, Any]:
    """The parameters of conf/<name>."""
    return yaml.safe_load((PROJECT / "conf" / name / "parameters.yml").read_text(encoding="utf-8"))


def celeba_hq() -> list[Row]:
    """The U-Net on 3 x 64 x 64 latents of 256-pixel images, pruned by half; the paper: 274 M, -74 %."""
    conf = settings("celeba_hq")
    before, after, report, seconds = pruned_unet(conf, (3, 64, 64))
    return [
        size_row("U-Net", before, "274.06 M (counted from its config)"),
        size_row("U-Net, pruned", after, "about 71.0 M; -74 % in the paper"),
        {
            "what": "removed",
            "measured": f"{report.fraction_of_parameters_removed:.1%} of the parameters, "
            f"{report.fraction_of_channels_removed:.1%} of the channels, "
            f"{report.fraction_of_macs_removed:.1%} of the multiply-accumulates",
            "expected": "-74 % of the parameters",
        },
        {"what": "pruning", "measured": f"{seconds:.0f} s", "expected": ""},
    ]


def artbench() -> list[Row]:
    """Adapters on the attention of Stable Diffusion 1.x, pruned by half; the paper says 5.1 M, -49 %."""
    conf = settings("artbench")
    with torch.device("meta"):  # shapes only: the base has 3.4 GB
        unet = UNet2DConditionModel(**STABLE_DIFFUSION_1)
        n_base = count_parameters(unet)
        adapted = AdaptedUNet(unet, conf["base_training"]["model"]["adapter_rank"])
    adapters = {layer: random_adapter(shape) for layer, shape in adapted.adapters.items()}
    start = time.monotonic()
    report = prune_ranks(adapters, conf["pruning"]["fraction_removed"]).report
    return [
        size_row("U-Net, frozen", n_base, "859.52 M"),
        size_row(f"adapters of {len(adapters)} layers", report.n_parameters_before, "51.0 M = 199 296 x 256"),
        size_row("adapters, pruned", report.n_parameters_after, "25.5 M; -49 % in the paper"),
        {
            "what": "removed (random weights: how ranks are spread says nothing)",
            "measured": f"{report.fraction_of_parameters_removed:.1%} of the parameters, "
            f"{report.fraction_of_pairs_removed:.1%} of the rank-one pairs; ranks {report.smallest_rank} to "
            f"{report.largest_rank}",
            "expected": "-50 % of the parameters",
        },
        {"what": "pruning", "measured": f"{time.monotonic() - start:.0f} s", "expected": ""},
    ]


STABLE_DIFFUSION_1 = {
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": (*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
    "up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
"""What differs from diffusers' defaults in the config of its U-Net; miniSD has the same."""


def random_adapter(like: AdapterPair) -> AdapterPair:
    """Trained-looking weights: both halves random, of a size that does not grow with the layer."""
    generator = torch.Generator().manual_seed(sum(like.down.shape) + 7 * like.up.shape[0])
    down, up = (torch.randn(half.shape, generator=generator) / half.numel() ** 0.5 for half in (like.down, like.up))
    return AdapterPair(down, up, like.alpha)


def cifar20() -> list[Row]:
    """The U-Net on 3 x 32 x 32 pixels, pruned; one step of its fine-tuning and one short sampling, on the CPU."""
    conf, cpu = settings("cifar20"), torch.device("cpu")
    family = family_of(ModelConfig(**conf["base_training"]["model"]), (3, 32, 32))
    pruning = {key: value for key, value in conf["pruning"].items() if key != "recovery"}
    model, _, report = prune_channels(family.initialise(0), PruningConfig(**pruning))
    images = np.random.default_rng(0).integers(0, 256, (256, 3, 32, 32), dtype=np.uint8)
    step = TrainConfig(**{**conf["subset_finetune"]["train"], "n_steps": 1, "n_warmup_steps": 0})
    result = train(Denoising(family), model, family.encode(images), step, seed=0, device=cpu)
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    sampler = SamplerConfig(**{**conf["property_eval"]["sampler"], "n_steps": 4, "batch_size": 16})
    start = time.monotonic()
    made = sample_all(family, result.model, list(range(16)), sampler, device=cpu)
    seconds = time.monotonic() - start
    size = ModelSize(report.n_parameters_after, report.n_macs_after, count_activations(result.model))
    rates = (
        size.training_flop(step.batch_size) / result.seconds / 1e9,
        size.sampling_flop(len(made), sampler.n_steps) / seconds / 1e9,
    )
    said = f"{size.training_bytes(step.batch_size) / 2**30:.2f} GiB by the formula of the pipeline plan"
    return [
        size_row("U-Net", report.n_parameters_before, "35.7 M"),
        size_row("U-Net, pruned", report.n_parameters_after, "19.8 M; -44 % in the paper"),
        row("a training step", f"{result.seconds:.1f} s, {rates[0]:.1f} GFLOP/s, batch of {step.batch_size}"),
        row("its peak memory", f"{peak_gib:.2f} GiB", said),
        row("sampling", f"{seconds:.1f} s, {rates[1]:.1f} GFLOP/s, {len(made)} images in {sampler.n_steps} steps"),
    ]


def row(what: str, measured: str, expected: str = "") -> Row:
    """One line of the table."""
    return {"what": what, "measured": measured, "expected": expected}


CONFIGURATIONS: dict[str, Callable[[], list[Row]]] = {"artbench": artbench, "celeba_hq": celeba_hq, "cifar20": cifar20}
"""Name of a folder in conf/ to what is checked of it."""


def pruned_unet(conf: dict[str, Any], sample_shape: tuple[int, int, int]) -> tuple[int, int, PruningReport, float]:
    """Parameters of the U-Net of ``base_training.model`` before and after ``pruning``, the report, and the seconds."""
    denoiser = UNetDenoiser(ModelConfig(**conf["base_training"]["model"]), sample_shape, clips_sample=True)
    model = denoiser.initialise(0)
    pruning = PruningConfig(**{key: value for key, value in conf["pruning"].items() if key != "recovery"})
    start = time.monotonic()
    pruned, _, report = prune_channels(model, pruning)
    return count_parameters(model), count_parameters(pruned), report, time.monotonic() - start


def size_row(what: str, n_parameters: int, expected: str) -> Row:
    """One line of the table."""
    return {"what": what, "measured": f"{n_parameters / 1e6:.2f} M parameters", "expected": expected}


def write(name: str, rows: list[Row], seconds: float) -> str:
    """The table as Markdown, written to the results."""
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    lines = [
        f"# full_size {name}",
        "",
        f"Command: `python benchmarks/full_size.py {name}`  ",
        f"Machine: {platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}  ",
        f"Date: {datetime.now(UTC):%Y-%m-%d}, wall time {seconds:.0f} s, peak {peak_gib:.1f} GiB",
        "",
        "| what | measured | expected |",
        "|---|---|---|",
        *(f"| {row['what']} | {row['measured']} | {row['expected']} |" for row in rows),
    ]
    RESULTS.mkdir(exist_ok=True)
    text = "\n".join(lines) + "\n"
    (RESULTS / f"full_size_{name}.md").write_text(text, encoding="utf-8")
    return text


def main() -> None:
    """Check one configuration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configuration", choices=sorted(CONFIGURATIONS))
    name = parser.parse_args().configuration
    start = time.monotonic()
    rows = CONFIGURATIONS[name]()
    print(write(name, rows, time.monotonic() - start))


if __name__ == "__main__":
    main()
