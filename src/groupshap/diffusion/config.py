"""Settings of models, training and sampling. Imports no torch, because every ``kedro`` command imports it."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["AutoencoderConfig", "Device", "ModelConfig", "SamplerConfig", "TrainConfig"]

Device = Literal["auto", "cpu", "cuda"]
"""Where tensors live; ``auto``: a CUDA device if there is one."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ModelConfig(_Frozen):
    """Architecture and noise process of one family; with the image shape it rebuilds the network."""

    family: Literal["ddpm", "latent", "text_lora"] = Field(
        default="ddpm",
        description="ddpm: a UNet2DModel on pixels; latent: one on the latents of a frozen autoencoder, see "
        "`base_training.autoencoder` (Rombach et al. 2022); text_lora: adapters on a frozen text-to-image model, whose "
        "folder `base_training.pretrained` names; only `adapter_rank` and `base_dtype` count then.",
    )
    block_out_channels: tuple[int, ...] = Field(
        default=(32, 64), min_length=1, max_length=8, description="Channels per level; each level halves the side."
    )
    layers_per_block: int = Field(default=1, ge=1, le=8, description="Residual blocks per level.")
    attention_levels: tuple[int, ...] = Field(
        default=(), description="Levels (0 is the outermost) with self-attention; the mid block is `mid_attention`."
    )
    mid_attention: bool = Field(default=True, description="Self-attention in the mid block.")
    attention_head_dim: int | None = Field(default=8, ge=1, description="Channels per head; None: one head.")
    norm_num_groups: int = Field(default=8, ge=1, description="Groups of every GroupNorm; divides all channels.")
    dropout: float = Field(default=0.0, ge=0, lt=1)
    prediction: Literal["epsilon", "v_prediction"] = Field(
        default="v_prediction", description="What the network predicts; v is stable at the noisiest step."
    )
    noise_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = "squaredcos_cap_v2"
    beta_start: float = Field(default=1e-4, gt=0, lt=1, description="linear and scaled_linear only.")
    beta_end: float = Field(default=0.02, gt=0, lt=1, description="linear and scaled_linear only.")
    n_noise_levels: int = Field(default=1000, ge=2, le=100_000, description="T of the noise process.")
    latent_scale: float | None = Field(
        default=None,
        gt=0,
        description="latent only: latents are multiplied by it; None: by the autoencoder's own `scaling_factor`.",
    )
    clip_sample: bool | None = Field(
        default=None, description="Whether solvers clip clean samples to [-1, 1]; None: pixels yes, latents no."
    )
    unet: dict[str, Any] | None = Field(
        default=None,
        description="Exact diffusers config of the U-Net, taken over from `base_training.pretrained`; None: built from "
        "the settings above.",
    )
    adapter_rank: int = Field(default=8, ge=1, le=4096, description="text_lora: rank of every adapter.")
    base_dtype: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32",
        description="text_lora: numbers of the frozen U-Net; the adapters stay float32. The short ones are for cuda; "
        "float16 can underflow in training, because gradients are not scaled.",
    )

    @model_validator(mode="after")
    def _levels_and_groups_fit(self) -> Self:
        if self.beta_start > self.beta_end:
            raise ValueError(f"`beta_start` ({self.beta_start}) must not exceed `beta_end` ({self.beta_end}).")
        wrong = [n for n in self.block_out_channels if n < 1 or n % self.norm_num_groups]
        if wrong:
            raise ValueError(
                f"`block_out_channels` must be multiples of norm_num_groups = {self.norm_num_groups}, got {wrong}."
            )
        beyond = [level for level in self.attention_levels if not 0 <= level < len(self.block_out_channels)]
        if beyond:
            raise ValueError(f"`attention_levels` must lie in 0..{len(self.block_out_channels) - 1}, got {beyond}.")
        return self

    @model_validator(mode="after")
    def _noise_can_be_predicted_to_the_end(self) -> Self:
        # At its last level this schedule leaves 2e-9 of the signal: only a clip makes dividing by it harmless.
        clips = self.family != "latent" if self.clip_sample is None else self.clip_sample
        if self.prediction == "epsilon" and self.noise_schedule == "squaredcos_cap_v2" and not clips:
            raise ValueError(
                "`prediction` epsilon with `noise_schedule` squaredcos_cap_v2 explodes at the noisiest step where "
                "samples are not clipped, as latents are not: use v_prediction, or scaled_linear."
            )
        return self

    @property
    def encodes_once(self) -> bool:
        """Whether encoding takes a network, so that a run does it once for all its trainings."""
        return self.family != "ddpm"

    @property
    def takes_prompts(self) -> bool:
        """Whether images are generated for prompts; other families refuse prompts and guidance."""
        return self.family == "text_lora"

    @property
    def side_multiple(self) -> int:
        """The side of the images must be a multiple of this number of pixels."""
        return 2 ** (len(self.block_out_channels) - 1)


