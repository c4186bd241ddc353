"""Our training loop and sampler on the paper's CIFAR U-Net (35.7 M) against a plain diffusers loop of the same network.

    python benchmarks/unet_throughput.py             about half an hour on an idle core; --batch 8 for less
    python benchmarks/unet_throughput.py --tiny      the same on a small network, to see that it runs

One process and one thread; all variants are interleaved, and each gain is a ratio of medians of CPU seconds to the
plain loop. Results: benchmarks/results/unet_throughput.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel
from diffusers.training_utils import EMAModel
from torch.nn import functional

from groupshap.diffusion.base import Encoded, family_of
from groupshap.diffusion.config import ModelConfig, SamplerConfig, TrainConfig
from groupshap.diffusion.sampler import sample_all
from groupshap.diffusion.training import Denoising, train
from groupshap.pruning.channels import prune_channels
from groupshap.pruning.config import PruningConfig
from groupshap.pruning.cost import count_macs, count_parameters

RESULTS = Path(__file__).parent / "results"
CPU = torch.device("cpu")
CIFAR = ModelConfig(
    block_out_channels=(128, 256, 256, 256),
    layers_per_block=2,
    attention_levels=(1,),
    attention_head_dim=None,
    norm_num_groups=32,
    prediction="epsilon",
    noise_schedule="linear",
)
TINY = ModelConfig(block_out_channels=(16, 32), norm_num_groups=4, mid_attention=False)
N_SAMPLER_STEPS = 1


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--batch", type=int, default=32, help="images in a training step")
    parser.add_argument("--samples", type=int, default=32, help="images generated together, at least 16")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS / "unet_throughput.md")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    text = page(TINY if arguments.tiny else CIFAR, arguments.batch, max(16, arguments.samples), arguments.repeats)
    arguments.out.write_text(text, encoding="utf-8")
    print(text)


def page(config: ModelConfig, batch_size: int, n_samples: int, n_repeats: int) -> str:
    """The tables."""
    family = family_of(config, (3, 32, 32))
    dense = family.initialise(0)
    pruned, _, _ = prune_channels(dense, PruningConfig(fraction_removed=0.3))
    n_macs = {"dense": count_macs(dense), "pruned": count_macs(pruned)}
    training = interleaved(training_jobs(config, dense, pruned, batch_size), n_repeats)
    sampling = interleaved(sampling_jobs(config, dense, pruned, n_samples), n_repeats)
    lines = [
        "# unet_throughput",
        "",
        f"Command: `python benchmarks/unet_throughput.py --batch {batch_size} --samples {n_samples} "
        f"--repeats {n_repeats}`  ",
        f"Machine: {platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}, one thread  ",
        f"Date: {datetime.now(UTC):%Y-%m-%d}, load average {os.getloadavg()[0]:.1f} at the end  ",
        f"U-Net of {count_parameters(dense) / 1e6:.2f} M parameters, {n_macs['dense'] / 1e9:.2f} G multiply-"
        f"accumulates; pruned {count_parameters(pruned) / 1e6:.2f} M, {n_macs['pruned'] / 1e9:.2f} G; "
        f"{batch_size} images of 32 x 32 in a training step, {n_samples} generated together.",
        "CPU seconds of a step, medians; ours include the set-up of a training of two steps. The plain loop: AdamW,",
        "clipping, diffusers' EMAModel, a shuffling DataLoader.",
        *table("A training step", training, n_macs, 6 * batch_size),
        *table("A network evaluation while sampling", sampling, n_macs, 2 * n_samples),
    ]
    return "\n".join([*lines, ""])


def table(title: str, seconds: dict[str, float], n_macs: dict[str, int], flop_per_mac: int) -> list[str]:
    """Seconds, rate and ratio to the first row."""
    first = next(iter(seconds.values()))
    rows = []
    for name, value in seconds.items():
        flop = n_macs["pruned" if "pruned" in name else "dense"] * flop_per_mac
        rows.append(f"| {name} | {value:.3f} | {flop / value / 1e9:.1f} | {first / value:.2f} |")
    return ["", f"## {title}", "", "| | s | GFLOP/s | times as fast as the first |", "|---|---|---|---|", *rows]


def interleaved(jobs: dict[str, Callable[[], float]], n_repeats: int) -> dict[str, float]:
    """Median of what each job returns, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for repeat in range(n_repeats + 1):
        for name, job in jobs.items():
            value = job()
            seconds[name] += [value] if repeat else []
    return {name: float(np.median(values)) for name, values in seconds.items()}


