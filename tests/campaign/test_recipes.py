"""Every recipe of a coalition's model, on a tiny real U-Net."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from groupshap.campaign.coalitions import finetune, plan_table
from groupshap.campaign.held_out import TooManyCoalitionsError, draw_held_out, paired_plan
from groupshap.campaign.models import prune, train_base
from groupshap.campaign.recipes import StartModels
from groupshap.campaign.residual import START, measure_residual
from groupshap.campaign.shared import Campaign
from groupshap.campaign.start import make_start
from groupshap.diffusion.base import Encoded
from groupshap.diffusion.config import ModelConfig, TrainConfig
from groupshap.diffusion.influence import NewtonStep, remove_influence
from groupshap.engines.base import EngineConfig
from groupshap.games import coalitions_from_members
from groupshap.image_pack import ImagePack, load_pack, save_pack
from groupshap.model_file import load_model
from groupshap.store import FileRef, Store
from groupshap.tasks.config import (
    BaseTrainingConfig,
    CoalitionTraining,
    InfluenceConfig,
    PruningStageConfig,
    ValidationConfig,
)

MODEL = ModelConfig(block_out_channels=(8, 16), norm_num_groups=4, mid_attention=False)
CONTRIBUTORS = pd.DataFrame({"player": range(3), "contributor": ["dark", "light", "mid"], "n_images": [8, 8, 16]})
TRAIN = TrainConfig(n_steps=40, batch_size=8, learning_rate=3e-3)
RECIPES = ("sparsified", "dense", "lora", "retrain", "gradient_ascent", "influence")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Three contributors whose images are dark, light and in between; a base model that knows all three."""
    folder = tmp_path_factory.mktemp("recipes")
    players = np.repeat([0, 1, 2], [8, 8, 16])
    levels = np.array([20, 235, 128])[players]
    noise = np.random.default_rng(0).integers(-15, 16, (32, 1, 8, 8))
    save_pack(folder / "images.safetensors", ImagePack((levels[:, None, None, None] + noise).astype(np.uint8), players))
    campaign = Campaign(FileRef.of(folder / "images.safetensors"), 0, "cpu", EngineConfig(kind="inline"))
    base_config = BaseTrainingConfig(model=MODEL, train=TRAIN.model_copy(update={"n_steps": 150}), n_threads=1)
    begin = make_start(campaign, Store(folder / "base"), folder / "frozen", base_config)
    base = train_base(campaign, Store(folder / "base"), begin, base_config)
    pruned, _ = prune(
        campaign, Store(folder / "pruning"), base, PruningStageConfig(fraction_removed=0.5, recovery=None)
    )
    return {"folder": folder, "campaign": campaign, "start": StartModels(base, pruned)}


def models(project, config, members=((), (0, 1, 2), (0, 2))):
    campaign = project["campaign"]
    masks = coalitions_from_members(members, 3)
    plan = plan_table(masks, CONTRIBUTORS, load_pack(campaign.images.path), "validation")
    return finetune(campaign, Store(project["folder"] / "models"), project["start"], plan, CONTRIBUTORS, config)


def losses(project, manifest, which=0):
    """(model of the coalition without `light`) loss per contributor, and that of the base model."""
    table = measure_residual(
        project["campaign"],
        Store(project["folder"] / "records"),
        project["start"].base,
        {"m": manifest},
        CONTRIBUTORS,
        5,
    )
    wide = table.pivot_table(index="model", columns="contributor", values="loss")
    return wide.loc["m"], wide.loc[START]


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_makes_ordinary_models_that_know_the_excluded_less(project, recipe):
    settings = {"gradient_ascent": {"n_steps": 6, "learning_rate": 1e-3}}.get(recipe, {})
    config = CoalitionTraining(recipe=recipe, train=TRAIN.model_copy(update=settings), lora_rank=2)
    manifest = models(project, config)
    assert set(manifest["recipe"]) == {recipe}
    assert [load_model(path)[1].image_shape for path in manifest["checkpoint"]] == [(1, 8, 8)] * 3
    assert manifest["train_seconds"][0] == 0, "the empty coalition is never trained"
    of_coalition, of_base = losses(project, manifest)
    if recipe in ("gradient_ascent", "influence"):
        assert of_coalition["light"] > of_base["light"], "unlearnt"
        assert manifest["train_seconds"][1] == 0, "nobody is removed from the grand coalition"
        assert FileRef.of(manifest["checkpoint"][1]).sha256 == project["start"].base.sha256
    else:
        assert of_coalition["light"] > of_coalition[["dark", "mid"]].max()
    again = models(project, config)
    pd.testing.assert_frame_equal(manifest, again)


def test_recipes_do_not_share_models_and_parameters_of_other_recipes_do_not_matter(project):
    fingerprints = {
        recipe: models(project, CoalitionTraining(recipe=recipe, train=TRAIN), [()])["models_fingerprint"][0]
        for recipe in RECIPES
    }
    assert len(set(fingerprints.values())) == len(RECIPES)
    other = CoalitionTraining(recipe="dense", train=TRAIN, lora_rank=7, influence=InfluenceConfig(damping=1.0))
    assert models(project, other, [()])["models_fingerprint"][0] == fingerprints["dense"]


