"""Rank pruning of adapters: the same choice as a brute-force search, the same function per pair, exact bookkeeping."""

from __future__ import annotations

import pytest
import torch

from groupshap.diffusion.adapters import AdapterPair
from groupshap.pruning.ranks import pair_norms, prune_ranks

SHAPES = {"up.to_k": (12, 6), "up.to_q": (6, 6), "mid.to_v": (12, 20), "mid.to_out.0": (20, 20)}  # layer: in, out


@pytest.fixture
def adapters():
    generator = torch.Generator().manual_seed(0)
    return {
        layer: AdapterPair(torch.randn(5, n_in, generator=generator), torch.randn(n_out, 5, generator=generator), 10.0)
        for layer, (n_in, n_out) in SHAPES.items()
    }


def weight_change(adapter):
    return adapter.alpha / adapter.rank * adapter.up.double() @ adapter.down.double()


def brute_force(adapters, fraction_removed):
    """Remove, one by one, the pair whose removal changes the weights least; norms of the dense differences."""
    kept = {layer: list(range(adapter.rank)) for layer, adapter in adapters.items()}
    scale = {layer: adapter.alpha / adapter.rank for layer, adapter in adapters.items()}
    total = sum(adapter.down.numel() + adapter.up.numel() for adapter in adapters.values())

    def n_numbers():
        return sum(len(pairs) * sum(SHAPES[layer]) for layer, pairs in kept.items())

    while n_numbers() > (1 - fraction_removed) * total:
        losses = {
            (torch.outer(a.up[:, j].double(), a.down[j].double()).mul(scale[layer]).norm().item(), layer, j)
            for layer, a in adapters.items()
            for j in kept[layer]
            if len(kept[layer]) > 1
        }
        if not losses:
            break
        _, layer, j = min(losses)
        kept[layer].remove(j)
    return kept


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.37, 0.5, 0.75, 0.99])
def test_the_choice_is_that_of_a_brute_force_search(adapters, fraction):
    pruned = prune_ranks(adapters, fraction)
    for layer, pairs in brute_force(adapters, fraction).items():
        assert torch.equal(pruned.adapters[layer].down, adapters[layer].down[pairs])
        assert torch.equal(pruned.adapters[layer].up, adapters[layer].up[:, pairs])
        assert pruned.ranks[layer] == len(pairs)
        assert pruned.alphas[layer] == 2.0 * len(pairs), "each remaining pair adds what it added before"


def test_the_size_is_counted_exactly_and_falls_just_below_the_limit(adapters):
    report = prune_ranks(adapters, 0.5).report
    n_before = 5 * sum(map(sum, SHAPES.values()))
    assert report.n_parameters_before == n_before
    assert n_before / 2 - max(map(sum, SHAPES.values())) < report.n_parameters_after <= n_before / 2
    assert report.fraction_of_parameters_removed == 1 - report.n_parameters_after / n_before
    assert report.n_pairs_before - report.n_pairs_after == round(20 * report.fraction_of_pairs_removed)


def test_scores_are_the_norms_of_what_a_pair_adds_whichever_half_holds_the_scale(adapters):
    adapter = adapters["mid.to_v"]
    shifted = AdapterPair(adapter.down / 8, adapter.up * 8, adapter.alpha)  # a power of two: the same bits
    assert torch.equal(pair_norms(adapter), pair_norms(shifted))
    one_pair = adapter.keep([3])
    assert pair_norms(adapter)[3].item() == pytest.approx(weight_change(one_pair).norm().item())


def test_ties_go_by_name_then_position_and_every_layer_keeps_one_pair():
    equal = AdapterPair(torch.ones(3, 2), torch.ones(2, 3), 3.0)
    pruned = prune_ranks({"b": equal, "a": equal}, 0.5)
    assert pruned.ranks == {"b": 2, "a": 1}
    zero = AdapterPair(torch.ones(3, 2), torch.zeros(2, 3), 3.0)
    assert prune_ranks({"b": zero, "a": equal}, 1 / 3).ranks == {"b": 1, "a": 3}, "an up half of zeros adds nothing"


def test_what_cannot_be_pruned_is_refused_and_what_cannot_be_reached_is_said(adapters, caplog):
    with pytest.raises(ValueError, match="at least one adapter"):
        prune_ranks({}, 0.5)
    with pytest.raises(ValueError, match="in \\[0, 1\\)"):
        prune_ranks(adapters, 1.0)
    with pytest.raises(ValueError, match="of one rank >= 1"):
        AdapterPair(torch.ones(2, 4), torch.ones(4, 3), 1.0)
    broken = AdapterPair(torch.full((2, 4), torch.nan), torch.ones(4, 2), 1.0)
    with pytest.raises(ValueError, match=r"`mid.to_q`.*not finite"):
        prune_ranks({"mid.to_q": broken}, 0.5)
    assert prune_ranks(adapters, 0.95).report.smallest_rank == 1
    assert "keeps a rank of at least 1" in caplog.text
