"""Rank pruning of low-rank adapters: which rank-one pairs go, ranked over all layers together.

An adapter adds ``(alpha / r) * B A`` to a layer's weight, a sum of r rank-one pairs: column j of B ("up") times row j
of A ("down"). A pair's score is the Frobenius norm of what it adds, ``(alpha / r) * |B_j| * |A_j|``: from both halves,
because only their product reaches the weight (c B and A / c are the same adapter), and a pair whose up half is still
zero adds nothing however large its down half is. The paper's code scores the halves one by one. As there, all pairs of
all layers compete; each costs ``in + out`` numbers, and every layer keeps at least one.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from torch import Tensor

from groupshap.diffusion.adapters import AdapterPair
from groupshap.diffusion.lora_unet import AdaptedUNet
from groupshap.pruning.config import PruningConfig, RankPruningReport
from groupshap.pruning.history import PruningHistory

__all__ = ["PrunedRanks", "pair_norms", "prune_adapters", "prune_ranks", "replay_ranks"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PrunedRanks:
    """Adapters after pruning.

    Attributes:
        adapters: Layer to its adapter, in the given order.
        report: What was removed.
    """

    adapters: dict[str, AdapterPair]
    report: RankPruningReport

    @property
    def ranks(self) -> dict[str, int]:
        """Layer to rank: peft's ``rank_pattern``."""
        return {layer: pair.rank for layer, pair in self.adapters.items()}

    @property
    def alphas(self) -> dict[str, float]:
        """Layer to scale: peft's ``alpha_pattern``."""
        return {layer: pair.alpha for layer, pair in self.adapters.items()}


class LayerRank(BaseModel):
    """The rank of one layer's adapter after pruning: the entry of a history."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    layer: str = Field(description="Dotted name within the U-Net.")
    rank: int = Field(ge=1)
    alpha: float = Field(description="Scale; what the remaining pairs add is divided by the rank and multiplied by it.")


def prune_adapters(model: AdaptedUNet, config: PruningConfig) -> tuple[AdaptedUNet, PruningHistory, RankPruningReport]:
    """Prune the adapters of a U-Net, in place: its frozen base is too large to be copied.

    Returns:
        The same model, the history for :func:`replay_ranks` (empty for a share of 0), and the report.

    Raises:
        ValueError: another criterion than ``magnitude``; or see :func:`prune_ranks`.
    """
    if config.criterion != "magnitude":
        raise ValueError(
            f"Adapters are pruned by what they add: expected `pruning.criterion` magnitude, got {config.criterion}."
        )
    pruned = prune_ranks(model.adapters, config.fraction_removed)
    logger.info(
        "Pruned %d of %d rank-one pairs: parameters %d -> %d, ranks %d to %d",
        pruned.report.n_pairs_before - pruned.report.n_pairs_after,
        pruned.report.n_pairs_before,
        pruned.report.n_parameters_before,
        pruned.report.n_parameters_after,
        pruned.report.smallest_rank,
        pruned.report.largest_rank,
    )
    if config.fraction_removed == 0:
        return model, [], pruned.report
    model.set_adapters(pruned.adapters)
    ranks = [LayerRank(layer=layer, rank=pair.rank, alpha=pair.alpha) for layer, pair in pruned.adapters.items()]
    return model, [entry.model_dump(mode="json") for entry in ranks], pruned.report


def replay_ranks(model: AdaptedUNet, history: PruningHistory) -> AdaptedUNet:
    """Give fresh adapters the ranks of pruned ones, in place; of each, the first pairs stay.

    Raises:
        ValueError: the history is damaged or belongs to another U-Net or rank.
    """
    entries = {entry.layer: entry for entry in TypeAdapter(list[LayerRank]).validate_python(history)}
    if not entries:
        return model
    own = model.adapters
    wrong = sorted(entries.keys() ^ own.keys())
    wrong += [layer for layer in entries.keys() & own.keys() if entries[layer].rank > own[layer].rank]
    if wrong:
        raise ValueError(
            f"The pruned ranks do not fit this U-Net's adapters: {', '.join(wrong[:5])} ({len(wrong)} in all) are "
            "missing, unknown or of a smaller rank. Expected the base and `adapter_rank` with which it was made."
        )
    kept = {layer: pair.keep(list(range(entries[layer].rank))) for layer, pair in own.items()}
    model.set_adapters({layer: replace(pair, alpha=entries[layer].alpha) for layer, pair in kept.items()})
    return model


def pair_norms(adapter: AdapterPair) -> Tensor:
    """(rank,) float64, >= 0: Frobenius norm of what each rank-one pair adds to the layer's weight."""
    up, down = adapter.up.detach().cpu().double(), adapter.down.detach().cpu().double()
    return adapter.alpha / adapter.rank * up.norm(dim=0) * down.norm(dim=1)


