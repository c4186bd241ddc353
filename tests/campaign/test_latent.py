"""Latent diffusion from images to generated images: a small autoencoder, encoded once, and a pretrained pipeline."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DDPMPipeline, DDPMScheduler, LDMPipeline, UNet2DModel, VQModel

from groupshap.campaign.architecture import model_sizes
from groupshap.campaign.coalitions import finetune, plan_table
from groupshap.campaign.encoded import encoded_images
from groupshap.campaign.models import prune, recover, train_base
from groupshap.campaign.recipes import StartModels
from groupshap.campaign.shared import Campaign
from groupshap.campaign.start import make_start
from groupshap.diffusion.autoencoder_folder import PretrainedError
from groupshap.diffusion.config import AutoencoderConfig, ModelConfig, SamplerConfig, TrainConfig
from groupshap.diffusion.frozen import FrozenPartsError, find_frozen
from groupshap.diffusion.latent import LatentDiffusion
from groupshap.diffusion.pipeline_folder import read_pipeline, resolve_folder
from groupshap.engines.base import EngineConfig
from groupshap.games import coalitions_from_members
from groupshap.image_pack import ImagePack, load_pack, save_pack
from groupshap.model_file import load_model, read_description
from groupshap.pruning.cost import count_parameters
from groupshap.store import FileRef, Store
from groupshap.tasks.config import BaseTrainingConfig, CoalitionTraining, PruningStageConfig
from groupshap.tasks.inputs import encoded_rows
from groupshap.tasks.measure import generate
from groupshap.tasks.reconstruct import draw_reconstruction, reconstruct

STEPS = TrainConfig(n_steps=2, batch_size=4)
SMALL = {"block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4}
LATENT = BaseTrainingConfig(
    model=ModelConfig(family="latent", **SMALL, mid_attention=False, n_noise_levels=20),
    autoencoder=AutoencoderConfig(block_out_channels=(8, 16), norm_num_groups=4, latent_channels=2, train=STEPS),
    train=STEPS,
    n_threads=1,
)
PRUNING = PruningStageConfig(fraction_removed=0.5, recovery=STEPS, criterion="taylor", n_gradient_images=4)
BY_MAGNITUDE = PruningStageConfig(fraction_removed=0.5, recovery=None)
CONTRIBUTORS = pd.DataFrame({"player": range(3), "contributor": ["a", "b", "c"], "n_images": 4})
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 3, 16, 16), dtype=np.uint8)


def campaign_in(folder, images=IMAGES):
    folder.mkdir(parents=True, exist_ok=True)
    save_pack(folder / "images.safetensors", ImagePack(images, np.arange(len(images)) % 3))
    return Campaign(FileRef.of(folder / "images.safetensors"), 0, "cpu", EngineConfig(kind="inline"))


def base_of(folder, config, images=IMAGES):
    """Campaign, start and base model of a project whose models lie in ``folder``."""
    campaign, store = campaign_in(folder, images), Store(folder / "store")
    start = make_start(campaign, store, folder / "frozen", config)
    return campaign, start, train_base(campaign, store, start, config)


def whole_run(folder, config=LATENT):
    """Base, pruned and three coalition models; sha256 of all files, and the last coalition's images."""
    campaign, _, base = base_of(folder, config)
    pruned, _ = prune(campaign, Store(folder / "pruning"), base, PRUNING)
    recovered = recover(campaign, Store(folder / "pruning"), pruned, PRUNING, config)
    masks = coalitions_from_members([(), (0, 1, 2), (0, 2)], 3)
    plan = plan_table(masks, CONTRIBUTORS, load_pack(campaign.images.path), "estimation")
    start, models = StartModels(base, recovered), Store(folder / "models")
    manifests = [
        finetune(campaign, models, start, plan, CONTRIBUTORS, CoalitionTraining(recipe=recipe, train=STEPS))
        for recipe in ("sparsified", "retrain")
    ]
    table = pd.concat(manifests)
    made = {name: file.sha256 for name, file in (("base", base), ("pruned", recovered))}
    return made | dict(enumerate(table["checkpoint_sha256"])), table["checkpoint"].tolist(), campaign, base


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return whole_run(tmp_path_factory.mktemp("latent"))


