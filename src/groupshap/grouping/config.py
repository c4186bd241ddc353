"""Parameters of the data: where the images come from, how they are sized, who their contributors are.

Imports only pydantic and the standard library, because every ``kedro`` command imports it. Every scalar is a field of
its own, so that ``kedro run --params data_grouping.split.by=shards`` reaches it without editing a file.
"""

from __future__ import annotations

import string
import unicodedata
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

__all__ = [
    "DataGroupingConfig",
    "DefectConfig",
    "HuggingFaceConfig",
    "SourceName",
    "SplitConfig",
    "parse_defects",
]

SourceName = Literal["avatars", "digits", "fashion_mnist", "cifar100", "emoji", "image_folder", "table", "huggingface"]

SOURCES_WITH_PATH = ("image_folder", "table", "huggingface")

_DEFECT_SHORTHAND = "kind:contributor[:strength][:of=other][:fraction=0.5], several separated by ',' or ';'"


class _Frozen(BaseModel):
    # `--params data_grouping.path=2024` arrives as an int: names and paths accept it as the text it was.
    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True, allow_inf_nan=False)


class SplitConfig(_Frozen):
    """How contributors are made for images that have none (or to ignore the ones they have)."""

    by: Literal["none", "label", "dirichlet", "shards"] = Field(
        default="none",
        description="none: the source's own contributors; label: one per label; dirichlet: every label is shared out "
        "by Dirichlet(concentration) shares; shards: every label is cut into equal parts, each a contributor.",
    )
    column: str | None = Field(default=None, description="Column with the labels; None: the source's own label column.")
    n_contributors: int = Field(default=10, ge=2, le=10_000, description="Only `dirichlet`.")
    concentration: float = Field(
        default=0.5, gt=0, le=1e6, description="Only `dirichlet`: towards 0 one contributor owns a label, large: equal."
    )
    shards_per_label: int = Field(default=2, ge=1, le=10_000, description="Only `shards`.")


class DefectConfig(_Frozen):
    """One planted defect: a deliberate change to one contributor's images or labels, recorded in the tables."""

    contributor: str = Field(min_length=1)
    kind: Literal["noise", "blur", "duplicate", "mislabel", "unused"] = Field(
        description="noise: mixed with uniform noise; blur: Gaussian; duplicate: replaced by another's images; "
        "mislabel: labels replaced by other labels; unused: no model is trained on them."
    )
    strength: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="noise: share of noise; blur: sigma as a share of image_size / 4. In (0, 1].",
    )
    of: str | None = Field(default=None, description="Only `duplicate`: whose images are copied.")
    fraction: float = Field(
        default=1.0, gt=0, le=1, description="Share of the contributor's images that get the defect, rounded up."
    )

    @model_validator(mode="after")
    def _of_belongs_to_duplicate(self) -> Self:
        if (self.kind == "duplicate") != (self.of is not None):
            raise ValueError(
                f"defect `{self.kind}` of contributor {self.contributor!r}: `of` names whose images are copied; "
                f"`duplicate` needs it, the other kinds do not take it, got of={self.of!r}."
            )
        if self.of is not None and normal_name(self.of) == normal_name(self.contributor):
            raise ValueError(f"defect `duplicate`: {self.contributor!r} cannot be a duplicate of itself.")
        return self


class HuggingFaceConfig(_Frozen):
    """Which part of a Hugging Face data set is read (source ``huggingface``)."""

    name: str | None = Field(default=None, description="Configuration (subset) of the data set.")
    split: str = Field(default="train", min_length=1)
    revision: str | None = Field(default=None, description="Git revision; give a commit hash for a reproducible run.")


def parse_defects(value: Any) -> Any:
    """Turn the shorthand ``"noise:alice;blur:bob:0.5;duplicate:carol:of=alice"`` into a list of defect dicts.

    ``kedro --params`` cannot pass lists and cuts its value at commas, hence the ``;``. Names that contain ``,``, ``;``
    or ``:`` need the list form in a parameters file. Anything that is not a string is returned as it is.

    Raises:
        ValueError: an entry does not follow the shorthand; the message shows it.
    """
    if value is None:
        return ()
    if not isinstance(value, str):
        return value
    entries = [entry.strip() for entry in value.replace(";", ",").split(",")]
    return [_parse_defect(entry) for entry in entries if entry]


def _names(value: Any) -> Any:
    """``"alice;bob"`` as a list of names; None as none; anything else as it is."""
    if value is None:
        return ()
    return [name.strip() for name in value.split(";")] if isinstance(value, str) else value


def _parse_defect(entry: str) -> dict[str, str]:
    kind, *rest = (part.strip() for part in entry.split(":"))
    if not rest or not rest[0]:
        raise ValueError(f"defect {entry!r}: expected {_DEFECT_SHORTHAND}.")
    defect = {"kind": kind, "contributor": rest[0]}
    for part in rest[1:]:
        key, separator, value = part.partition("=")
        key, value = (key.strip(), value.strip()) if separator else ("strength", part)
        if key in defect:
            raise ValueError(f"defect {entry!r}: `{key}` is given twice; expected {_DEFECT_SHORTHAND}.")
        defect[key] = value
    return defect


