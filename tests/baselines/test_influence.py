"""Gradients against autograd, the TRAK family against its formulas written out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from groupshap.baselines import projection
from groupshap.baselines.gradients import (
    DenoisingOutputs,
    GradientSettings,
    addressed_noise,
    gradients_of_images,
    image_digests,
)
from groupshap.baselines.influence import das_weights, influence_of
from groupshap.baselines.journey import gradients_of_journeys, journeys
from groupshap.baselines.projection import Projection
from groupshap.diffusion.base import Encoded, family_of
from groupshap.diffusion.config import ModelConfig, SamplerConfig
from groupshap.diffusion.sampler import sample_all
from groupshap.diffusion.training import denoising_loss
from groupshap.seeds import seed_for

CPU = torch.device("cpu")
TINY = ModelConfig(block_out_channels=(4, 8), norm_num_groups=2, mid_attention=True, attention_head_dim=4)
IMAGES = np.random.default_rng(0).integers(0, 256, (9, 3, 8, 8), dtype=np.uint8)
SETTINGS = GradientSettings(
    root_seed=3, projection=Projection(None, 0), n_timesteps=2, n_pairs_at_once=8, memory_bytes=10**8, device=CPU
)


class OneConvolution:
    """A family whose network is one convolution of 84 weights, so that dense formulas are cheap."""

    def __init__(self, prediction="v_prediction"):
        self._family = family_of(TINY.model_copy(update={"prediction": prediction}), (3, 8, 8))

    def __getattr__(self, name):
        return getattr(self._family, name)

    def initialise(self, seed):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return nn.Conv2d(3, 3, 3, padding=1)

    def predict(self, model, noisy, timesteps, conditions=None, guidance_scale=1.0):
        return model(noisy)


class WithPrompts(OneConvolution):
    """The same, louder the longer an image's prompt is."""

    def encode(self, images, prompts=None, *, device=None):
        return Encoded(self._family.encode(images).clean, self.conditions_for(prompts))

    def conditions_for(self, prompts):
        return torch.tensor([len(prompt) for prompt in prompts], dtype=torch.float32)

    def predict(self, model, noisy, timesteps, conditions=None, guidance_scale=1.0):
        return model(noisy) * conditions.reshape(-1, 1, 1, 1)


def unet(prediction="v_prediction"):
    family = family_of(TINY.model_copy(update={"prediction": prediction}), (3, 8, 8))
    return family, family.initialise(1)


def by_autograd(family, model, images, settings, prompts=None):
    """Gradients (n_images, n_parameters) of both outputs, one image and one pair after the other."""
    rows = []
    for row, (image, digest) in enumerate(zip(images, image_digests(images), strict=True)):
        noise = addressed_noise([("image", digest)], (settings.n_timesteps, *family.sample_shape), settings.root_seed)
        encoded = family.encode(image[None], prompts and prompts[row : row + 1])
        clean = encoded.clean
        loss, square = 0.0, 0.0
        for number, timestep in enumerate([250, 750]):
            level = family.noise.alphas_cumprod
            at, own = torch.tensor([timestep]), noise[0, number : number + 1]
            loss = loss + denoising_loss(family, model, encoded, own, at, level) / 2
            noisy = level[timestep].sqrt() * clean + (1 - level[timestep]).sqrt() * own
            out = family.predict(model, noisy, at, encoded.conditions)
            if family.noise.config.prediction_type == "v_prediction":
                out = level[timestep].sqrt() * out + (1 - level[timestep]).sqrt() * noisy
            square = square + out.square().mean() / 2
        rows.append(
            [
                torch.cat([part.flatten() for part in torch.autograd.grad(output, list(model.parameters()))]).numpy()
                for output in (loss, square)
            ]
        )
    return np.array(rows).transpose(1, 0, 2)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_gradients_of_each_image_are_those_of_a_loop_over_autograd(prediction):
    family, model = unet(prediction)
    found = gradients_of_images(family, model, IMAGES, SETTINGS)
    loss, square = by_autograd(family, model, IMAGES, SETTINGS)
    np.testing.assert_allclose(found.loss, loss, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.noise, square, rtol=1e-4, atol=1e-6)
    assert found.losses.shape == (9, 2)


