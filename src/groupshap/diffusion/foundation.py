"""A small text-to-image model trained from scratch, and saved as diffusers saves Stable Diffusion.

It stands in for a published foundation model where none can be fetched: adapters are then trained on it as on any other
(family ``text_lora``). Text encoder and U-Net learn together, on latents of a frozen autoencoder.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from groupshap.diffusion.autoencoder_folder import AutoencoderFolder
from groupshap.diffusion.base import ImageShape
from groupshap.diffusion.foundation_config import TextModelConfig
from groupshap.diffusion.text_parts import Tokens
from groupshap.diffusion.text_to_image import TextToImage

__all__ = ["Foundation", "FoundationNetwork", "save_pipeline"]


class FoundationNetwork(nn.Module):
    """U-Net and text encoder, trained together.

    Args:
        unet: On latents.
        text_encoder: Its hidden states are what the U-Net attends to.
        no_prompt: (1, n_tokens) int64: the empty prompt.
        prompt_dropout: Share of prompts replaced by it in training.
    """

    def __init__(
        self, unet: UNet2DConditionModel, text_encoder: CLIPTextModel, no_prompt: Tensor, prompt_dropout: float
    ) -> None:
        super().__init__()
        self.unet, self.text_encoder, self.prompt_dropout = unet, text_encoder, prompt_dropout
        self.register_buffer("no_prompt", no_prompt, persistent=False)

    def forward(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        """(n, channels, height, width) float32, (n,) int64 and (n, n_tokens) int64 to the prediction.

        Which prompts are dropped is drawn from torch's global CPU generator, which the training loop gives the step's
        address, as it does for every kind of dropout.
        """
        if self.training:
            dropped = (torch.rand(len(tokens), 1) < self.prompt_dropout).to(tokens.device)
            tokens = torch.where(dropped, self.no_prompt, tokens)
        text = self.text_encoder(tokens).last_hidden_state
        return self.unet(noisy, timesteps, text, return_dict=False)[0]


class Foundation(TextToImage):
    """The family that a foundation model is trained as; it is only used from then on through ``text_lora``.

    The noise process is that of our other models: v-prediction, cosine schedule, so that the noisiest step is pure
    noise.

    Args:
        config: Networks.
        image_shape: (channels, height, width).
        autoencoder: Folder of the frozen one.
        sha256: Of that folder.
        tokenizer: Of the prompts.
    """

    def __init__(
        self,
        config: TextModelConfig,
        image_shape: ImageShape,
        autoencoder: AutoencoderFolder,
        sha256: str,
        tokenizer: CLIPTokenizer,
    ) -> None:
        tokens = Tokens(tokenizer, config.n_tokens)
        super().__init__(autoencoder, sha256, tokens, image_shape, len(config.block_out_channels) - 1)
        self._config, self.tokenizer, self.autoencoder = config, tokenizer, autoencoder
        self.noise = DDPMScheduler(
            beta_schedule="squaredcos_cap_v2",
            prediction_type="v_prediction",
            clip_sample=False,
            timestep_spacing="trailing",
            steps_offset=1,  # as Stable Diffusion's; for leading steps only
        )

    def initialise(self, seed: int) -> FoundationNetwork:
        """Random weights; draws from its own generator."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            unet = UNet2DConditionModel(**_unet_arguments(self._config, self.sample_shape))
            text_encoder = CLIPTextModel(_text_config(self._config, self.tokenizer))
        return FoundationNetwork(unet, text_encoder, self._no_prompt, self._config.prompt_dropout).train()

    def _denoised(self, model: FoundationNetwork, noisy: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        return model(noisy, timesteps, tokens)


def _unet_arguments(config: TextModelConfig, sample_shape: ImageShape) -> dict[str, Any]:
    levels = len(config.block_out_channels)
    return {
        "sample_size": sample_shape[1],
        "in_channels": sample_shape[0],
        "out_channels": sample_shape[0],
        "block_out_channels": config.block_out_channels,
        "layers_per_block": config.layers_per_block,
        "down_block_types": ("CrossAttnDownBlock2D",) * levels,
        "up_block_types": ("CrossAttnUpBlock2D",) * levels,
        "cross_attention_dim": config.text_width,
        "attention_head_dim": config.n_heads,  # diffusers' name for the number of heads of this class
        "norm_num_groups": config.norm_num_groups,
    }


def _text_config(config: TextModelConfig, tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.text_width,
        intermediate_size=4 * config.text_width,
        num_hidden_layers=config.text_n_layers,
        num_attention_heads=config.text_n_heads,
        max_position_embeddings=config.n_tokens,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def save_pipeline(folder: Path, network: FoundationNetwork, family: Foundation) -> None:
    """Write all parts into an empty folder; ``StableDiffusionPipeline.from_pretrained`` reads it too."""
    parts = {
        "unet": network.unet,
        "text_encoder": network.text_encoder,
        "tokenizer": family.tokenizer,
        "scheduler": family.noise,
    }
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    shutil.copytree(family.autoencoder.path, folder / "vae", ignore=shutil.ignore_patterns("record.json", ".*"))
    library = {name: [type(part).__module__.partition(".")[0], type(part).__name__] for name, part in parts.items()}
    absent = {name: [None, None] for name in ("safety_checker", "feature_extractor", "image_encoder")}
    index = {"_class_name": "StableDiffusionPipeline", "_diffusers_version": diffusers.__version__}
    index |= {**library, "vae": ["diffusers", family.autoencoder.kind], **absent, "requires_safety_checker": False}
    (folder / "model_index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")
