"""Before anything runs: every environment of the project goes together, and what does not is said in one message."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from kedro.config import OmegaConfigLoader

from groupshap.preflight import ParameterProblems, check_parameters, check_prompts
from groupshap.settings import CONFIG_LOADER_ARGS
from groupshap.tasks.config import PropertyEvalConfig

CONF = Path(__file__).resolve().parents[1] / "conf"
ENVIRONMENTS = sorted(path.parent.name for path in CONF.glob("*/parameters*.yml"))


def parameters(environment="base", **changes):
    loader = OmegaConfigLoader(str(CONF), **{**CONFIG_LOADER_ARGS, "default_run_env": environment})
    merged = loader["parameters"]
    for path, value in changes.items():
        *sections, key = path.split("__")
        section = merged
        for name in sections:
            section = section[name]
        section[key] = value
    return merged


@pytest.mark.parametrize("environment", sorted(set(ENVIRONMENTS)))
def test_the_parameters_of_every_environment_go_together(environment):
    """Files that only a user can bring are missing here, and nothing else is wrong."""
    found: list[str] = []
    try:
        check_parameters(parameters(environment, device="cpu"))
    except ParameterProblems as error:
        found = error.problems
    assert [problem for problem in found if "/data/01_raw/" not in problem] == []


def problems(environment="base", **changes):
    with pytest.raises(ParameterProblems) as error:
        check_parameters(parameters(environment, **changes))
    return error.value.problems


def test_images_must_fit_latents_and_the_network_on_them():
    (problem,) = problems("rehearse_latent", data_grouping__image_size=18)
    assert "expected a multiple of 4" in problem
    assert "2 times smaller" in problem


def test_a_pretrained_pipeline_that_is_here_is_read_first(tmp_path):
    network = UNet2DModel(
        sample_size=16, block_out_channels=(8, 8), norm_num_groups=4, add_attention=False, layers_per_block=1,
        down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2,
    )  # fmt: skip
    DDPMPipeline(network, DDPMScheduler()).save_pretrained(tmp_path)
    here = {"base_training__pretrained": str(tmp_path)}
    check_parameters(parameters(**here))
    assert "is for images of 3 channels and 16 pixels" in problems(data_grouping__image_size=32, **here)[0]
    (tmp_path / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    assert "holds no weights" in problems(**here)[0]


def test_prompts_are_for_families_that_take_them():
    assert "families with prompts" in problems(property_eval__prompts=["a face"])[0]
    assert "families with prompts" in problems(property_eval__sampler__guidance_scale=7.5)[0]


def test_adapters_need_a_base_prompts_and_magnitudes(tmp_path):
    text = "rehearse_text_lora"
    wrong = {"data_grouping__prompt": None, "base_training__pretrained": None, "pruning__criterion": "taylor"}
    found = problems(text, **wrong, subset_finetune__recipe="lora", property_eval__prompts=None)
    assert [problem.split("`")[1] for problem in found if "`" in problem] == [
        "property_eval.prompts", "base_training.pretrained", "data_grouping.prompt", "pruning.criterion",
        "subset_finetune.recipe",
    ]  # fmt: skip
    (problem,) = problems(text, base_training__pretrained=str(tmp_path))
    assert "is no text-to-image pipeline that can be used: `unet/config.json` is missing" in problem
    measuring = PropertyEvalConfig(**parameters(text)["property_eval"])
    with pytest.raises(ParameterProblems, match=r"has \['objects emoji'.*expects some of \['people-body emoji'\]"):
        check_prompts(pd.DataFrame({"prompt": ["people-body emoji"]}), measuring)