def test_each_image_is_differentiated_under_its_own_prompt():
    family = WithPrompts()
    model, prompts = family.initialise(0), ["a" * n for n in (1, 2, 3, 1, 2, 3, 1, 2, 3)]
    found = gradients_of_images(family, model, IMAGES, replace(SETTINGS, n_pairs_at_once=4), prompts=prompts)
    loss, square = by_autograd(family, model, IMAGES, SETTINGS, prompts)
    np.testing.assert_allclose(found.loss, loss, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.noise, square, rtol=1e-4, atol=1e-6)
    sampler = SamplerConfig(n_steps=2, batch_size=2)
    few = gradients_of_journeys(family, model, 3, sampler, SETTINGS, prompts[:3]).loss
    longer = gradients_of_journeys(family, model, 3, sampler, SETTINGS, ["a", "a", "a"]).loss
    np.testing.assert_allclose(few[0], longer[0], rtol=1e-4)
    assert not np.allclose(few[1:], longer[1:], rtol=1e-2)


@pytest.mark.parametrize("change", [{"n_pairs_at_once": 1}, {"n_pairs_at_once": 64}, {"memory_bytes": 1}])
def test_how_many_images_are_taken_at_once_changes_nothing(change):
    family, model = unet()
    settings = replace(SETTINGS, projection=Projection(16, 0))
    once, again = (gradients_of_images(family, model, IMAGES, s) for s in (settings, replace(settings, **change)))
    for one, other in ((once.loss, again.loss), (once.noise, again.noise), (once.losses, again.losses)):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * np.abs(one).max())


def test_an_image_has_its_gradient_wherever_it_stands():
    family, model = unet()
    order = np.array([4, 4, 0, 8])
    all_of_them, some = (
        gradients_of_images(family, model, images, SETTINGS).loss for images in (IMAGES, IMAGES[order])
    )
    np.testing.assert_allclose(some, all_of_them[order], rtol=1e-4, atol=1e-6)