def cpu_seconds(job: Callable[[], object]) -> float:
    """CPU time of this process."""
    start = time.process_time()
    job()
    return time.process_time() - start


def training_jobs(
    config: ModelConfig, dense: UNet2DModel, pruned: UNet2DModel, batch_size: int
) -> dict[str, Callable[[], float]]:
    """Seconds of a step of each variant."""
    family = family_of(config, (3, 32, 32))
    images = torch.rand(2 * batch_size, 3, 32, 32).mul(2).sub(1)

    def ours(model: UNet2DModel, **options: object) -> Callable[[], float]:
        settings = TrainConfig(n_steps=2, batch_size=batch_size, learning_rate=1e-4, ema_decay=0.9999, **options)
        job = partial(train, Denoising(family), model, Encoded(images), settings, seed=0, device=CPU)
        return lambda: cpu_seconds(job) / settings.n_steps

    return {
        "plain diffusers loop, dense": plain_training(config, dense, images, batch_size),
        "ours, dense": ours(family.initialise(0)),
        "ours, dense, channels_last": ours(family.initialise(0), channels_last=True),
        "ours, pruned": ours(pruned),
    }


def plain_training(
    config: ModelConfig, model: UNet2DModel, images: torch.Tensor, batch_size: int
) -> Callable[[], float]:
    """What the documentation of diffusers shows, on the same network."""
    noise = DDPMScheduler(num_train_timesteps=1000, beta_schedule=config.noise_schedule)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    average = EMAModel(model.parameters(), decay=0.9999)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images), batch_size, shuffle=True)

    def epoch() -> None:
        model.train()
        for (clean,) in loader:
            added = torch.randn_like(clean)
            timesteps = torch.randint(0, 1000, (len(clean),))
            prediction = model(noise.add_noise(clean, added, timesteps), timesteps, return_dict=False)[0]
            functional.mse_loss(prediction, added).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            average.step(model.parameters())

    return lambda: cpu_seconds(epoch) / len(loader)


def sampling_jobs(
    config: ModelConfig, dense: UNet2DModel, pruned: UNet2DModel, batch_size: int
) -> dict[str, Callable[[], float]]:
    """Seconds of a network evaluation of each variant."""
    family, seeds = family_of(config, (3, 32, 32)), list(range(batch_size))

    def plain() -> None:
        solver = DDIMScheduler(num_train_timesteps=1000, beta_schedule=config.noise_schedule)
        solver.set_timesteps(N_SAMPLER_STEPS)
        dense.eval()
        images = torch.randn(batch_size, 3, 32, 32)
        with torch.no_grad():
            for timestep in solver.timesteps:
                images = solver.step(dense(images, timestep).sample, timestep, images).prev_sample

    def ours(model: UNet2DModel, solver: str = "ddim", *, channels_last: bool = False) -> Callable[[], float]:
        settings = SamplerConfig(
            solver=solver, n_steps=N_SAMPLER_STEPS, batch_size=batch_size, channels_last=channels_last
        )
        return lambda: cpu_seconds(lambda: sample_all(family, model, seeds, settings, device=CPU)) / N_SAMPLER_STEPS

    return {
        "plain diffusers loop, dense": lambda: cpu_seconds(plain) / N_SAMPLER_STEPS,
        "ours, dense": ours(family.initialise(0)),
        "ours, dense, channels_last": ours(family.initialise(0), channels_last=True),
        "ours, dense, unipc": ours(family.initialise(0), "unipc"),
        "ours, pruned": ours(pruned),
    }


if __name__ == "__main__":
    main()