class TrainConfig(_Frozen):
    """One training call: base training, recovery, subset fine-tuning or retraining. Counted in steps, never epochs."""

    n_steps: int = Field(default=1000, ge=1, le=100_000_000, description="Optimiser steps, whatever the data's size.")
    batch_size: int = Field(default=64, ge=1, le=1_000_000)
    learning_rate: float = Field(default=2e-3, gt=0, le=1, description="Peak learning rate of AdamW.")
    schedule: Literal["cosine", "constant"] = Field(
        default="cosine", description="After the warm-up; cosine falls to 0 at the last of the actual steps."
    )
    n_warmup_steps: int = Field(default=0, ge=0, description="Linear rise; must be shorter than the training.")
    weight_decay: float = Field(default=0.0, ge=0, le=1)
    max_gradient_norm: float = Field(default=1.0, gt=0, description="Gradients are clipped to this 2-norm.")
    ema_decay: float = Field(
        default=0.999, ge=0, lt=1, description="Cap of the decay; steps 1, 2, 3, ... use 0, 2/11, 3/12, ... up to it."
    )
    ema_step_offset: int = Field(
        default=0,
        ge=0,
        description="Steps that the average counts as done before its first one. The paper's code carries its counter "
        "over, so that much of the start model stays in the average; 0 starts afresh.",
    )
    timesteps: Literal["stratified", "antithetic", "uniform"] = Field(
        default="stratified",
        description="Of a batch: one in each of equal parts of the range; t together with T - 1 - t (the paper's "
        "code); or independent ones.",
    )
    random_flip: bool = Field(
        default=False,
        description="Mirror images left to right with probability 1/2. Latents are mirrored themselves, which is close "
        "to, and not the same as, encoding a mirrored image.",
    )
    mixed_precision: Literal["no", "bf16"] = Field(default="no", description="bf16: autocast; weights stay float32.")
    channels_last: bool = Field(
        default=False,
        description="Memory order of convolutions. Rounds differently; no gain on small networks.",
    )
    compile: bool = Field(
        default=False,
        description="torch.compile. Rounds differently, needs a C++ compiler, and takes minutes before the first step: "
        "for long trainings of large networks only.",
    )

    @model_validator(mode="after")
    def _warmup_fits(self) -> Self:
        if self.n_warmup_steps >= self.n_steps:
            raise ValueError(
                f"`n_warmup_steps` ({self.n_warmup_steps}) must be below `n_steps` ({self.n_steps}), or the peak "
                "learning rate is never reached."
            )
        return self


class AutoencoderConfig(_Frozen):
    """The frozen autoencoder of family ``latent``: a pretrained one, or a small AutoencoderKL trained first."""

    pretrained: str | None = Field(
        default=None,
        min_length=1,
        description="A folder (or a hub id, owner/name or owner/name@revision) with an AutoencoderKL or VQModel as "
        "diffusers writes it, or a pipeline with one in it; None: one is trained, with the settings below.",
    )
    block_out_channels: tuple[int, ...] = Field(
        default=(32, 64),
        min_length=1,
        max_length=6,
        description="Channels per level; each but the last halves the side.",
    )
    layers_per_block: int = Field(default=1, ge=1, le=4)
    latent_channels: int = Field(default=4, ge=1, le=64)
    norm_num_groups: int = Field(default=8, ge=1, description="Groups of every GroupNorm; divides all channels.")
    mid_attention: bool = Field(default=False, description="Self-attention at the latents' resolution.")
    kl_weight: float = Field(
        default=1e-6,
        ge=0,
        le=1,
        description="Weight of the KL divergence per latent number, beside the mean squared error.",
    )
    train: TrainConfig = TrainConfig(n_steps=1000, batch_size=32)

    @model_validator(mode="after")
    def _groups_fit(self) -> Self:
        wrong = [n for n in self.block_out_channels if n < 1 or n % self.norm_num_groups]
        if wrong:
            raise ValueError(
                f"`block_out_channels` must be multiples of norm_num_groups = {self.norm_num_groups}, got {wrong}."
            )
        return self

    @property
    def downscale(self) -> int:
        """How many pixels one latent is wide, of an autoencoder that is trained."""
        return 2 ** (len(self.block_out_channels) - 1)


class SamplerConfig(_Frozen):
    """How images are generated from a model: deterministic solvers only, so an image is a function of its seed."""

    solver: Literal["ddim", "dpm_solver", "unipc"] = Field(
        default="ddim",
        description="ddim: DDIM with eta 0, as diffusers and the paper's code have it: where samples are clipped, each "
        "step pulls a little, and many end elsewhere than the others; dpm_solver: DPM-Solver++ of second order; "
        "unipc: UniPC of second order, a predictor whose step is corrected by the next evaluation (Zhao et al. 2023).",
    )
    n_steps: int = Field(default=10, ge=1, le=1000, description="Network evaluations per image.")
    timestep_spacing: Literal["trailing", "leading"] = Field(
        default="trailing",
        description="trailing: steps start at the noisiest level (Lin et al. 2024); leading: below it, as in older "
        "pipelines and the paper's code.",
    )
    batch_size: int = Field(
        default=64, ge=1, le=100_000, description="Speed and memory; the last bit of a pixel, rarely."
    )
    channels_last: bool = Field(default=False, description="As in training.")
    guidance_scale: float = Field(
        default=1.0, ge=0, le=100, description="Families with prompts only: 1 is none (Ho & Salimans 2021)."
    )