def test_the_plan_knows_the_size_of_a_latent_model_before_there_is_one(run):
    _, checkpoints, _, base = run
    sizes = model_sizes(LATENT, PRUNING, (3, 16, 16))
    stored = [load_model(path)[0] for path in (base.path, Path(checkpoints[0]))]
    assert [size.n_parameters for size in sizes] == [count_parameters(model) for model in stored]
    absent = LATENT.model_copy(update={"autoencoder": AutoencoderConfig(pretrained="nobody/has-this")})
    assert model_sizes(absent, PRUNING, (3, 16, 16)) is None
    assert model_sizes(absent, PRUNING, (3, 16, 16), latent_shape=(LATENT.autoencoder.latent_channels, 8, 8)) == sizes


def images_of(path, batch_size=64, n_images=18):
    sampler = SamplerConfig(solver="dpm_solver", n_steps=3, batch_size=batch_size)
    return generate(Path(path), n_images, sampler, 0, "cpu")


def test_a_latent_run_gives_the_same_bits_anywhere_and_in_any_batch(run, tmp_path):
    hashes, checkpoints, _, _ = run
    assert whole_run(tmp_path / "elsewhere")[0] == hashes
    assert len(set(hashes.values())) == len(hashes)
    empty, made = images_of(checkpoints[0]), images_of(checkpoints[2])
    assert made.shape == (18, 3, 16, 16)
    assert not np.array_equal(empty, made)
    assert np.array_equal(made, images_of(checkpoints[2], batch_size=5))
    assert load_model(Path(checkpoints[0]))[0].conv_in.weight.shape[1] == 2


def test_images_are_encoded_once_and_rows_do_not_depend_on_their_neighbours(run):
    _, _, campaign, base = run
    pack, family = load_pack(campaign.images.path), read_description(base.path).family()
    file = encoded_images(campaign, base)
    assert encoded_images(Campaign(campaign.images, 1, "cpu"), base) == file, "no part of it is random"
    rows, cpu = pack.rows_of([2, 0]), torch.device("cpu")
    stored, fresh = (encoded_rows(family, pack, rows, source, cpu).clean for source in (file, None))
    assert torch.equal(stored, fresh)
    assert stored.shape == (8, 2, 8, 8)
    assert torch.equal(family.encode(pack.images[rows[3:4]]).clean[0], stored[3])
    everything = family.encode(pack.images).clean
    assert float(everything.std()) == pytest.approx(1, abs=1e-3)
    assert float(everything.mean()) == pytest.approx(0, abs=1e-3)


def test_an_autoencoder_learns_to_reconstruct_and_says_how_well(tmp_path):
    ramp = np.linspace(0, 255, 12 * 3).reshape(12, 3, 1, 1) * np.ones((1, 1, 16, 16))
    errors = []
    for n_steps in (2, 60):
        train = TrainConfig(n_steps=n_steps, batch_size=8, learning_rate=5e-3, ema_decay=0.9)
        config = LATENT.model_copy(
            update={"autoencoder": LATENT.autoencoder.model_copy(update={"train": train}), "train": STEPS}
        )
        folder = tmp_path / str(n_steps)
        start = make_start(campaign_in(folder, ramp.astype(np.uint8)), Store(folder / "s"), folder / "frozen", config)
        originals, reconstructed, report = reconstruct(start.path, folder / "images.safetensors", "cpu")
        by_hand = np.mean(((originals - reconstructed.astype(float)) / 255) ** 2)
        assert report["mse"] == pytest.approx(by_hand, rel=1e-12)
        assert report["psnr_db"] == pytest.approx(-10 * np.log10(by_hand))
        assert draw_reconstruction(originals, reconstructed, report).axes
        errors.append(report["mse"])
    assert errors[1] < errors[0] / 4


# --- frozen networks -------------------------------------------------------------------------------------------------


def test_changed_missing_and_unknown_autoencoders_are_refused(run, tmp_path):
    _, checkpoints, _, base = run
    copy = tmp_path / "models" / "base.safetensors"
    copy.parent.mkdir()
    shutil.copy(base.path, copy)
    with pytest.raises(FrozenPartsError, match="no folder 'frozen' above it"):
        read_description(copy)
    frozen = read_description(base.path).frozen
    moved = shutil.copytree(frozen.folder, tmp_path / "autoencoder")
    entry = tmp_path / "frozen" / f"{frozen.sha256[:16]}.json"
    entry.parent.mkdir()
    entry.write_text(json.dumps({"folder": str(moved), "sha256": frozen.sha256}))
    assert read_description(copy).frozen.folder == moved
    config = json.loads((moved / "config.json").read_text())
    (moved / "config.json").write_text(json.dumps(config | {"scaling_factor": 2.0}))
    with pytest.raises(FrozenPartsError, match="have changed"):
        read_description(copy)
    shutil.rmtree(moved)
    with pytest.raises(FrozenPartsError, match="which is not there"):
        read_description(copy)
    assert read_description(Path(checkpoints[0])).frozen == frozen
    with pytest.raises(FrozenPartsError, match="expected 64 hex digits"):
        find_frozen(copy, "../../" + "a" * 58)


