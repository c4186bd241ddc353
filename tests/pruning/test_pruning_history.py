from __future__ import annotations

import copy
import json

import pytest
import torch
from diffusers import UNet2DModel
from pruning_unets import ATTENTION, GREY, PLAIN

from groupshap.pruning.channels import prune_channels
from groupshap.pruning.config import PruningConfig
from groupshap.pruning.history import replay_history


@pytest.fixture(scope="module")
def history_json() -> str:
    return json.dumps(prune_channels(UNet2DModel(**GREY), PruningConfig())[1])


@pytest.fixture
def history(history_json) -> list[dict]:
    return json.loads(history_json)


def refuse(model, history, words: str) -> None:
    """The history is refused, and the model stays as it is."""
    before = repr(model)
    with pytest.raises(ValueError, match=words):
        replay_history(model, history)
    assert repr(model) == before


def test_replay_works_without_gradients_and_for_random_weights(build, history):
    """The model behind the empty coalition: another initialisation, cut at the same channels."""
    with torch.inference_mode():
        fresh = build(GREY, seed=5)
    pruned = replay_history(copy.deepcopy(build(GREY, seed=5)), history)
    kept = [i for i in range(16) if i not in next(s["removed"] for s in history if s["layer"] == "conv_in")]
    assert torch.equal(pruned.conv_in.weight, fresh.conv_in.weight[kept])
    with torch.no_grad():
        again = replay_history(build(GREY, seed=5), history)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), pruned.parameters(), strict=True))


def test_empty_history_changes_nothing(build):
    model = build(GREY)
    before = repr(model)
    assert replay_history(model, []) is model
    assert repr(model) == before


@pytest.mark.parametrize("other", [PLAIN, ATTENTION, {**GREY, "block_out_channels": (16, 64)}])
def test_history_of_another_architecture_is_refused(build, history, other):
    refuse(build(other), history, "does not fit this model.*freshly built")


def test_more_layers_per_block_are_noticed(build, history):
    """Here every single entry fits; only the rehearsal shows that the layers would not."""
    refuse(build({**GREY, "layers_per_block": 2}), history, "does not fit this model")


def test_pruned_twice_is_refused(build, history):
    refuse(replay_history(build(GREY), history), history, r"conv_in.out_channels` is 12, expected 16")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda h: h.pop(), "would not fit together"),
        (lambda h: h.append(h[0]), "occurs twice"),
        (lambda h: h[0].update(layer="encoder"), "no layer `encoder`"),
        (lambda h: h[0].update(layer="conv_act"), "SiLU without prunable side"),
        (lambda h: h[0].update(side="both"), "'in' or 'out'"),
        (lambda h: h[0].update(removed=[3, 1]), "ascending"),
        (lambda h: h[0].update(removed=[99]), r"\[0, 16\)"),
        (lambda h: h[0].update(removed=list(range(16))), "at least one must stay"),
        (lambda h: h[0].update(removed=[1.5]), "integer"),
        (lambda h: h[0].update(extra=1), "extra"),
        (lambda h: next(s for s in h if "norm" in s["layer"])["removed"].pop(), "no multiple of its 4 groups"),
        (lambda h: h.insert(0, ["conv_in", True, [1, 2]]), "LayerPruning"),
    ],
)
def test_damaged_history_is_refused(build, history, change, words):
    change(history)
    refuse(build(GREY), history, words)
