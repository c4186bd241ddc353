"""The training loop: resumes bit for bit, depends on its seed alone, minimises the loss it cites."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from groupshap.diffusion.base import Encoded, family_of, resolve_device
from groupshap.diffusion.config import ModelConfig, TrainConfig
from groupshap.diffusion.training import (
    Checkpointing,
    Denoising,
    DivergedError,
    antithetic_timesteps,
    batch_rows,
    denoising_loss,
    learning_rate_at,
    stratified_timesteps,
    train,
)

CPU = torch.device("cpu")
TINY = ModelConfig(block_out_channels=(8, 16), norm_num_groups=4, mid_attention=False, dropout=0.1)
STEPS = TrainConfig(n_steps=60, batch_size=4, learning_rate=1e-3, n_warmup_steps=3, random_flip=True)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (10, 3, 8, 8), dtype=np.uint8)


class KilledError(Exception):
    """Stands for SIGKILL inside a step."""


class Mortal:
    """A family whose training dies at a given prediction."""

    def __init__(self, family, dies_at):
        self._family, self._left = family, dies_at

    def __getattr__(self, name):
        return getattr(self._family, name)

    def predict(self, *arguments):
        self._left -= 1
        if self._left < 0:
            raise KilledError
        return self._family.predict(*arguments)


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same_bits(first, second):
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_killed_training_goes_on_and_ends_in_the_same_bits(images, tmp_path):
    family = family_of(TINY, (3, 8, 8))
    inputs = family.encode(images)
    whole = train(Denoising(family), family.initialise(1), inputs, STEPS, seed=5, device=CPU)
    keeping = Checkpointing(tmp_path / "state.safetensors", every_n_steps=10)
    n_predictions = 0
    for dies_at in (31, 27):  # after step 31; then 27 steps later, wherever it went on
        dying = Denoising(Mortal(family, dies_at))
        with pytest.raises(KilledError):
            train(dying, family.initialise(1), inputs, STEPS, seed=5, device=CPU, checkpointing=keeping)
        n_predictions += dies_at
    counting = Mortal(family, 60)
    resumed = train(Denoising(counting), family.initialise(1), inputs, STEPS, seed=5, device=CPU, checkpointing=keeping)
    assert 60 - counting._left < 20, "it started again instead of going on"
    assert_same_bits(weights(whole.model), weights(resumed.model))
    assert whole.losses == resumed.losses
    assert len(whole.losses) == 3


def test_a_damaged_state_is_named_and_training_starts_again(images, tmp_path, caplog):
    family = family_of(TINY, (3, 8, 8))
    inputs, few = family.encode(images), TrainConfig(n_steps=5, batch_size=4)
    (tmp_path / "state.safetensors").write_bytes(b"not a checkpoint")
    keeping = Checkpointing(tmp_path / "state.safetensors", every_n_steps=10)
    damaged = train(Denoising(family), family.initialise(1), inputs, few, seed=5, device=CPU, checkpointing=keeping)
    whole = train(Denoising(family), family.initialise(1), inputs, few, seed=5, device=CPU)
    assert "cannot be read" in caplog.text
    assert_same_bits(weights(damaged.model), weights(whole.model))


def test_global_generators_neither_matter_nor_change(images):
    family = family_of(TINY, (3, 8, 8))
    few = TrainConfig(n_steps=3, batch_size=4)
    results = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        before = torch.get_rng_state()
        results.append(
            weights(
                train(Denoising(family), family.initialise(7), family.encode(images), few, seed=5, device=CPU).model
            )
        )
        assert torch.equal(before, torch.get_rng_state())
    assert_same_bits(*results)


def test_training_lowers_the_loss(images):
    family = family_of(TINY.model_copy(update={"dropout": 0.0}), (3, 8, 8))
    config = TrainConfig(n_steps=150, batch_size=10, learning_rate=3e-3, ema_decay=0.9)
    result = train(Denoising(family), family.initialise(0), family.encode(images[:1]), config, seed=0, device=CPU)
    assert result.losses[-1] < 0.5 * result.losses[0]
    assert not result.model.training


def test_the_average_starts_afresh():
    """Guide to the method, B4: a carried-over counter would keep 42 to 80 % of the start weights."""
    from groupshap.diffusion.ema import fresh_average

    parameter = torch.nn.Parameter(torch.full((1,), 100.0, dtype=torch.float64))
    average = fresh_average([parameter], 0.25)
    expected = 100.0
    for step, decay in enumerate([0.0, 2 / 11, 3 / 12, 0.25, 0.25], start=1):
        parameter.data.fill_(float(step))
        average.step([parameter])
        expected = decay * expected + (1 - decay) * step
        assert average.shadow_params[0].item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_loss_is_zero_for_the_perfect_prediction(prediction):
    config = TINY.model_copy(update={"prediction": prediction})
    family = family_of(config, (3, 8, 8))
    levels = family.noise.alphas_cumprod
    clean, noise = torch.randn(6, 3, 8, 8), torch.randn(6, 3, 8, 8)
    timesteps = torch.tensor([0, 10, 200, 500, 800, 999])
    scale = levels[timesteps].reshape(-1, 1, 1, 1).sqrt()
    velocity = scale * noise - (1 - scale**2).sqrt() * clean
    target = noise if prediction == "epsilon" else velocity

    class Oracle(Mortal):
        def predict(self, model, noisy, timesteps, conditions):
            torch.testing.assert_close(noisy, family.noise.add_noise(clean, noise, timesteps))
            return target

    loss = denoising_loss(Oracle(family, 1), torch.nn.Identity(), Encoded(clean), noise, timesteps, levels)
    assert loss.item() < 1e-10


def test_every_image_is_used_once_before_one_is_used_twice():
    rows = torch.cat([batch_rows(10, 4, step, seed=3) for step in range(10)])
    for epoch in range(4):
        assert sorted(rows[10 * epoch : 10 * epoch + 10].tolist()) == list(range(10))
    assert len(batch_rows(2, 7, 0, seed=3)) == 7


def test_timesteps_fill_the_range_evenly():
    drawn = stratified_timesteps(8, 1000, torch.Generator().manual_seed(0))
    assert (drawn // 125).tolist() == list(range(8))


def test_antithetic_timesteps_come_in_pairs():
    drawn = antithetic_timesteps(6, 1000, torch.Generator().manual_seed(0))
    assert (drawn[:2] + drawn[4:]).tolist() == [999, 999]
    assert len(antithetic_timesteps(7, 1000, torch.Generator().manual_seed(0))) == 7


def test_learning_rate_warms_up_and_ends_at_the_actual_number_of_steps():
    config = TrainConfig(n_steps=100, n_warmup_steps=9, learning_rate=1.0)
    rates = [learning_rate_at(step, config) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == 1.0
    assert max(rates) == 1.0
    assert rates[-1] < 1e-3
    assert learning_rate_at(99, config.model_copy(update={"schedule": "constant"})) == 1.0


def test_bad_settings_are_refused_before_training(images):
    with pytest.raises(ValidationError, match="must be below `n_steps`"):
        TrainConfig(n_steps=10, n_warmup_steps=10)
    with pytest.raises(ValidationError, match="multiples of norm_num_groups"):
        ModelConfig(block_out_channels=(10,), norm_num_groups=8)
    with pytest.raises(ValueError, match="multiple of 4, got 6 x 6"):
        family_of(ModelConfig(block_out_channels=(8, 8, 8)), (3, 6, 6))
    family = family_of(TINY, (3, 8, 8))
    with pytest.raises(ValueError, match="at least one image"):
        train(Denoising(family), family.initialise(0), family.encode(images[:0]), STEPS, seed=0, device=CPU)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no CUDA device"):
            resolve_device("cuda")


def test_divergence_is_named(images):
    family = family_of(TINY, (3, 8, 8))
    inputs = Encoded(family.encode(images).clean * math.inf)
    with pytest.raises(DivergedError, match="loss is nan by step 25"):
        train(Denoising(family), family.initialise(0), inputs, STEPS, seed=0, device=CPU)


def test_channels_last_changes_the_last_digits_and_nothing_else(images):
    family = family_of(TINY, (3, 8, 8))
    inputs = family.encode(images)
    few = TrainConfig(n_steps=3, batch_size=4)
    plain, other = (
        train(Denoising(family), family.initialise(1), inputs, config, seed=5, device=CPU)
        for config in (few, few.model_copy(update={"channels_last": True}))
    )
    assert other.losses == pytest.approx(plain.losses, rel=1e-4)
    assert other.model.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