def test_a_given_autoencoder_is_used_and_must_fit_the_images(tmp_path):
    vq = VQModel(
        block_out_channels=(8, 16), down_block_types=("DownEncoderBlock2D",) * 2, norm_num_groups=4,
        up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=3, num_vq_embeddings=8,
    )  # fmt: skip
    vq.save_pretrained(tmp_path / "pipeline" / "vqvae")
    given = LATENT.autoencoder.model_copy(update={"pretrained": str(tmp_path / "pipeline")})
    model = LATENT.model.model_copy(update={"latent_scale": 1.0})
    config = LATENT.model_copy(update={"autoencoder": given, "model": model})
    _, _, base = base_of(tmp_path / "run", config)
    family = read_description(base.path).family()
    pixels = torch.from_numpy(IMAGES[:8]).float() / 127.5 - 1
    with torch.no_grad():
        expected = vq.eval().encode(pixels).latents
    torch.testing.assert_close(family.encode(IMAGES[:8]).clean, expected)
    assert family.decode(expected).shape == (8, 3, 16, 16)
    with pytest.raises(ValueError, match=r"images of 3 channels .* got 1 channels"):
        base_of(tmp_path / "grey", config, IMAGES[:, :1])
    with pytest.raises(ValueError, match="needs the folder"):
        LatentDiffusion(model, (3, 16, 16), None)


# --- pretrained pipelines ---------------------------------------------------------------------------------------------


def unet(in_channels=3, side=16, **settings):
    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D")}
    shape = {"sample_size": side, "in_channels": in_channels, "out_channels": in_channels}
    return UNet2DModel(**{**shape, **SMALL, **blocks, "attention_head_dim": 4, **settings})


def pixel_pipeline(folder, network=None, scheduler=None):
    DDPMPipeline(network or unet(), scheduler or DDPMScheduler()).save_pretrained(folder)
    return folder


def latent_pipeline(folder):
    torch.manual_seed(1)
    vae = AutoencoderKL(
        block_out_channels=(8, 16), down_block_types=("DownEncoderBlock2D",) * 2, norm_num_groups=4,
        up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4, scaling_factor=0.7,
    )  # fmt: skip
    scheduler = DDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.0015, beta_end=0.0195, clip_sample=False, set_alpha_to_one=False
    )
    LDMPipeline(vqvae=vae, unet=unet(4, 8), scheduler=scheduler).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["pixels", "latents"])
def test_a_pretrained_pipeline_is_used_as_it_is(kind, tmp_path):
    folder = pixel_pipeline(tmp_path / "p") if kind == "pixels" else latent_pipeline(tmp_path / "p")
    config = BaseTrainingConfig(pretrained=str(folder), train=None, n_threads=1)
    campaign, start, base = base_of(tmp_path / "run", config)
    assert base == start
    model, description = load_model(base.path)
    stored = json.loads((folder / "unet" / "config.json").read_text())
    assert description.config.unet == {key: value for key, value in stored.items() if not key.startswith("_")}
    original = UNet2DModel.from_pretrained(folder / "unet").eval()
    family, t = description.family(), torch.tensor([7, 900])
    noisy = torch.randn(2, *family.sample_shape)
    with torch.no_grad():
        assert torch.equal(family.predict(model.eval(), noisy, t), original(noisy, t).sample)
    scheduler = (DDPMScheduler if kind == "pixels" else DDIMScheduler).from_pretrained(folder / "scheduler")
    assert torch.equal(family.noise.alphas_cumprod, scheduler.alphas_cumprod)
    assert family.noise.config.clip_sample == scheduler.config.clip_sample
    if kind == "latents":
        vae = AutoencoderKL.from_pretrained(folder / "vqvae").eval()
        with torch.no_grad():
            expected = vae.encode(torch.from_numpy(IMAGES[:8]).float() / 127.5 - 1).latent_dist.mode() * 0.7
        torch.testing.assert_close(family.encode(IMAGES[:8]).clean, expected)
    pruned, _ = prune(campaign, Store(tmp_path / "run" / "pruning"), base, BY_MAGNITUDE)
    empty = read_description(pruned.path).initialise(3)
    assert sum(p.numel() for p in empty.parameters()) < 0.6 * sum(p.numel() for p in original.parameters())
    assert generate(pruned.path, 2, SamplerConfig(n_steps=2), 0, "cpu").shape == (2, 3, 16, 16)


