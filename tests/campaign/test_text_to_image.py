"""Text-to-image from nothing to coalitions: a foundation model of others' images, adapters on it, pruned by rank."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from groupshap.campaign.coalitions import finetune, plan_table
from groupshap.campaign.foundation import draw_foundation_samples, make_foundation
from groupshap.campaign.models import prune, recover, train_base
from groupshap.campaign.recipes import StartModels
from groupshap.campaign.shared import Campaign
from groupshap.campaign.start import make_start
from groupshap.diffusion.config import AutoencoderConfig, ModelConfig, SamplerConfig, TrainConfig
from groupshap.diffusion.foundation_config import FoundationConfig, TextModelConfig
from groupshap.diffusion.vocabulary import learn_tokenizer
from groupshap.engines.base import EngineConfig
from groupshap.games import coalitions_from_members
from groupshap.image_pack import ImagePack, load_pack, save_pack
from groupshap.store import FileRef, Store
from groupshap.tasks.config import BaseTrainingConfig, CoalitionTraining, PropertyEvalConfig, PruningStageConfig
from groupshap.tasks.measure import generate

STEPS = TrainConfig(n_steps=2, batch_size=4, learning_rate=1e-2)
FOUNDATION = FoundationConfig(
    autoencoder=AutoencoderConfig(block_out_channels=(4, 8), norm_num_groups=4, latent_channels=2, train=STEPS),
    model=TextModelConfig(
        n_merges=10, n_tokens=5, text_width=8, text_n_layers=1, text_n_heads=2, block_out_channels=(8,), n_heads=2,
        norm_num_groups=4,
    ),
    train=STEPS,
    n_threads=1,
)  # fmt: skip
PRUNING = PruningStageConfig(fraction_removed=0.5, recovery=STEPS)
CONTRIBUTORS = pd.DataFrame({"player": range(3), "contributor": ["a", "b", "c"], "n_images": 4})
SAMPLER = SamplerConfig(solver="dpm_solver", n_steps=2, guidance_scale=2.0)
WORDS = ("a cat", "a dog")


def campaign_of(file, seed):
    file.parent.mkdir(parents=True, exist_ok=True)
    images = np.random.default_rng(seed).integers(0, 256, (12, 3, 8, 8), dtype=np.uint8)
    save_pack(file, ImagePack(images, np.arange(12) % 3, prompts=[WORDS[row % 2] for row in range(12)]))
    return Campaign(FileRef.of(file), 0, "cpu", EngineConfig(kind="inline"))


def whole_run(folder, recipes=("sparsified", "retrain")):
    """sha256 of everything that is made; files of the empty, the grand and another coalition, twice; their makers."""
    others, campaign = campaign_of(folder / "others.safetensors", 1), campaign_of(folder / "images.safetensors", 2)
    report, job = make_foundation(others, Store(folder / "foundation-store"), folder / "foundation", FOUNDATION)
    config = BaseTrainingConfig(
        pretrained=str(folder / "foundation"), model=ModelConfig(family="text_lora", adapter_rank=4), train=STEPS
    )
    start = make_start(campaign, Store(folder / "store"), folder / "frozen", config)
    base = train_base(campaign, Store(folder / "store"), start, config)
    pruned, pruning = prune(campaign, Store(folder / "pruning"), base, PRUNING)
    recovered = recover(campaign, Store(folder / "pruning"), pruned, PRUNING, config)
    plan = plan_table(
        coalitions_from_members([(), (0, 1, 2), (0, 2)], 3), CONTRIBUTORS, load_pack(campaign.images.path), "estimation"
    )
    tables = [
        finetune(
            campaign, Store(folder / "models"), StartModels(base, recovered), plan, CONTRIBUTORS,
            CoalitionTraining(recipe=recipe, train=STEPS),
        )
        for recipe in recipes
    ]  # fmt: skip
    table = pd.concat(tables)
    hashes = [report["folder_sha256"], base.sha256, recovered.sha256, *table["checkpoint_sha256"]]
    return hashes, [*map(Path, table["checkpoint"])], {"start": start, "job": job, "pruning": pruning, "base": base}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return whole_run(tmp_path_factory.mktemp("text"))


def images_of(path, prompts=WORDS, **settings):
    return generate(path, 18, SAMPLER.model_copy(update=settings), 0, "cpu", prompts)


def test_a_run_gives_the_same_bits_anywhere_and_in_any_batch(run, tmp_path):
    hashes, files, _ = run
    assert whole_run(tmp_path / "elsewhere", ("sparsified",))[0] == hashes[:6]
    made = images_of(files[2])
    assert np.array_equal(made, images_of(files[2], batch_size=5))
    assert not np.array_equal(made, images_of(files[2], prompts=("a dog",)))


def test_the_empty_coalition_is_the_frozen_base_and_nothing_of_the_base_is_stored_twice(run):
    _, (empty, everybody, some, empty_retrained, _, retrained), made = run
    base = images_of(made["start"].path)
    assert np.array_equal(images_of(empty), base)
    assert np.array_equal(images_of(empty_retrained), base)
    assert len({images_of(file).tobytes() for file in (empty, everybody, some, retrained)}) == 4
    report = made["pruning"]
    assert report["fraction_of_parameters_removed"] == pytest.approx(0.5, abs=0.05)
    assert some.stat().st_size - empty.stat().st_size == 0
    assert some.stat().st_size < 4 * report["n_parameters_after"] + 40_000, "adapters and a header"
    assert made["base"].path.stat().st_size > some.stat().st_size


def test_a_foundation_model_is_a_pipeline_of_diffusers_with_a_vocabulary_of_its_own(run):
    from diffusers import StableDiffusionPipeline

    folder = run[2]["job"].folder.parents[2] / "foundation"
    pipeline = StableDiffusionPipeline.from_pretrained(folder, use_safetensors=True, local_files_only=True)
    assert pipeline.tokenizer.tokenize("a cat") == ["a</w>", "cat</w>"]
    assert pipeline.scheduler.config.prediction_type == "v_prediction"
    assert json.loads((folder / "vae" / "config.json").read_text())["latent_channels"] == 2
    measuring = PropertyEvalConfig(prompts=WORDS, sampler=SAMPLER)
    assert draw_foundation_samples(run[2]["job"], measuring, 1, 0).axes
    vocabulary = learn_tokenizer(["low lower", "lowest low"], 3, 5).get_vocab()
    assert {"lo", "low", "low</w>"} <= vocabulary.keys(), "merges by frequency: lo 4, low 2 and low</w> 2"
    assert len(vocabulary) == 512 + 3 + 2
