"""Settings of a small text-to-image model of one's own. Imports no torch."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from groupshap.diffusion.config import AutoencoderConfig, TrainConfig

__all__ = ["FoundationConfig", "TextModelConfig"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TextModelConfig(_Frozen):
    """Networks of a text-to-image model: a CLIPTextModel with its vocabulary, and a UNet2DConditionModel on latents."""

    n_merges: int = Field(
        default=400, ge=0, le=50_000, description="Tokens beside the 512 single bytes, learnt from the prompts."
    )
    n_tokens: int = Field(default=16, ge=3, le=77, description="Length of every encoded prompt; longer ones are cut.")
    text_width: int = Field(default=64, ge=8, le=1024, description="Of the text embeddings; a multiple of the heads.")
    text_n_layers: int = Field(default=2, ge=1, le=24)
    text_n_heads: int = Field(default=4, ge=1, le=16)
    block_out_channels: tuple[int, ...] = Field(
        default=(32, 64),
        min_length=1,
        max_length=4,
        description="U-Net: channels per level; all levels have attention.",
    )
    layers_per_block: int = Field(default=1, ge=1, le=4)
    n_heads: int = Field(default=4, ge=1, description="Attention heads at every level of the U-Net.")
    norm_num_groups: int = Field(default=8, ge=1, description="Groups of every GroupNorm; divides all channels.")
    prompt_dropout: float = Field(
        default=0.1, ge=0, lt=1, description="Share of prompts replaced by the empty one in training, for guidance."
    )

    @model_validator(mode="after")
    def _heads_and_groups_divide(self) -> Self:
        if self.text_width % self.text_n_heads:
            raise ValueError(f"`text_width` ({self.text_width}) must be a multiple of {self.text_n_heads} heads.")
        wrong = [n for n in self.block_out_channels if n < 1 or n % self.norm_num_groups or n % self.n_heads]
        if wrong:
            raise ValueError(
                f"`block_out_channels` must be multiples of norm_num_groups = {self.norm_num_groups} and of n_heads = "
                f"{self.n_heads}, got {wrong}."
            )
        return self


class FoundationConfig(_Frozen):
    """Parameters of the pipeline ``foundation``: a text-to-image model of everybody else's images."""

    autoencoder: AutoencoderConfig = AutoencoderConfig()
    model: TextModelConfig = TextModelConfig()
    train: TrainConfig = TrainConfig(n_steps=2000, batch_size=32)
    n_threads: int = Field(default=2, ge=1, le=1024, description="Threads of its training (CPU).")
    checkpoint_every_n_steps: int = Field(
        default=100, ge=1, description="Steps a kill can cost, rounded up to a multiple of 25; changes no number."
    )