def prune_ranks(adapters: Mapping[str, AdapterPair], fraction_removed: float) -> PrunedRanks:
    """Drop the smallest rank-one pairs of all layers until at most ``1 - fraction_removed`` of the numbers remain.

    Args:
        adapters: Layer to its adapter.
        fraction_removed: Share of the adapters' numbers, in [0, 1); 0 keeps everything.

    Returns:
        The remaining pairs, in their order; equal norms go by layer name, then by position. Where every layer is down
        to one pair, more remains than asked and a WARNING is logged.

    Raises:
        ValueError: no adapters, a share outside [0, 1), or weights that are not finite.
    """
    if not adapters or not 0 <= fraction_removed < 1:
        raise ValueError(
            f"Expected at least one adapter and a `fraction_removed` in [0, 1), got {len(adapters)} and "
            f"{fraction_removed}."
        )
    kept = _kept_pairs(adapters, _size_limit(adapters, fraction_removed))
    pruned = {layer: adapter.keep(kept[layer]) for layer, adapter in adapters.items()}
    report = _report(adapters, pruned, fraction_removed)
    if report.n_parameters_after > _size_limit(adapters, fraction_removed):
        logger.warning(
            "Only %.1f %% of the adapters were pruned instead of %.1f %%: every layer keeps a rank of at least 1.",
            100 * report.fraction_of_parameters_removed,
            100 * fraction_removed,
        )
    return PrunedRanks(pruned, report)


def _size_limit(adapters: Mapping[str, AdapterPair], fraction_removed: float) -> int:
    """Numbers that may remain."""
    total = sum(adapter.n_parameters for adapter in adapters.values())
    return math.floor((1 - fraction_removed) * total + 1e-6)  # (1 - 0.9) * 10 is 0.9999999999999998


def _kept_pairs(adapters: Mapping[str, AdapterPair], n_most: int) -> dict[str, list[int]]:
    """Layer to the positions of its remaining pairs, ascending."""
    kept = {layer: set(range(adapter.rank)) for layer, adapter in adapters.items()}
    n_numbers = sum(adapter.n_parameters for adapter in adapters.values())
    for _, layer, position in _smallest_first(adapters):
        if n_numbers <= n_most:
            break
        if len(kept[layer]) > 1:
            kept[layer].remove(position)
            n_numbers -= adapters[layer].n_per_rank
    return {layer: sorted(positions) for layer, positions in kept.items()}


def _smallest_first(adapters: Mapping[str, AdapterPair]) -> list[tuple[float, str, int]]:
    """(norm, layer, position) of every pair in the order in which they go."""
    scored = []
    for layer, adapter in adapters.items():
        norms = pair_norms(adapter)
        if not torch.isfinite(norms).all():
            raise ValueError(f"The adapter of `{layer}` has weights that are not finite: its training diverged.")
        scored += [(norm, layer, position) for position, norm in enumerate(norms.tolist())]
    return sorted(scored)


def _report(
    before: Mapping[str, AdapterPair], after: Mapping[str, AdapterPair], fraction_removed: float
) -> RankPruningReport:
    n_parameters = [sum(pair.n_parameters for pair in adapters.values()) for adapters in (before, after)]
    n_pairs = [sum(pair.rank for pair in adapters.values()) for adapters in (before, after)]
    ranks = [pair.rank for pair in after.values()]
    return RankPruningReport(
        criterion="magnitude",
        fraction_removed=fraction_removed,
        n_pairs_before=n_pairs[0],
        n_pairs_after=n_pairs[1],
        fraction_of_pairs_removed=1 - n_pairs[1] / n_pairs[0],
        n_parameters_before=n_parameters[0],
        n_parameters_after=n_parameters[1],
        fraction_of_parameters_removed=1 - n_parameters[1] / n_parameters[0],
        smallest_rank=min(ranks),
        largest_rank=max(ranks),
    )