def test_replicates_of_retraining_share_their_random_start_within_a_replicate_only(project):
    config = CoalitionTraining(recipe="retrain", train=TRAIN.model_copy(update={"n_steps": 1, "learning_rate": 1e-9}))
    manifest = models(project, config, [(0,), (1,), (0,), (1,)])
    assert manifest["replicate"].tolist() == [0, 0, 1, 1]
    first, second, third, _ = (load_model(path)[0].conv_in.weight for path in manifest["checkpoint"])
    torch.testing.assert_close(first, second, atol=1e-6, rtol=0)
    assert not torch.allclose(first, third, atol=1e-2)


def test_steps_follow_the_share_of_images_where_epochs_are_asked_for(project):
    config = CoalitionTraining(recipe="dense", train=TRAIN, steps="proportional")
    manifest = models(project, config, [(), (0, 1, 2), (0,), (0, 2)])
    assert manifest["n_steps"].tolist() == [0, 40, 10, 30]


def test_the_newton_step_solves_a_quadratic_exactly():
    """On a loss that is quadratic in the weights, a step with the exact curvature lands on the new minimum."""

    class Line(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.level = torch.nn.Parameter(torch.zeros(1))

    class Mean:
        """Objective whose loss is the mean of (level - image)^2 over the batch."""

        def trainable(self, model):
            return [model.level]

        def loss(self, model, batch, generator):
            return (model.level - batch.clean).square().mean()

    kept, removed = Encoded(torch.full((30, 1, 1, 1), 1.0)), Encoded(torch.full((10, 1, 1, 1), 5.0))
    model = Line()
    with torch.no_grad():
        model.level.fill_(2.0)  # the minimum with everybody: (30 * 1 + 10 * 5) / 40
    # Every batch gradient of the kept images is 2 (2 - 1) = 2, so the Fisher matrix is 4; the loss's curvature is 2.
    step = NewtonStep(n_gradients=8, batch_size=5, damping=1e-6, scale=2.0)
    remove_influence(Mean(), model, kept, removed, step, seed=0, device=torch.device("cpu"))
    assert model.level.item() == pytest.approx(2.0 + 2.0 * (10 / 30) * 2 * (2 - 5) / 4, abs=1e-4)
    assert model.level.item() == pytest.approx(1.0, abs=1e-4)


def test_held_out_coalitions_are_distinct_of_one_size_and_replicated(project):
    pack = load_pack(project["campaign"].images.path)
    config = ValidationConfig(fractions=(0.5,), n_coalitions=50, leave_one_out=True, n_replicates=2)
    plan = draw_held_out(CONTRIBUTORS, pack, config, 0)
    first = plan[plan["replicate"] == 0]
    assert first["n_contributors"].tolist() == [1, 1, 1, 0, 3, 2, 2, 2]
    assert not first["coalition_id"].duplicated().any()
    assert plan["task_id"].is_unique
    assert plan["replicate"].tolist() == [0] * 8 + [1] * 8
    paired = paired_plan(plan)
    assert paired["task_id"].tolist() == first["task_id"].tolist()
    assert set(paired["split"]) == {"paired"}


def test_too_many_coalitions_are_refused_before_anything_is_computed(project):
    many = pd.DataFrame({"player": range(16), "contributor": [f"c{i}" for i in range(16)], "n_images": 1})
    pack = ImagePack(np.zeros((16, 1, 8, 8), dtype=np.uint8), np.arange(16))
    with pytest.raises(TooManyCoalitionsError, match=r"2\^16 coalitions .* at most 15"):
        draw_held_out(many, pack, ValidationConfig(every_coalition=True), 0)


def test_a_contributor_whose_images_are_unused_changes_no_model(project):
    pack = load_pack(project["campaign"].images.path)
    file = project["folder"] / "unused.safetensors"
    save_pack(file, ImagePack(pack.images, pack.players, pack.players != 1))
    campaign = replace(project["campaign"], images=FileRef.of(file))
    config = CoalitionTraining(recipe="retrain", train=TRAIN.model_copy(update={"n_steps": 2}))
    manifest = models({**project, "campaign": campaign}, config, [(), (1,), (0, 2), (0, 1, 2)])
    weights = manifest["checkpoint_sha256"].tolist()
    assert weights[0] == weights[1], "alone it is the empty coalition"
    assert weights[2] == weights[3], "with others it adds nothing"
    assert weights[0] != weights[2]


def test_models_from_fresh_weights_have_no_before(project):
    manifest = models(project, CoalitionTraining(recipe="retrain", train=TRAIN.model_copy(update={"n_steps": 2})))
    store = Store(project["folder"] / "records")
    table = measure_residual(project["campaign"], store, None, {"m": manifest}, CONTRIBUTORS, 5)
    assert set(table["model"]) == {"m"}
