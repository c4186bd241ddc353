"""Images as the denoiser sees them, encoded once for all trainings of a run where encoding takes a network."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from groupshap.campaign.shared import Campaign, file_of, run_single
from groupshap.store import FileRef, Store
from groupshap.tasks.config import ENCODED

__all__ = ["encoded_images"]


def encoded_images(campaign: Campaign, model: FileRef) -> Path | None:
    """File with one row per image of the pack, made unless it is committed; None: every job encodes what it needs.

    It is no part of the recipes of what is computed from it: images, frozen networks and libraries are, and they make
    it. It does not depend on the root seed.

    Args:
        campaign: What all stages share.
        model: Any model of the run; its file names the frozen networks.
    """
    from groupshap.model_file import read_description  # noqa: PLC0415 - imports torch
    from groupshap.tasks.encode import EncodeJob, encode_task  # noqa: PLC0415

    description = read_description(model.path)
    frozen = description.frozen
    if frozen is None or frozen.encodings is None or not description.config.encodes_once:
        return None
    settings = {"frozen_sha256": frozen.sha256, "latent_scale": description.config.latent_scale}
    recipe = campaign.recipe("encode", 1, images_sha256=campaign.images.sha256, **settings)
    run = Store(frozen.encodings).open({key: value for key, value in recipe.items() if key != "root_seed"})
    job = partial(EncodeJob, model=model.path, images=campaign.images.path, device=campaign.device)
    needed_bytes = campaign.images.path.stat().st_size * 4
    run_single(encode_task, job, run, "images", n_threads=1, needed_bytes=needed_bytes, name=ENCODED)
    return file_of(run, "images", ENCODED).path
