"""Parameters of the baselines. Imports no torch, because every ``kedro`` command imports it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = ["BaselinesConfig"]


class BaselinesConfig(BaseModel):
    """Parameters of the pipeline ``baselines``; images are generated with the sampler of ``property_eval``."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    n_images: int = Field(default=128, ge=2, le=1_000_000, description="Generated images that are traced back.")
    projection_dim: int | None = Field(
        default=512, ge=1, le=65_536, description="Dimension of projected gradients; None: not projected."
    )
    n_timesteps: int = Field(
        default=4, ge=1, le=1000, description="(timestep, noise) pairs per image over which gradients are averaged."
    )
    damping: float = Field(default=0.5, gt=0, description="lambda of K = Phi'Phi + lambda I, in `damping_unit`.")
    damping_unit: Literal["mean_eigenvalue", "one"] = Field(
        default="mean_eigenvalue",
        description="mean_eigenvalue: of Phi'Phi, so that the unit of the loss does not matter; one: the number as it "
        "is, as in the paper's code.",
    )
    n_neighbours: int = Field(default=50, ge=1, le=100_000, description="Of each generated image (GMValuator).")
    embedding: str = Field(
        default="efficientnet",
        min_length=1,
        description="Behind embedding similarity and GMValuator: efficientnet (as the properties use it), clip, or "
        "'package.module:function' of your own from images (n, c, h, w) uint8 to vectors (n, d).",
    )
    clip_weights: str | None = Field(
        default=None,
        min_length=1,
        description="Path of a CLIP vision model with projection, safetensors with the names of transformers; None: "
        "CLIP similarity is not defined.",
    )
    n_pairs_at_once: int = Field(
        default=64,
        ge=1,
        le=1_000_000,
        description="(image, timestep) pairs differentiated together; changes no number.",
    )
    memory_mib: int = Field(
        default=256, ge=1, le=1_048_576, description="Of the per-image gradients that wait for their projection."
    )
    n_threads: int = Field(default=1, ge=1, le=1024, description="Threads (CPU).")

    @field_validator("clip_weights")
    @classmethod
    def _absolute(cls, path: str | None) -> str | None:
        return None if path is None else str(Path(path).absolute())
