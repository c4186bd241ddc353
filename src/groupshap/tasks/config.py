"""Parameters of the pipelines, composed from those of the packages. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, RootModel, model_validator

from groupshap.diffusion.config import Device, ModelConfig, SamplerConfig, TrainConfig
from groupshap.games.sampling import LAWS
from groupshap.properties.config import PropertiesConfig
from groupshap.pruning.config import PruningConfig

__all__ = [
    "REFERENCE",
    "TRAINING_STATE",
    "WEIGHTS",
    "BaseTrainingConfig",
    "DeviceSetting",
    "PropertyEvalConfig",
    "PruningStageConfig",
    "RootSeed",
    "SubsetFinetuneConfig",
]


WEIGHTS = "weights.safetensors"
"""File of a trained model in its task's folder."""
TRAINING_STATE = "training.safetensors"
"""File of an unfinished training in its task's folder."""
REFERENCE = "reference.safetensors"
"""File of what the properties learnt from the data."""


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

    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    n_threads: int = Field(default=2, ge=1, le=1024, description="Threads of base training and recovery (CPU).")
    checkpoint_every_n_steps: int = Field(
        default=100, ge=1, description="Steps a kill can cost, rounded up to a multiple of 25; changes no number."
    )
    n_grid_images: int = Field(default=48, ge=1, le=1024, description="Images in the sample grid.")


class PruningStageConfig(PruningConfig):
    """Parameters of the pipeline ``pruning``: what is removed, and the recovery on all data."""

    recovery: TrainConfig | None = Field(
        default=TrainConfig(n_steps=300), description="Fine-tuning of the pruned model on all data; None: none."
    )


class SubsetFinetuneConfig(_Frozen):
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
    reuse_committed: bool = Field(
        default=False,
        description="Also use finished coalitions that the plan does not name, for example of the plan before a "
        "contributor came; they count towards the budget.",
    )
    law: str = Field(default="uniform_size", description=f"Law of the coalitions' sizes: {', '.join(LAWS)}.")
    train: TrainConfig = TrainConfig(n_steps=80)

    @model_validator(mode="after")
    def _law_is_known(self) -> Self:
        if self.law not in LAWS:
            raise ValueError(f"`law` must be one of {', '.join(LAWS)}, got {self.law!r}.")
        return self

    def round_ends(self, n_players: int) -> list[int]:
        """Plan lengths after each round; the last is the budget."""
        if self.target_relative_error is None:
            return [self.budget]
        batch = self.batch or max(2, n_players)
        # Eight coalitions beside the end points are the least that the default estimator takes.
        first = min(self.budget, max(batch, 10))
        return [*range(first, self.budget, batch), self.budget]


class PropertyEvalConfig(_Frozen):
    """Parameters of the pipeline ``property_eval``: what is generated from each model and what is measured on it."""

    n_images: int = Field(default=256, ge=2, le=10_000_000, description="Images per model, the same noise for all.")
    sampler: SamplerConfig = SamplerConfig()
    properties: PropertiesConfig = PropertiesConfig()
