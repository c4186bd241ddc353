"""Parameters of the pipelines, composed from those of the packages. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, RootModel, model_validator

from groupshap.diffusion.config import AutoencoderConfig, Device, ModelConfig, SamplerConfig, TrainConfig
from groupshap.games.sampling import LAWS
from groupshap.properties.config import PropertiesConfig
from groupshap.pruning.config import PruningConfig
from groupshap.validation.config import ValidationScoringConfig

__all__ = [
    "AUTOENCODER_WEIGHTS",
    "ENCODED",
    "REFERENCE",
    "TRAINING_STATE",
    "WEIGHTS",
    "AblationConfig",
    "BaseTrainingConfig",
    "CoalitionTraining",
    "CorrectionConfig",
    "CounterfactualConfig",
    "DeviceSetting",
    "InfluenceConfig",
    "Keep",
    "PlanConfig",
    "PropertyEvalConfig",
    "PruningStageConfig",
    "Recipe",
    "RootSeed",
    "SubsetFinetuneConfig",
    "ValidationConfig",
]


WEIGHTS = "weights.safetensors"
"""File of a trained model in its task's folder."""
TRAINING_STATE = "training.safetensors"
"""File of an unfinished training in its task's folder."""
AUTOENCODER_WEIGHTS = "diffusion_pytorch_model.safetensors"
"""File of a trained autoencoder, called as diffusers expects it."""
ENCODED = "encoded.safetensors"
"""File of the images as the denoiser sees them."""
REFERENCE = "reference.safetensors"
"""File of what the properties learnt from the data."""


_N_LEAST = 10
"""Eight coalitions beside the end points are the least that the default estimator takes."""


class RootSeed(RootModel[Annotated[int, Field(ge=0, lt=2**63)]]):
    """Parameter ``root_seed``: every random draw of training, sampling and estimation descends from it."""

    model_config = ConfigDict(frozen=True)


class DeviceSetting(RootModel[Device]):
    """Parameter ``device``: cpu, cuda or auto."""

    model_config = ConfigDict(frozen=True)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class BaseTrainingConfig(_Frozen):
    """Parameters of the pipeline ``base_training``: the dense model on all data."""

    pretrained: str | None = Field(
        default=None,
        min_length=1,
        description="Start from this unconditional diffusers pipeline (DDPM, DDIM or latent diffusion): a folder, or a "
        "hub id, owner/name or owner/name@revision. Network, noise process and autoencoder come from there; `model` is "
        "then not used, but for `latent_scale`. None: `model` with fresh weights.",
    )
    model: ModelConfig = ModelConfig()
    autoencoder: AutoencoderConfig = Field(default=AutoencoderConfig(), description="Family latent only.")
    train: TrainConfig | None = Field(
        default=TrainConfig(), description="Training on everybody's images; None: `pretrained` is used as it is."
    )
    n_threads: int = Field(default=2, ge=1, le=1024, description="Threads of base training and recovery (CPU).")
    checkpoint_every_n_steps: int = Field(
        default=100, ge=1, description="Steps a kill can cost, rounded up to a multiple of 25; changes no number."
    )
    n_grid_images: int = Field(default=48, ge=1, le=1024, description="Images in the sample grid.")

    @model_validator(mode="after")
    def _somebody_has_trained_it(self) -> Self:
        if self.train is None and self.pretrained is None:
            raise ValueError("`train` is null, but there is no `pretrained` model: expected one of them.")
        if self.model.unet is not None:
            raise ValueError("`model.unet` is taken over from a pretrained pipeline: give `pretrained` instead.")
        return self


class PruningStageConfig(PruningConfig):
    """Parameters of the pipeline ``pruning``: what is removed, and the recovery on all data."""

    recovery: TrainConfig | None = Field(
        default=TrainConfig(n_steps=300), description="Fine-tuning of the pruned model on all data; None: none."
    )


Recipe = Literal["sparsified", "dense", "retrain", "lora", "gradient_ascent", "influence"]
"""How the model of a coalition is made.

``sparsified``: the pruned model, fine-tuned on the coalition's images (the default; Lu et al. 2025). ``dense``: the
base model, fine-tuned the same way. ``lora``: the same through low-rank adapters, merged afterwards. ``retrain``: from
fresh weights, the ground truth. ``gradient_ascent``: the base model, its loss *raised* on everybody else's images.
``influence``: the base model after one Newton step that takes everybody else's images away.
"""


