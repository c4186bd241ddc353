"""Generation: exact for a known distribution; an image depends on its seed and model alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from groupshap.diffusion.base import family_of
from groupshap.diffusion.config import ModelConfig, SamplerConfig
from groupshap.diffusion.grid import draw_grid
from groupshap.diffusion.sampler import DPMSolver, NotFiniteError, UniPC, noise_of, sample, sample_all

CPU = torch.device("cpu")
TINY = ModelConfig(block_out_channels=(8, 16), norm_num_groups=4)


class OneImage:
    """A family that knows the only image of its data set, so its optimal prediction is known; here plus an error."""

    def __init__(self, prediction, image, error=0.0):
        self._error = error * torch.randn((1, 3, 8, 8), generator=torch.Generator().manual_seed(0))
        self._family = family_of(TINY.model_copy(update={"prediction": prediction}), (3, 8, 8))
        self._image = self._family.encode(image).clean

    def __getattr__(self, name):
        return getattr(self._family, name)

    def predict(self, model, noisy, timesteps, conditions, guidance_scale):
        level = self._family.noise.alphas_cumprod[timesteps].reshape(-1, 1, 1, 1)
        noise = (noisy - level.sqrt() * self._image) / (1 - level).sqrt()
        if self._family.noise.config.prediction_type == "epsilon":
            return noise + self._error
        return level.sqrt() * noise - (1 - level).sqrt() * self._image + self._error


@pytest.mark.parametrize("spacing", ["trailing", "leading"])
@pytest.mark.parametrize("solver", ["ddim", "dpm_solver", "unipc"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_a_perfect_model_of_one_image_generates_it(solver, prediction, spacing):
    image = np.random.default_rng(0).integers(0, 256, (1, 3, 8, 8), dtype=np.uint8)
    family = OneImage(prediction, image)
    made = sample_all(
        family,
        torch.nn.Identity(),
        [1, 2, 3],
        SamplerConfig(solver=solver, n_steps=12, timestep_spacing=spacing),
        device=CPU,
    )
    assert made.dtype == np.uint8
    assert np.abs(made.astype(int) - image).max() <= 2


@pytest.mark.parametrize("solver", ["ddim", "dpm_solver", "unipc"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_a_small_error_of_the_prediction_stays_small(solver, prediction):
    image = np.random.default_rng(0).integers(0, 256, (1, 3, 8, 8), dtype=np.uint8)
    family = OneImage(prediction, image, error=0.02)
    made = sample_all(family, torch.nn.Identity(), [1, 2, 3], SamplerConfig(solver=solver, n_steps=10), device=CPU)
    assert np.sqrt(np.mean((made.astype(float) - image) ** 2)) < 25


@pytest.mark.parametrize("solver", [DPMSolver, UniPC])
def test_clipping_gives_the_bits_of_thresholding_at_one(solver):
    config = {"thresholding": True, "sample_max_value": 1.0, "num_train_timesteps": 1000}
    clipping, thresholding = solver(**config), solver.__mro__[2](**config)
    noisy, output = 3 * torch.randn(2, 20, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for scheduler in (clipping, thresholding):
        scheduler.set_timesteps(5)
    for timestep in clipping.timesteps:
        steps = [scheduler.step(output, timestep, noisy).prev_sample for scheduler in (clipping, thresholding)]
        assert torch.equal(*steps)
        noisy = steps[0]


def test_images_that_are_not_finite_are_refused():
    family = family_of(TINY, (3, 8, 8))
    model = family.initialise(0)
    model.conv_out.bias.data.fill_(float("nan"))
    with pytest.raises(NotFiniteError):
        sample_all(family, model, [1], SamplerConfig(n_steps=1), device=CPU)


@pytest.mark.parametrize("solver", ["ddim", "dpm_solver", "unipc"])
def test_an_image_depends_on_its_seed_and_not_on_its_batch(solver):
    torch.set_num_threads(1)
    family = family_of(TINY, (3, 8, 8))
    model = family.initialise(0)
    seeds = list(range(100, 123))
    one, many = (
        sample_all(family, model, seeds, SamplerConfig(solver=solver, n_steps=4, batch_size=size), device=CPU)
        for size in (5, 64)
    )
    assert np.array_equal(one, many)
    alone = sample_all(family, model, [seeds[7]], SamplerConfig(solver=solver, n_steps=4), device=CPU)
    assert np.array_equal(alone[0], many[7])
    assert len({image.tobytes() for image in many}) == len(many)


class Told:
    """A family that draws what it is told: images of one grey level, the number in the prompt."""

    def __init__(self):
        self._family = family_of(TINY, (3, 8, 8))

    def __getattr__(self, name):
        return getattr(self._family, name)

    def conditions_for(self, prompts):
        return torch.tensor([float(prompt) / 127.5 - 1 for prompt in prompts])

    def predict(self, model, noisy, timesteps, conditions, guidance_scale):
        level = self._family.noise.alphas_cumprod[timesteps].reshape(-1, 1, 1, 1)
        clean = (guidance_scale * conditions).reshape(-1, 1, 1, 1)
        noise = (noisy - level.sqrt() * clean) / (1 - level).sqrt()
        return level.sqrt() * noise - (1 - level).sqrt() * clean


def test_every_image_is_drawn_for_its_own_prompt():
    prompts = [str(10 * number) for number in range(20)]
    sampler = SamplerConfig(n_steps=4, batch_size=3)
    made = sample_all(Told(), torch.nn.Identity(), range(20), sampler, device=CPU, prompts=prompts)
    assert made.mean(axis=(1, 2, 3)) == pytest.approx([float(prompt) for prompt in prompts], abs=1)
    guided = sampler.model_copy(update={"guidance_scale": 0.0})
    assert sample_all(Told(), torch.nn.Identity(), range(2), guided, device=CPU, prompts=["0", "1"]).mean() > 126


def test_batches_come_as_they_are_done():
    family = family_of(TINY, (1, 8, 8))
    batches = sample(family, family.initialise(0), range(7), SamplerConfig(n_steps=1, batch_size=3), device=CPU)
    assert [batch.shape for batch in batches] == [(3, 1, 8, 8), (3, 1, 8, 8), (1, 1, 8, 8)]


def test_noise_is_standard_normal_and_addressed():
    noise = noise_of(range(2000), (1, 4, 4))
    assert abs(noise.mean()) < 0.02
    assert abs(noise.std() - 1) < 0.02
    assert torch.equal(noise[5:6], noise_of([5], (1, 4, 4)))


@pytest.mark.parametrize("channels", [1, 3])
def test_grid_shows_every_image_once(channels):
    images = np.random.default_rng(0).integers(0, 256, (7, channels, 4, 4), dtype=np.uint8)
    figure = draw_grid(images, "seven", n_columns=3)
    sheet = figure.axes[0].images[0].get_array()
    assert sheet.shape[:2] == (3 * 5, 3 * 5)
    first = sheet[:4, :4] if channels == 1 else sheet[:4, :4].transpose(2, 0, 1)
    assert np.array_equal(first.reshape(channels, 4, 4), images[0])
