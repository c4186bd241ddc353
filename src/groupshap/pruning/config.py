"""Parameters and report of the pruning; imports only pydantic and the standard library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Criterion", "PruningConfig", "PruningReport", "RankPruningReport"]

Criterion: TypeAlias = Literal["magnitude", "taylor", "diff_pruning", "random"]


class PruningConfig(BaseModel):
    """Which channels, or ranks of adapters, are removed; unknown keys and impossible values are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    fraction_removed: float = Field(
        default=0.3,
        ge=0,
        le=0.95,
        description="Share of the channels REMOVED from every coupled set of layers; 0 switches pruning off. Nominal: "
        "group norms and attention heads must stay whole, so the share is rounded down, see PruningReport. Family "
        "text_lora: share of the adapters' numbers.",
    )
    criterion: Criterion = Field(
        default="magnitude",
        description="The channels with the smallest value go. magnitude: squared weights; taylor: gradient x weight of "
        "the noise-prediction loss, summed before the absolute value; diff_pruning: absolute values summed, early "
        "timesteps only; random.",
    )
    loss_threshold: float = Field(
        default=0.05,
        ge=0,
        lt=1,
        description="Only `diff_pruning`: timesteps 0, 1, 2, ... count until the loss falls below this share of its "
        "maximum so far.",
    )
    n_gradient_images: int = Field(
        default=256, ge=1, le=1_000_000, description="Only `taylor` and `diff_pruning`: images in the fixed batch."
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="Only `random`.")


@dataclass(frozen=True)
class PruningReport:
    """What pruning did; plain numbers, ``dataclasses.asdict`` gives JSON.

    Attributes:
        criterion: As configured.
        fraction_removed: Nominal share, as configured.
        fraction_of_channels_removed: Effective share: output channels removed from convolutions and linear layers
            (all but ``conv_out``, which is never pruned), over their number before. At most the nominal share.
        n_parameters_before: Numbers in the weights and biases of the given model.
        n_parameters_after: The same of the pruned one.
        fraction_of_parameters_removed: Their relative difference.
        n_macs_before: Multiply-accumulates of one forward pass of one image: convolutions, linear layers and the two
            matrix products of attention; biases, norms and activations are not counted.
        n_macs_after: The same of the pruned model.
        fraction_of_macs_removed: Their relative difference.
    """

    criterion: Criterion
    fraction_removed: float
    fraction_of_channels_removed: float
    n_parameters_before: int
    n_parameters_after: int
    fraction_of_parameters_removed: float
    n_macs_before: int
    n_macs_after: int
    fraction_of_macs_removed: float


@dataclass(frozen=True)
class RankPruningReport:
    """What rank pruning did to low-rank adapters; plain numbers, ``dataclasses.asdict`` gives JSON.

    Attributes:
        criterion: Always ``magnitude``.
        fraction_removed: Nominal share of the adapters' numbers, as configured.
        n_pairs_before: Rank-one pairs of all layers.
        n_pairs_after: The same of the pruned adapters.
        fraction_of_pairs_removed: Their relative difference.
        n_parameters_before: Numbers in the adapters; the frozen base is not counted.
        n_parameters_after: The same of the pruned ones.
        fraction_of_parameters_removed: Their relative difference: the effective share.
        smallest_rank: Of any layer after pruning; at least 1.
        largest_rank: Of any layer after pruning.
    """

    criterion: Literal["magnitude"]
    fraction_removed: float
    n_pairs_before: int
    n_pairs_after: int
    fraction_of_pairs_removed: float
    n_parameters_before: int
    n_parameters_after: int
    fraction_of_parameters_removed: float
    smallest_rank: int
    largest_rank: int