def normal_name(name: str) -> str:
    """The one spelling of a contributor's name: Unicode NFC, without white space at the ends."""
    return unicodedata.normalize("NFC", name).strip()


class DataGroupingConfig(_Frozen):
    """All parameters of the pipeline ``data_grouping``; unknown keys and impossible values are refused."""

    source: SourceName = "avatars"
    path: str | None = Field(
        default=None,
        description="image_folder: a folder with one folder per contributor; table: a .csv or .parquet file; "
        "huggingface: an id on the hub or a folder; fashion_mnist: the folder with the idx files; cifar100: the "
        "archive of the binary version, or its folder. Relative paths start at the working directory.",
    )
    seed: int = Field(
        default=0,
        ge=0,
        lt=2**63,
        description="The data's own seed (avatars, caps, splits, defects). The data are an input: they do not change "
        "with root_seed.",
    )
    image_size: int = Field(default=16, ge=2, le=1024, description="Side of the square images, in pixels.")
    channels: Literal[1, 3] = Field(default=3, description="1: grey (ITU-R 601 luma), 3: RGB.")
    fit: Literal["crop", "pad", "stretch"] = Field(
        default="crop",
        description="Images that are not square: crop the centre, pad with white, or stretch.",
    )
    max_side_px: int = Field(
        default=8192,
        ge=2,
        le=13_000,
        description="Images with a longer side are refused before they are decoded. Pillow itself refuses above about "
        "13,000 x 13,000 pixels.",
    )
    n_images_per_contributor: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="At most so many images of each contributor, drawn at random. None: all that the source has; the "
        "avatars, of which there is no end, are then 240 each.",
    )
    min_images_per_contributor: int = Field(
        default=1, ge=1, le=1_000_000, description="Contributors with fewer images are left out, and listed as such."
    )
    max_contributors: int | None = Field(
        default=None,
        ge=2,
        le=10_000,
        description="At most so many contributors, drawn at random with `seed` from those with enough images. Pipeline "
        "`foundation` trains on what all others contributed. None: all.",
    )
    only: Annotated[tuple[str, ...], BeforeValidator(_names)] = Field(
        default=(),
        description="The contributors that are used, if not all; a list, or one string with ';' between the names.",
    )
    leave_out: Annotated[tuple[str, ...], BeforeValidator(_names)] = Field(
        default=(),
        description="Contributors whose images are not used, for example because they withdrew consent; a list, or one "
        "string with ';' between the names.",
    )
    image_column: str = Field(default="image", min_length=1, description="table, huggingface: column with the images.")
    contributor_column: str = Field(
        default="contributor", min_length=1, description="table, huggingface: column with the contributors' names."
    )
    label_column: str | None = Field(
        default=None, description="Column with labels, for `split` and the defect `mislabel`; None: the source's own."
    )
    prompt: str | None = Field(
        default=None,
        min_length=1,
        max_length=1000,
        description="What a model with prompts is told about each image, for example 'a picture by {contributor}'. "
        "Fields: contributor, label, any other column of the images. None: nothing.",
    )
    prompt_column: str | None = Field(default=None, description="Column with ready prompts, instead of `prompt`.")
    skin_palette_skew: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="avatars only. 0: every style draws uniformly from its own skin palette. 1: every contributor "
        "draws only from one third of tones, see `skin_palette_tones`; between: with that probability. "
        "A skew above 0 is set by us (or you), it says nothing about the designers.",
    )
    skin_palette_tones: Annotated[tuple[Literal["light", "mid", "dark"], ...], BeforeValidator(_names)] = Field(
        default=("light", "mid", "dark"),
        min_length=1,
        description="avatars only. Whose tones are which when the palettes are skewed: given to the contributors in "
        "their order, from the beginning again where it ends.",
    )
    huggingface: HuggingFaceConfig = HuggingFaceConfig()
    split: SplitConfig = SplitConfig()
    defects: Annotated[tuple[DefectConfig, ...], BeforeValidator(parse_defects)] = Field(
        default=(), description=f"A list of defects, or the shorthand {_DEFECT_SHORTHAND}. Applied in this order."
    )

    @model_validator(mode="after")
    def _prompt_is_a_template(self) -> Self:
        if self.prompt is not None and self.prompt_column is not None:
            raise ValueError("`prompt` and `prompt_column` are both given: expected one of them, or none.")
        try:
            parts = list(string.Formatter().parse(self.prompt or ""))
        except ValueError as error:
            raise ValueError(
                f"`prompt` is no template: {error}, got {self.prompt!r}. Write {{{{ for a brace."
            ) from error
        wrong = [field for _, field, spec, turn in parts if field is not None and (spec or turn or not field.strip())]
        if wrong:
            raise ValueError(
                f"`prompt` may hold only names of columns in braces, such as {{contributor}}, got {self.prompt!r}."
            )
        return self

    @model_validator(mode="after")
    def _path_is_given_where_needed(self) -> Self:
        if self.source in SOURCES_WITH_PATH and not (self.path or "").strip():
            raise ValueError(
                f"source `{self.source}` reads from `path`, which is not given: "
                f"--params data_grouping.source={self.source},data_grouping.path=/some/where"
            )
        return self