Keep = Literal["weights", "none"]
"""What stays of a coalition's model once it is measured: its weights, or its record alone."""


class InfluenceConfig(_Frozen):
    """The Newton step of recipe ``influence``, see ``groupshap.diffusion.influence``."""

    n_gradients: int = Field(default=64, ge=1, le=4096, description="Batch gradients in the empirical Fisher matrix.")
    damping: float = Field(default=1e-3, gt=0, description="Added to the diagonal of the Fisher matrix.")
    scale: float = Field(default=1.0, gt=0, description="Of the step; 1 is the Newton step itself.")


class CoalitionTraining(_Frozen):
    """How the model behind v(S) is made; shared by every pipeline that makes such models."""

    recipe: Recipe = "sparsified"
    train: TrainConfig = TrainConfig(n_steps=80)
    steps: Literal["same", "proportional"] = Field(
        default="same",
        description="same: n_steps whatever the coalition; proportional: n_steps is for all images, fewer images get "
        "proportionally fewer steps (equal epochs).",
    )
    lora_rank: int = Field(default=4, ge=1, le=1024, description="Recipe lora only.")
    influence: InfluenceConfig = InfluenceConfig()
    keep: Keep = Field(
        default="weights",
        description="none: every job trains, generates and measures in one go, and its weights are deleted once the "
        "measurement is committed; a further property then needs new training. Changes no number.",
    )

    def train_for(self, share_of_images: float) -> TrainConfig:
        """The training of a coalition that owns ``share_of_images`` (0..1) of all images."""
        if self.steps == "same":
            return self.train
        n_steps = max(self.train.n_warmup_steps + 1, round(self.train.n_steps * share_of_images))
        return self.train.model_copy(update={"n_steps": n_steps})

    def mean_n_steps(self) -> float:
        """Steps of a coalition of middle size."""
        return self.train.n_steps if self.steps == "same" else float(self.train_for(0.5).n_steps)


class SubsetFinetuneConfig(CoalitionTraining):
    """Parameters of the pipeline ``subset_finetune``: which coalitions, and how each is trained."""

    budget: int = Field(
        default=48, ge=2, le=10_000_000, description="Evaluations at most, empty and grand coalition included."
    )
    batch: int | None = Field(
        default=None, ge=2, description="Evaluations per round of a growing plan; None: one per contributor."
    )
    target_relative_error: float | None = Field(
        default=None,
        gt=0,
        lt=10,
        description="The plan grows in rounds and stops when, for every property, the largest standard error is below "
        "this share of the range of the values. None: the whole budget is spent in one round.",
    )
    hours: float | None = Field(
        default=None,
        gt=0,
        description="Training, generation and measurement to pay for, in hours summed over all workers. The plan grows "
        "in rounds and stops, resumably, before it would cost more, but not before the least that estimators take.",
    )
    reuse_committed: bool = Field(
        default=False,
        description="Also use finished coalitions that the plan does not name, for example of the plan before a "
        "contributor came; they count towards the budget.",
    )
    law: str = Field(default="uniform_size", description=f"Law of the coalitions' sizes: {', '.join(LAWS)}.")

    @model_validator(mode="after")
    def _law_is_known(self) -> Self:
        if self.law not in LAWS:
            raise ValueError(f"`law` must be one of {', '.join(LAWS)}, got {self.law!r}.")
        return self

    def n_in_round(self, n_players: int) -> int:
        """Evaluations per round of a growing plan."""
        return self.batch or max(2, n_players)

    def n_in_first_round(self, n_players: int) -> int:
        """Evaluations before the first decision; the whole budget where nothing is to be decided."""
        if self.target_relative_error is None and self.hours is None:
            return self.budget
        # Whoever counts hours is not made to pay for a large first round.
        wanted = self.n_in_round(n_players) if self.hours is None else 0
        return min(self.budget, max(wanted, _N_LEAST))


