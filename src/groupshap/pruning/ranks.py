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
from dataclasses import dataclass

import torch
from torch import Tensor

from groupshap.pruning.config import RankPruningReport

__all__ = ["AdapterPair", "PrunedRanks", "pair_norms", "prune_ranks"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AdapterPair:
    """The adapter of one linear layer.

    Attributes:
        down: A, (rank, in_features) float.
        up: B, (out_features, rank) float.
        alpha: Scale; the layer adds ``alpha / rank * up @ down`` to its weight.
    """

    down: Tensor
    up: Tensor
    alpha: float

    def __post_init__(self) -> None:
        if self.down.ndim != 2 or self.up.ndim != 2 or self.down.shape[0] != self.up.shape[1] or not self.rank:
            raise ValueError(
                f"Expected `down` (rank, in) and `up` (out, rank) of one rank >= 1, got {tuple(self.down.shape)} and "
                f"{tuple(self.up.shape)}."
            )

    @property
    def rank(self) -> int:
        """Number of rank-one pairs."""
        return self.down.shape[0]

    @property
    def n_per_rank(self) -> int:
        """Numbers that one rank-one pair costs: in + out."""
        return self.down.shape[1] + self.up.shape[0]

    @property
    def n_parameters(self) -> int:
        """Numbers in both halves."""
        return self.rank * self.n_per_rank

    def keep(self, pairs: list[int]) -> AdapterPair:
        """These rank-one pairs alone, each scaled as before: ``alpha`` follows the rank."""
        index = torch.tensor(pairs, device=self.down.device)
        alpha = self.alpha * len(pairs) / self.rank
        return AdapterPair(self.down.index_select(0, index), self.up.index_select(1, index), alpha)


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