def test_trak_is_its_dense_formula_on_a_model_of_84_weights():
    family = OneConvolution()
    model = family.initialise(0)
    (phi, _), (made, _) = (by_autograd(family, model, images, SETTINGS) for images in (IMAGES, IMAGES[:3] // 2))
    inverse = np.linalg.inv(phi.T.astype(float) @ phi + 0.1 * np.eye(phi.shape[1]))
    pairs = made @ inverse @ phi.T
    train, generated = (gradients_of_images(family, model, images, SETTINGS) for images in (IMAGES, IMAGES[:3] // 2))
    found = influence_of(train.loss, generated.loss, 0.1)
    np.testing.assert_allclose(found.trak, pairs.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(found.relative, pairs.mean(axis=0) / np.linalg.norm(phi @ inverse, axis=1), rtol=1e-4)
    np.testing.assert_allclose(found.renormalised, pairs.mean(axis=0) / np.linalg.norm(phi, axis=1), rtol=1e-4)


def test_damping_in_mean_eigenvalues_does_not_see_the_unit_of_the_gradients():
    rng = np.random.default_rng(0)
    train, made = rng.standard_normal((30, 6)), rng.standard_normal((4, 6))
    one, other = (influence_of(c * train, c * made, 0.5, "mean_eigenvalue").trak for c in (1, 1000))
    np.testing.assert_allclose(one, other, rtol=1e-9)
    absolute = influence_of(train, made, 0.5 * np.trace(train.T @ train) / 6).trak
    np.testing.assert_allclose(one, absolute, rtol=1e-9)


def test_an_image_without_gradient_has_no_influence_and_bad_gradients_are_refused():
    train = np.array([[1.0, 2.0], [0.0, 0.0], [3.0, 1.0]])
    found = influence_of(train, train, 1.0)
    assert found.trak[1] == found.relative[1] == found.renormalised[1] == 0
    with pytest.raises(ValueError, match=r"finite gradients.*`generated`"):
        influence_of(train, np.full((1, 2), np.nan), 1.0)
    with pytest.raises(ValueError, match="not all zero"):
        influence_of(0 * train, train, 1.0, "mean_eigenvalue")


def test_das_weights_are_mean_normalised_errors():
    losses = np.array([[9.0, 4.0], [16.0, 0.0]])
    np.testing.assert_allclose(das_weights(losses), [(3 / 5 + 1) / 2, (4 / 5 + 0) / 2])


def test_the_projection_is_one_matrix_of_signs_made_in_blocks(monkeypatch):
    monkeypatch.setattr(projection, "_ENTRIES_PER_BLOCK", 40)
    project = Projection(8, seed=5)
    gradients = {"a": torch.eye(21)[:, :12].reshape(21, 3, 4), "b": torch.eye(21)[:, 12:]}
    matrix = project(gradients).numpy() * 8**0.5
    np.testing.assert_allclose(np.abs(matrix), 1, rtol=1e-6)
    assert abs(matrix.mean()) < 0.3
    dense = torch.randn(4, 21, generator=torch.Generator().manual_seed(0))
    split = {"a": dense[:, :12].reshape(4, 3, 4), "b": dense[:, 12:]}
    np.testing.assert_allclose(project(split).numpy(), dense.numpy() @ matrix / 8**0.5, rtol=1e-4, atol=1e-5)
    assert not np.allclose(Projection(8, seed=6)(split).numpy(), project(split).numpy())


def test_inner_products_survive_the_projection():
    vectors = np.random.default_rng(0).standard_normal((20, 5000)).astype(np.float32)
    projected = Projection(1024, seed=0)({"w": torch.from_numpy(vectors)}).numpy()
    relative = projected @ projected.T / 5000 - vectors @ vectors.T / 5000
    assert np.abs(relative).max() < 5 / 1024**0.5


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("solver", ["ddim", "dpm_solver"])
def test_a_journey_ends_at_the_image_that_is_generated(prediction, solver):
    family, model = unet(prediction)
    sampler = SamplerConfig(solver=solver, n_steps=5, batch_size=16)
    found = list(journeys(family, model, 18, sampler, 0, CPU))
    timesteps, ends = found[0][0], torch.cat([end for _, end in found])
    assert ends.shape == (18, 5, 3, 8, 8)
    assert (timesteps.diff() < 0).all()
    images = sample_all(family, model, [seed_for(0, "image", number) for number in range(18)], sampler, device=CPU)
    if solver == "ddim":  # its last step goes to the expected end itself
        assert np.abs(family.decode(ends[:, -1]).astype(int) - images).max() <= 1


def test_the_gradient_of_a_journey_is_the_mean_over_its_points():
    family, model = unet()
    sampler = SamplerConfig(n_steps=3, batch_size=16)
    found = gradients_of_journeys(family, model, 2, sampler, SETTINGS).loss
    timesteps, ends = next(journeys(family, model, 2, sampler, SETTINGS.root_seed, CPU))
    noise = addressed_noise([("journey", 0), ("journey", 1)], ends.shape[1:], SETTINGS.root_seed)
    for number in range(2):
        level = family.noise.alphas_cumprod
        loss = denoising_loss(family, model, Encoded(ends[number]), noise[number], timesteps, level)
        expected = torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(model.parameters()))])
        np.testing.assert_allclose(found[number], expected.numpy(), rtol=1e-4, atol=1e-6)


def test_only_what_the_family_trains_is_differentiated():
    family = OneConvolution()
    family.trainable = lambda model: [model.bias]
    outputs = DenoisingOutputs(family, family.initialise(0), torch.tensor([500]), CPU)
    assert list(outputs.parameters) == ["model.bias"]