class ValidationConfig(CoalitionTraining):
    """Parameters of the pipeline ``validation``: which coalitions are held out, how the truth about them is made."""

    recipe: Recipe = "retrain"
    fractions: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        default=(0.5,), description="Shares of the contributors in a held-out coalition (alpha of the LDS)."
    )
    n_coalitions: int = Field(default=50, ge=0, le=100_000, description="Held-out coalitions of each share.")
    leave_one_out: bool = Field(
        default=True, description="Also the empty and the grand coalition, and it without each contributor."
    )
    every_coalition: bool = Field(default=False, description="All 2^n coalitions instead; at most 15 contributors.")
    n_replicates: int = Field(default=2, ge=1, le=100, description="Training seeds per coalition.")
    rivals: dict[str, str] = Field(
        default_factory=dict,
        description="Name to the shapley_values.csv of another run on the same contributors, scored beside ours.",
    )
    n_residual_coalitions: int = Field(
        default=12, ge=0, description="Coalitions whose models' losses on everybody's images are measured."
    )
    level: float = Field(default=0.95, gt=0, lt=1, description="Coverage of the intervals.")
    n_bootstrap: int = Field(default=1000, ge=20, le=100_000)
    game: str = Field(default="game", pattern=r"^[a-z0-9_]+$", description="Name of the game in recorded_game.parquet.")

    def scoring(self) -> ValidationScoringConfig:
        """What the scores need to know."""
        return ValidationScoringConfig(n_bootstrap=self.n_bootstrap, level=self.level)


class CorrectionConfig(CoalitionTraining):
    """Parameters of the pipeline ``correction``: a few retrainings that make the values those of the retrained game."""

    recipe: Recipe = "retrain"
    n_retrained: int = Field(
        default=12, ge=6, le=100_000, description="Retrainings at most, empty and grand coalition included."
    )
    adaptive: bool = Field(
        default=False,
        description="false: the first coalitions of the plan are retrained. true: in rounds, whatever lowers the "
        "expected error of the values most per second, a retraining or a further cheap evaluation.",
    )
    batch: int = Field(default=4, ge=1, le=10_000, description="Evaluations per round; adaptive only.")
    property: str | None = Field(
        default=None, description="The property whose error is lowered; None: the first. Adaptive only."
    )
    hours: float | None = Field(
        default=None, gt=0, description="Stop, resumably, when the correction has cost so much work. Adaptive only."
    )


class PlanConfig(_Frozen):
    """Parameters of the pipeline ``plan``: what is said about a run before it is started."""

    throughput_tflops: float = Field(
        default=0.05,
        gt=0,
        description="Floating-point operations per second of one worker in 1e12; used only where nothing like this run "
        "has been timed on this machine.",
    )
    latent_shape: tuple[int, int, int] | None = Field(
        default=None,
        description="(channels, height, width) of the latents of a pretrained autoencoder that is not on this machine.",
    )
    budgets: tuple[Annotated[int, Field(ge=2)], ...] = Field(
        default=(),
        description="Budgets whose interval widths are forecast; none: the budget, half, twice and four times it.",
    )


class CounterfactualConfig(_Frozen):
    """Parameters of the pipeline ``counterfactuals``: whom to remove by which attribution before retraining."""

    attributions: tuple[str, ...] = Field(default=("groupshap", "size"), min_length=1)
    shares: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(default=(0.2, 0.4), min_length=1)
    n_random: int = Field(default=5, ge=2, le=1000, description="Random removals of each share.")
    n_replicates: int = Field(default=3, ge=1, le=100, description="Training seeds per coalition.")


class AblationConfig(_Frozen):
    """Parameters of the pipeline ``ablation``: the grid of settings of the cheap game, and how many coalitions."""

    fractions_removed: tuple[Annotated[float, Field(ge=0, lt=1)], ...] = Field(default=(0.0, 0.3, 0.5), min_length=1)
    n_steps: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(30, 60, 120), min_length=1)
    n_images: tuple[Annotated[int, Field(ge=2)], ...] = Field(default=(64, 256), min_length=1)
    sampler_n_steps: tuple[Annotated[int, Field(ge=1, le=1000)], ...] = Field(default=(5, 10), min_length=1)
    n_coalitions: int = Field(default=32, ge=4, le=100_000, description="Of the validation's, spread over the sizes.")
    measure: Literal["pearson_v", "spearman_v", "pearson_shapley", "spearman_shapley"] = Field(
        default="pearson_v", description="The measure of fidelity that counts."
    )


class PropertyEvalConfig(_Frozen):
    """Parameters of the pipeline ``property_eval``: what is generated from each model and what is measured on it."""

    n_images: int = Field(default=256, ge=2, le=10_000_000, description="Images per model, the same noise for all.")
    sampler: SamplerConfig = SamplerConfig()
    prompts: tuple[Annotated[str, Field(min_length=1)], ...] | None = Field(
        default=None,
        min_length=1,
        description="Families with prompts only: what images are generated for, image after image in turn.",
    )
    properties: PropertiesConfig = PropertiesConfig()
