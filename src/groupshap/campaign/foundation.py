"""A foundation model of images that are nobody's of the run: its autoencoder, its networks, its folder."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupshap.campaign.shared import LEAST_BYTES, Campaign, run_single
from groupshap.campaign.start import train_autoencoder
from groupshap.diffusion.foundation_config import FoundationConfig
from groupshap.diffusion.frozen import FrozenParts
from groupshap.plain import plain
from groupshap.seeds import seed_for
from groupshap.store import Record, Store
from groupshap.tasks.config import PropertyEvalConfig

if TYPE_CHECKING:
    from groupshap.tasks.foundation import FoundationJob

__all__ = ["draw_foundation_samples", "make_foundation"]

logger = logging.getLogger(__name__)


def make_foundation(
    campaign: Campaign, store: Store, folder: Path, config: FoundationConfig
) -> tuple[Record, FoundationJob]:
    """Train it, or find it in the store, and write it into ``folder`` as a diffusers pipeline.

    Args:
        campaign: With the images that it learns from.
        store: Of its training.
        folder: What ``base_training.pretrained`` then names.
        config: Networks and training.

    Returns:
        The report (sha256 of the folder, numbers of the training), and the job that made it.

    Raises:
        MissingTransformersError: the extra ``text`` is not installed.
    """
    from groupshap.diffusion.text_parts import require_transformers  # noqa: PLC0415 - imports torch

    require_transformers()
    from groupshap.tasks.foundation import FoundationJob, foundation_task, write_foundation  # noqa: PLC0415 - torch

    training = (config.autoencoder, config.n_threads, config.checkpoint_every_n_steps)
    autoencoder = train_autoencoder(campaign, store, *training)
    settings: dict[str, Any] = {"images_sha256": campaign.images.sha256, "model": plain(config.model)}
    settings |= {"autoencoder_sha256": FrozenParts.of(autoencoder).sha256, "train": plain(config.train)}
    run = store.open(campaign.recipe("foundation", config.n_threads, **settings))
    job = partial(
        FoundationJob,
        images=campaign.images.path,
        autoencoder=autoencoder,
        config=config,
        seed=seed_for(campaign.root_seed, "foundation"),
        device=campaign.device,
    )
    run_single(foundation_task, job, run, "foundation", n_threads=config.n_threads, needed_bytes=LEAST_BYTES)
    done = job(task_id="foundation", folder=run.task_folder("foundation"))
    write_foundation(done, folder)
    sha256 = FrozenParts.of(folder).sha256
    logger.info("Foundation model: %s (sha256 %s)", folder, sha256[:16])
    return {"folder_sha256": sha256, **run.record("foundation")}, done


def draw_foundation_samples(job: FoundationJob, measuring: PropertyEvalConfig, n_threads: int, seed: int) -> Any:
    """What it generates for the prompts of the run, a row each."""
    from groupshap.engines.base import threads  # noqa: PLC0415 - joblib
    from groupshap.tasks.foundation import draw_foundation  # noqa: PLC0415 - imports torch

    with threads(n_threads):
        return draw_foundation(job, list(measuring.prompts or [""]), measuring.sampler, 12, seed)
