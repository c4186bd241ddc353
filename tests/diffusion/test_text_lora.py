"""Text-to-image by adapters: the base stays frozen, adapters alone are stored, nothing depends on batches."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_text import save_tiny_pipeline

from groupshap.diffusion.adapters import MissingPeftError
from groupshap.diffusion.config import ModelConfig, SamplerConfig, TrainConfig
from groupshap.diffusion.frozen import FrozenParts, FrozenPartsError, register_frozen
from groupshap.diffusion.sampler import sample_all
from groupshap.diffusion.text_parts import MissingTransformersError, TextEncoder, TextPartsError
from groupshap.diffusion.text_to_image import ImageSizeError, MissingPromptsError
from groupshap.diffusion.training import Denoising, train
from groupshap.model_file import ModelDescription, ModelFileError, load_model, save_model
from groupshap.pruning.config import PruningConfig
from groupshap.pruning.ranks import prune_adapters

CPU = torch.device("cpu")
CONFIG = ModelConfig(family="text_lora", adapter_rank=3)
SHAPE = (3, 8, 8)
STEPS = TrainConfig(n_steps=2, batch_size=4, learning_rate=1e-2)
SAMPLER = SamplerConfig(n_steps=2, batch_size=16, guidance_scale=3.0)
PROMPTS = ["cat", "dog", "a cat", "cat"]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_tiny_pipeline(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def description(folder) -> ModelDescription:
    return ModelDescription(CONFIG, SHAPE, frozen=FrozenParts.of(folder))


@pytest.fixture(scope="module")
def family(description):
    return description.family()


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (4, 3, 8, 8), dtype=np.uint8)


def trained(family, images, model=None):
    return train(
        Denoising(family), model or family.initialise(1), family.encode(images, PROMPTS), STEPS, seed=5, device=CPU
    ).model


def generated(family, model, n=20, prompts=("cat", "dog"), **settings):
    in_turn = [prompts[number % len(prompts)] for number in range(n)]
    sampler = SAMPLER.model_copy(update=settings)
    return sample_all(family, model, list(range(n)), sampler, device=CPU, prompts=in_turn)


def base_weights(model):
    return {name: tensor.clone() for name, tensor in model.unet.named_parameters() if ".lora_" not in name}


def test_fresh_adapters_are_the_frozen_base_and_training_changes_them_alone(family, images, folder):
    model = family.initialise(1)
    plain = family.initialise(2)
    plain.unet.delete_adapters("default")
    as_base = generated(family, plain)
    assert np.array_equal(generated(family, model), as_base), "the model behind the empty coalition"
    before = base_weights(model)
    trained(family, images, model)
    after = base_weights(model)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not np.array_equal(generated(family, model), as_base)


def test_training_and_images_are_the_same_bits_whatever_the_batch(family, images):
    model = trained(family, images)
    again = trained(family, images)
    assert all(torch.equal(one, other) for one, other in zip(*(m.parameters() for m in (model, again)), strict=True))
    expected = generated(family, model)
    assert np.array_equal(generated(family, model, batch_size=20), expected)
    assert np.array_equal(generated(family, model, n=3), expected[:3])
    together = family.encode(images, PROMPTS)
    alone = family.encode(images[2:3], PROMPTS[2:3])
    assert torch.equal(together.clean[2:3], alone.clean)
    assert torch.equal(together.conditions[2:3], alone.conditions)


def test_guidance_moves_away_from_the_empty_prompt(family, images):
    model = trained(family, images).eval()
    noisy, timesteps = torch.randn(16, 4, 4, 4), torch.full((16,), 500)
    with torch.no_grad():
        cat, nothing = (
            family.predict(model, noisy, timesteps, family.conditions_for([word] * 16)) for word in ("cat", "")
        )
        guided = family.predict(model, noisy, timesteps, family.conditions_for(["cat"] * 16), 3.0)
    assert not torch.equal(cat, nothing)
    assert torch.allclose(guided, nothing + 3 * (cat - nothing))


def test_pruned_adapters_are_stored_without_the_base_and_read_back_bit_for_bit(family, images, description, tmp_path):
    model, history, report = prune_adapters(trained(family, images), PruningConfig(fraction_removed=0.5))
    assert report.fraction_of_parameters_removed == pytest.approx(0.5, abs=0.05)
    pruned = ModelDescription(CONFIG, SHAPE, history, description.frozen)
    path = tmp_path / "models" / "model.safetensors"
    path.parent.mkdir()
    save_model(path, model, pruned)
    register_frozen(tmp_path / "frozen", description.frozen)
    read, about = load_model(path)
    assert about == pruned
    assert sum(tensor.numel() for tensor in read.state_dict().values()) == report.n_parameters_after
    assert np.array_equal(generated(family, read), generated(family, model))
    fresh = about.initialise(seed=3)
    assert fresh.state_dict().keys() == read.state_dict().keys()
    assert np.array_equal(generated(family, fresh), generated(family, family.initialise(1))), (
        "fresh ones change nothing"
    )
    finetuned = trained(family, images, read)
    assert [tuple(p.shape) for p in family.trainable(finetuned)] == [tuple(p.shape) for p in family.trainable(model)]


def test_a_model_needs_its_base_its_adapters_and_prompts(family, images, description, tmp_path):
    with pytest.raises(TextPartsError, match=r"needs a frozen base.*base_training.pretrained"):
        ModelDescription(CONFIG, SHAPE).family()
    with pytest.raises(MissingPromptsError, match=r"data_grouping.prompt"):
        family.encode(images)
    with pytest.raises(MissingPromptsError, match=r"property_eval.prompts"):
        sample_all(family, family.initialise(1), [0], SAMPLER, device=CPU)
    with pytest.raises(ImageSizeError, match="multiples of 4 pixels, got 3 channels and 6 x 8"):
        ModelDescription(CONFIG, (3, 8, 6), frozen=description.frozen).family()
    path = tmp_path / "model.safetensors"
    save_model(path, family.initialise(1), description)
    with pytest.raises(FrozenPartsError, match="says where they are"):
        load_model(path)
    other = FrozenParts(save_tiny_pipeline(tmp_path / "other", seed=1), description.frozen.sha256)
    register_frozen(tmp_path / "frozen", other)
    with pytest.raises(FrozenPartsError, match="have changed"):
        load_model(path)
    register_frozen(tmp_path / "frozen", description.frozen)
    save_model(path, family.initialise(1), ModelDescription(CONFIG.model_copy(update={"adapter_rank": 2}), SHAPE, [],
                                                            description.frozen))  # fmt: skip
    with pytest.raises(ModelFileError, match="not those of this U-Net's adapters"):
        load_model(path)


def edited(folder, part, **settings):
    file = folder / part
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def test_everything_that_is_wrong_with_a_folder_is_said_at_once(folder, tmp_path):
    with pytest.raises(TextPartsError, match=r"`unet/config.json` is missing.*`tokenizer` is missing"):
        ModelDescription(CONFIG, SHAPE, frozen=FrozenParts(tmp_path, "0" * 64)).family()
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    edited(copy, "scheduler/scheduler_config.json", prediction_type="sample")
    edited(copy, "vae/config.json", _class_name="VQModel")
    with pytest.raises(TextPartsError) as error:
        ModelDescription(CONFIG, SHAPE, frozen=FrozenParts.of(copy)).family()
    assert "pickles are never read" in str(error.value)
    assert "scheduler predicts 'sample'" in str(error.value)
    assert "`vae` is a VQModel" in str(error.value)
    weights.with_suffix(".bin").rename(weights)
    shutil.copytree(folder, copy, dirs_exist_ok=True)
    edited(copy, "unet/config.json", addition_embed_type="text_time", cross_attention_dim=9)
    with pytest.raises(TextPartsError, match=r"width 9, `text_encoder` gives 8.*SDXL"):
        ModelDescription(CONFIG, SHAPE, frozen=FrozenParts.of(copy)).family()


def test_a_base_in_half_precision_leaves_adapters_and_predictions_in_float32(images, description):
    half = ModelDescription(CONFIG.model_copy(update={"base_dtype": "bfloat16"}), SHAPE, frozen=description.frozen)
    family = half.family()
    model = trained(family, images)
    assert {parameter.dtype for parameter in family.trainable(model)} == {torch.float32}
    assert {tensor.dtype for tensor in base_weights(model).values()} == {torch.bfloat16}
    conditions = family.conditions_for(["cat"] * 16)
    prediction = family.predict(model, torch.zeros(16, 4, 4, 4), torch.zeros(16, dtype=torch.int64), conditions)
    assert prediction.dtype == torch.float32


def test_a_missing_extra_is_named(family, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingPeftError, match=r"groupshap\[text\]"):
        family.initialise(0)
    monkeypatch.setattr("groupshap.diffusion.text_parts.find_spec", lambda name: None)
    with pytest.raises(MissingTransformersError, match=r"groupshap\[text\]"):
        TextEncoder.read(folder)


def test_prompts_are_seen_within_vmap_too(family):
    tokens = family.conditions_for(["cat", "a dog", "dog"])
    looked_up = family._text.embeddings(tokens)
    mapped = torch.vmap(lambda row: family._text.embeddings(row[None])[0])(tokens)
    assert torch.equal(mapped, looked_up)
    unknown = torch.vmap(lambda row: family._text.embeddings(row[None])[0])(tokens + 1)
    assert unknown.isnan().all()