def test_training_continues_from_a_pretrained_pipeline(tmp_path):
    config = BaseTrainingConfig(pretrained=str(pixel_pipeline(tmp_path / "p")), train=STEPS, n_threads=1)
    _, start, base = base_of(tmp_path / "run", config)
    assert model_sizes(config, PRUNING, (3, 16, 16))[0].n_parameters == count_parameters(unet())
    before, after = (load_model(file.path)[0].state_dict() for file in (start, base))
    changes = [float((after[name] - before[name]).abs().max()) for name in before]
    assert 0 < max(changes) < 0.02


def refusal(folder, config=None, images=IMAGES):
    with pytest.raises(PretrainedError) as error:
        base_of(folder / "run", config or BaseTrainingConfig(pretrained=str(folder / "p"), train=None), images)
    assert not list((folder / "run").glob("store/start/*/start")), "it was refused before anything was made"
    return str(error.value)


def test_pickles_are_refused(tmp_path):
    pixel_pipeline(tmp_path / "p")
    (tmp_path / "p/unet/diffusion_pytorch_model.safetensors").rename(tmp_path / "p/unet/diffusion_pytorch_model.bin")
    assert "pickled weights only (diffusion_pytorch_model.bin)" in refusal(tmp_path)
    (tmp_path / "p/unet/diffusion_pytorch_model.bin").unlink()
    assert "holds no weights" in refusal(tmp_path)


def test_unsupported_pipelines_are_refused(tmp_path):
    wrong = {
        "learned variance": (unet(out_channels=6), None),
        "blocks ['SkipDownBlock2D'": (unet(down_block_types=("SkipDownBlock2D", "DownBlock2D")), None),
        "conditional on classes": (unet(num_class_embeds=3), None),
        "`prediction_type` is 'sample'": (None, DDPMScheduler(prediction_type="sample")),
        "`beta_schedule` is 'sigmoid'": (None, DDPMScheduler(beta_schedule="sigmoid")),
        "`thresholding` is True": (None, DDPMScheduler(thresholding=True)),
    }
    for number, (message, parts) in enumerate(wrong.items()):
        pixel_pipeline(tmp_path / str(number), *parts)
        with pytest.raises(PretrainedError) as error:
            read_pipeline(tmp_path / str(number))
        assert message in str(error.value)


def edited(folder, file, **changes):
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_pipelines_with_missing_or_foreign_components_are_refused(tmp_path):
    folder = latent_pipeline(tmp_path / "p")
    edited(folder, "scheduler/scheduler_config.json", _class_name="ScoreSdeVeScheduler")
    assert "its scheduler is ScoreSdeVeScheduler" in refusal(tmp_path)
    edited(folder, "vqvae/config.json", _class_name="AutoencoderTiny")
    assert "holds a AutoencoderTiny" in refusal(tmp_path)
    shutil.rmtree(folder / "vqvae")
    assert "lacks the component `vqvae`" in refusal(tmp_path)
    edited(folder, "unet/config.json", _class_name="UNet2DConditionModel")
    edited(folder, "model_index.json", vqvae=None)
    assert "its network is a UNet2DConditionModel" in refusal(tmp_path)
    (folder / "text_encoder").mkdir()
    assert "a text encoder" in refusal(tmp_path)
    shutil.rmtree(folder / "scheduler")
    assert "no `scheduler`" in refusal(tmp_path)
    (folder / "model_index.json").write_text("no json")
    assert "cannot be read" in refusal(tmp_path)


def test_images_of_another_size_are_refused(tmp_path):
    pixel_pipeline(tmp_path / "p")
    small = refusal(tmp_path, images=IMAGES[..., :8, :8])
    large = refusal(tmp_path, images=IMAGES.repeat(2, 2).repeat(2, 3))
    assert "for images of 3 channels and 16 pixels, got 3 channels and 8 pixels: smaller" in small
    assert "got 3 channels and 32 pixels: its network" in large


def test_names_that_are_no_folder_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(PretrainedError, match="could not be fetched"):
        resolve_folder("nobody-at-all/no-such-model@main")
    for name in ("../nowhere", "/nowhere/at/all", "a/b/c", "https://example.org/x", "owner/.."):
        with pytest.raises(PretrainedError, match="neither a folder nor a hub id"):
            resolve_folder(name)
