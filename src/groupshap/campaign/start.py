"""The model that base training starts from: fresh weights or a pretrained pipeline, and its frozen networks."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from groupshap.campaign.shared import LEAST_BYTES, Campaign, run_single
from groupshap.diffusion.config import AutoencoderConfig, ModelConfig
from groupshap.diffusion.frozen import FrozenParts, register_frozen
from groupshap.diffusion.pipeline_folder import PipelineFolder, autoencoder_in, read_pipeline, resolve_folder
from groupshap.image_pack import load_pack
from groupshap.plain import plain
from groupshap.seeds import seed_for
from groupshap.store import FileRef, Store
from groupshap.tasks.config import AUTOENCODER_WEIGHTS, BaseTrainingConfig

__all__ = ["is_plain", "make_start", "train_autoencoder"]


def is_plain(config: BaseTrainingConfig) -> bool:
    """Whether everything comes from ``config.model`` and a seed: no pretrained and no frozen networks."""
    return config.pretrained is None and not config.model.encodes_once


def make_start(campaign: Campaign, store: Store, registry: Path, config: BaseTrainingConfig) -> FileRef:
    """The start model, and its frozen networks where model files find them.

    Args:
        campaign: What all stages share.
        store: Of the base training.
        registry: Folder that says where frozen networks lie, above all models.
        config: Of the base training.

    Raises:
        PretrainedError: the pretrained pipeline or autoencoder cannot be used, or not with these images.
    """
    from groupshap.tasks.start import StartJob, start_task  # noqa: PLC0415 - imports torch

    is_unconditional = config.pretrained and config.model.family != "text_lora"
    pipeline = read_pipeline(resolve_folder(config.pretrained)) if is_unconditional else None
    model = pipeline.model_config(config.model.latent_scale) if pipeline else config.model
    if pipeline:
        _, *shape = load_pack(campaign.images.path).images.shape
        pipeline.check_images((shape[0], shape[1], shape[2]))
    frozen = _frozen_parts(campaign, store, pipeline, model, config)
    if frozen:
        register_frozen(registry, frozen)
    unet = FrozenParts.of(pipeline.path / "unet") if pipeline else None
    settings = {"model": plain(model), "frozen_sha256": frozen.sha256 if frozen else None}
    settings |= {"unet_sha256": unet.sha256 if unet else None, "images_sha256": campaign.images.sha256}
    job = partial(
        StartJob,
        images=campaign.images.path,
        model=model,
        frozen_folder=frozen.folder if frozen else None,
        unet_folder=unet.folder if unet else None,
        seed=seed_for(campaign.root_seed, "base"),
    )
    run = Store(store.root / "start").open(campaign.recipe("start", 1, **settings))
    return run_single(start_task, job, run, "start", n_threads=1, needed_bytes=LEAST_BYTES)


def _frozen_parts(
    campaign: Campaign, store: Store, pipeline: PipelineFolder | None, model: ModelConfig, config: BaseTrainingConfig
) -> FrozenParts | None:
    """The frozen networks beside the denoiser: of the pipeline, given, or trained here; None: there are none."""
    encodings = store.root / "encoded"
    if model.family == "text_lora" and config.pretrained:
        return FrozenParts.of(resolve_folder(config.pretrained), encodings=encodings)
    if model.family != "latent":
        return None
    if pipeline is not None and pipeline.autoencoder is not None:
        folder = pipeline.autoencoder.path
    elif config.autoencoder.pretrained is not None:
        folder = autoencoder_in(resolve_folder(config.autoencoder.pretrained)).path
    else:
        folder = train_autoencoder(
            campaign, store, config.autoencoder, config.n_threads, config.checkpoint_every_n_steps
        )
    return FrozenParts.of(folder, encodings=encodings)


def train_autoencoder(
    campaign: Campaign, store: Store, config: AutoencoderConfig, n_threads: int, checkpoint_every_n_steps: int
) -> Path:
    """Folder of a small autoencoder trained on everybody's images, or found in the store."""
    from groupshap.tasks.autoencoder import AutoencoderJob, autoencoder_task  # noqa: PLC0415 - imports torch

    settings = plain(config)
    del settings["pretrained"], settings["train"]
    recipe = campaign.recipe(
        "autoencoder",
        n_threads,
        images_sha256=campaign.images.sha256,
        autoencoder=settings,
        train=plain(config.train),
    )
    run = Store(store.root / "autoencoder").open(recipe)
    job = partial(
        AutoencoderJob,
        images=campaign.images.path,
        config=config,
        seed=seed_for(campaign.root_seed, "autoencoder"),
        device=campaign.device,
        checkpoint_every_n_steps=checkpoint_every_n_steps,
    )
    needed = {"n_threads": n_threads, "needed_bytes": LEAST_BYTES, "name": AUTOENCODER_WEIGHTS}
    return run_single(autoencoder_task, job, run, "autoencoder", **needed).path.parent
