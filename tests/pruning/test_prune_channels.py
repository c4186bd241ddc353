from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import logging
from typing import get_args

import numpy as np
import pytest
import torch
from diffusers import UNet2DModel
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from pruning_unets import ATTENTION, CIFAR, GREY, PLAIN, UNETS, NoiseLoss
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from groupshap.pruning.channels import _least_important, prune_channels, replay_history
from groupshap.pruning.config import Criterion, PruningConfig


def batch(model: UNet2DModel) -> tuple[torch.Tensor, torch.Tensor]:
    side = model.config.sample_size
    generator = torch.Generator().manual_seed(7)
    return torch.randn(2, model.config.in_channels, side, side, generator=generator), torch.tensor([3, 700])


def removed_of(history: list[dict], layer: str, side: str) -> list[int]:
    return next((step["removed"] for step in history if (step["layer"], step["side"]) == (layer, side)), [])


@pytest.mark.parametrize(
    ("name", "criterion"),
    [*itertools.product(("plain", "attention", "grey"), get_args(Criterion)), ("resnet_resamplers", "magnitude")],
)
def test_round_trip_is_bit_equal_and_the_pruned_model_trains(build, name, criterion):
    """Config + history as JSON + state dict rebuild the pruned model; it runs forward and backward."""
    model = build(UNETS[name])
    config = PruningConfig(criterion=criterion)
    pruned, history, report = prune_channels(model, config, NoiseLoss(model), n_timesteps=3)
    assert 0.2 < report.fraction_of_channels_removed <= 0.3

    fresh = build(json.loads(json.dumps(dict(model.config))), seed=1)
    rebuilt = replay_history(fresh, json.loads(json.dumps(history)))
    assert rebuilt is fresh
    untrained = rebuilt(*batch(model)).sample
    rebuilt.load_state_dict(pruned.state_dict())
    expected = pruned.eval()(*batch(model)).sample
    assert torch.equal(rebuilt.eval()(*batch(model)).sample, expected)
    assert not torch.equal(untrained, expected)

    pruned.train()(*batch(model)).sample.square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in pruned.parameters())


def test_cifar_unet_shrinks_as_published(build):
    """35.7 M -> 19.8 M parameters at a nominal 30 % (paper, CIFAR-20): 25 % after the rounding in 32 norm groups."""
    _, history, report = prune_channels(build(CIFAR), PruningConfig(fraction_removed=0.3))
    assert report.n_parameters_before == 35_746_307
    assert report.n_parameters_after == pytest.approx(19.9e6, rel=0.005)
    assert len(removed_of(history, "conv_in", "out")) == 128 // 4


def test_input_model_and_random_state_are_untouched(build):
    model = build(ATTENTION).train()
    model.conv_in.weight.requires_grad_(False)
    before, attributes = copy.deepcopy(model.state_dict()), repr(model)
    random_state = torch.get_rng_state()
    pruned, _, _ = prune_channels(model, PruningConfig(criterion="taylor"), NoiseLoss(model), n_timesteps=2)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert repr(model) == attributes
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in (*model.parameters(), *pruned.parameters()))
    frozen = [key for key, parameter in pruned.named_parameters() if not parameter.requires_grad]
    assert pruned.training
    assert frozen == ["conv_in.weight"]
    pruned.conv_in.bias.data.fill_(9)
    assert torch.equal(model.conv_in.bias, before["conv_in.bias"])


@pytest.mark.parametrize("name", ["attention", "resnet_resamplers"])
def test_attributes_follow_the_layers(build, name):
    """Samplers assert on their channels; heads stay whole in number and equal in width; norm groups stay equal."""
    pruned, history, _ = prune_channels(build(UNETS[name]), PruningConfig(fraction_removed=0.5))
    for module in pruned.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            n_in, n_out = (
                (module.in_channels, module.out_channels)
                if isinstance(module, nn.Conv2d)
                else (module.in_features, module.out_features)
            )
            assert module.weight.shape[:2] == (n_out, n_in)
        elif isinstance(module, nn.GroupNorm):
            assert module.weight.shape == module.bias.shape == (module.num_channels,)
            assert module.num_channels % module.num_groups == 0
        elif isinstance(module, Attention):
            assert module.to_q.out_features == module.to_k.out_features == module.to_v.out_features == module.inner_dim
            assert module.inner_dim % module.heads == 0
            assert module.scale == (module.inner_dim // module.heads) ** -0.5
            assert module.inner_dim == 32
        elif isinstance(module, ResnetBlock2D):
            assert module.in_channels == module.norm1.num_channels
            assert module.out_channels == module.conv2.out_channels
        elif hasattr(module, "use_conv"):
            expected = (module.conv.in_channels, module.conv.out_channels) if module.use_conv else None
            assert expected is None or (module.channels, module.out_channels) == expected
    n_heads = [m.heads for m in build(UNETS[name]).modules() if isinstance(m, Attention)]
    assert [m.heads for m in pruned.modules() if isinstance(m, Attention)] == n_heads
    assert removed_of(history, "conv_out", "out") == []
    assert pruned.conv_out.out_channels == pruned.config.out_channels


def test_magnitude_removes_the_smallest_channels_of_each_norm_group(build):
    """All weights 1, except 1/2 in one channel of each norm group of one coupled set: exactly these go."""
    model = build(PLAIN)
    for parameter in model.parameters():
        parameter.data.fill_(1.0)
    resnet = model.down_blocks[1].resnets[0]  # 64 channels between its convolutions, 8 norm groups of 8
    small = [8 * group + (3 * group) % 8 for group in range(8)]
    resnet.conv1.weight.data[small] = 0.5
    resnet.conv2.weight.data[:, small] = 0.5
    resnet.time_emb_proj.weight.data[small] = 0.5
    _, history, _ = prune_channels(model, PruningConfig(fraction_removed=0.125))
    name = "down_blocks.1.resnets.0"
    for layer, side in (("conv1", "out"), ("norm2", "out"), ("conv2", "in"), ("time_emb_proj", "out")):
        assert removed_of(history, f"{name}.{layer}", side) == small
    # Ties elsewhere: the first channel of each group.
    assert removed_of(history, "mid_block.resnets.0.conv1", "out") == list(range(0, 64, 8))


def expected_removal(importance: np.ndarray, n_groups: int, n_removed: int) -> list[int]:
    """The rule once more, channel by channel."""
    width = len(importance) // n_groups
    chosen = []
    for group in range(n_groups):
        members = range(group * width, (group + 1) * width)
        chosen += sorted(members, key=lambda index: (importance[index], index))[:n_removed]
    return sorted(chosen)


@pytest.mark.parametrize("criterion", ["magnitude", "taylor", "diff_pruning"])
def test_criteria_equal_their_formulas(build, criterion):
    """Recomputed for every pair of convolutions inside a ResNet block, with gradients from plain autograd."""
    model = build(PLAIN)
    loss = NoiseLoss(model)
    config = PruningConfig(criterion=criterion, loss_threshold=0)
    _, history, _ = prune_channels(model, config, loss, n_timesteps=4)
    total = sum(NoiseLoss(model)(model.eval(), timestep) for timestep in range(4))
    total.backward()
    assert loss.timesteps == ([] if criterion == "magnitude" else [0, 1, 2, 3])
    blocks = {name: module for name, module in model.named_modules() if isinstance(module, ResnetBlock2D)}
    assert len(blocks) == 8
    for name, block in blocks.items():
        values = []
        for weight, axis in ((block.conv1.weight, 0), (block.conv2.weight, 1), (block.time_emb_proj.weight, 0)):
            terms = (weight**2 if criterion == "magnitude" else weight * weight.grad).detach()
            terms = terms.transpose(0, axis).flatten(1)
            values.append(terms.sum(1).abs() if criterion == "taylor" else terms.abs().sum(1))
        importance = torch.stack(values).mean(0).numpy()
        expected = expected_removal(importance, 8, int(0.3 * len(importance) / 8))
        assert removed_of(history, f"{name}.conv1", "out") == expected


def test_shared_channels_go_from_every_layer_that_shares_them(build):
    """The skip connection of ``conv_in`` ends in the last up block, behind that block's own channels."""
    model = build(PLAIN)
    _, history, _ = prune_channels(model, PruningConfig())
    removed = removed_of(history, "conv_in", "out")
    assert removed_of(history, "down_blocks.0.resnets.0.conv2", "out") == removed
    own = removed_of(history, "up_blocks.1.resnets.0.conv2", "out")
    assert removed_of(history, "up_blocks.1.resnets.1.conv1", "in") == own + [32 + index for index in removed]


def test_attention_heads_lose_the_same_number_of_dimensions(build):
    _, history, _ = prune_channels(build(ATTENTION), PruningConfig())
    name = "mid_block.attentions.0"
    removed = removed_of(history, f"{name}.to_q", "out")
    assert np.bincount(np.array(removed) // 8).tolist() == [2] * 8
    assert removed == removed_of(history, f"{name}.to_k", "out") == removed_of(history, f"{name}.to_out.0", "in")


def test_what_heads_take_need_not_divide_by_them(build):
    """Three heads on 48 channels in 16 norm groups: 16 channels go, one of each group, as without attention."""
    config = GREY | {"block_out_channels": (16, 48), "norm_num_groups": 16, "attention_head_dim": 16}
    _, history, _ = prune_channels(build(config), PruningConfig(fraction_removed=0.5))
    removed = removed_of(history, "mid_block.attentions.0.to_q", "in")
    assert np.bincount(np.array(removed) // 3).tolist() == [1] * 16
    assert len(removed_of(history, "mid_block.attentions.0.to_q", "out")) == 24


def test_diff_pruning_stops_below_the_threshold(build):
    """Losses 1, 1/2, 1/4, ...: with threshold 0.05 the sixth (1/32) is the first that does not count."""
    model = build(PLAIN)
    loss = NoiseLoss(model, halved_per_step=True)
    _, history, _ = prune_channels(model, PruningConfig(criterion="diff_pruning"), loss)
    assert loss.timesteps == [0, 1, 2, 3, 4, 5]
    five = PruningConfig(criterion="diff_pruning", loss_threshold=0)
    assert prune_channels(model, five, NoiseLoss(model, halved_per_step=True), n_timesteps=5)[1] == history


def test_taylor_spreads_fifty_timesteps(build):
    model = build(GREY)
    loss = NoiseLoss(model)
    prune_channels(model, PruningConfig(criterion="taylor"), loss, n_timesteps=1000)
    assert len(set(loss.timesteps)) == 50
    assert (loss.timesteps[0], loss.timesteps[-1]) == (0, 999)


def test_random_depends_on_the_seed_and_nothing_else(build):
    first, second, other = (
        prune_channels(build(GREY, seed=seed), PruningConfig(criterion="random", seed=config_seed))[1]
        for seed, config_seed in ((0, 0), (1, 0), (0, 1))
    )
    assert first == second
    assert first != other


def test_report_equals_an_independent_count(build):
    model = build(ATTENTION)
    pruned, _, report = prune_channels(model, PruningConfig(fraction_removed=0.5))
    counts = []
    for net in (model, pruned):
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
            net(batch(model)[0][:1], 0)
        counts.append((counter.get_total_flops() // 2, sum(tensor.numel() for tensor in net.state_dict().values())))
    assert (report.n_macs_before, report.n_parameters_before) == counts[0]
    assert (report.n_macs_after, report.n_parameters_after) == counts[1]
    assert report.fraction_of_parameters_removed == pytest.approx(1 - counts[1][1] / counts[0][1])
    assert report.fraction_of_macs_removed == pytest.approx(1 - counts[1][0] / counts[0][0])
    n_outputs = [
        sum(len(tensor) for name, tensor in net.state_dict().items() if tensor.ndim > 1 and name != "conv_out.weight")
        for net in (model, pruned)
    ]
    assert report.fraction_of_channels_removed == pytest.approx(1 - n_outputs[1] / n_outputs[0])
    assert json.loads(json.dumps(dataclasses.asdict(report)))["criterion"] == "magnitude"


def test_fraction_zero_switches_pruning_off(build):
    """No gradients are asked for either, whatever the criterion."""
    model = build(PLAIN)
    pruned, history, report = prune_channels(model, PruningConfig(fraction_removed=0, criterion="taylor"))
    assert history == []
    assert pruned is not model
    assert torch.equal(pruned.eval()(*batch(model)).sample, model.eval()(*batch(model)).sample)
    assert report.fraction_of_channels_removed == report.fraction_of_parameters_removed == 0
    assert report.n_macs_before == report.n_macs_after


def test_too_narrow_blocks_are_reported_and_warned_about(build, caplog):
    """One channel per norm group: only what feeds no norm can go, and below one channel not even that."""
    model = build({**PLAIN, "block_out_channels": (8, 8)})
    with caplog.at_level(logging.WARNING):
        _, history, report = prune_channels(model, PruningConfig())
        assert {step["layer"] for step in history if step["side"] == "out"} == {
            "time_embedding.linear_1",
            "time_embedding.linear_2",
            "up_blocks.0.resnets.1.conv2",  # its sum goes straight to the upsampler
            "up_blocks.0.resnets.1.conv_shortcut",
        }
        assert 0 < report.fraction_of_channels_removed < 0.15
        assert "norm_num_groups" in caplog.text
        caplog.clear()
        _, history, report = prune_channels(model, PruningConfig(fraction_removed=0.02))
    assert history == []
    assert report.fraction_of_channels_removed == 0
    assert "Only 0.0 % of the channels" in caplog.text


def test_almost_everything_can_go(build):
    """At the largest fraction every layer keeps at least one channel per norm group, and the model runs."""
    pruned, _, report = prune_channels(build(GREY), PruningConfig(fraction_removed=0.95))
    assert report.fraction_of_parameters_removed > 0.95
    assert pruned(*batch(pruned)).sample.isfinite().all()


@pytest.mark.parametrize(
    ("importance", "fraction", "n_parts", "expected"),
    [
        ([4, 3, 2, 1], 0.5, 1, [2, 3]),
        ([4, 3, 2, 1], 0.5, 2, [1, 3]),
        ([1, 1, 1, 1], 0.3, 1, [0]),
        ([1, 1, 1, 1], 0.2, 1, []),
        ([4, 3, 2, 1], 0.5, 3, []),
        (list(range(100)), 0.29, 1, list(range(29))),
    ],
)
def test_least_important(importance, fraction, n_parts, expected):
    assert _least_important(np.array(importance, float), fraction, n_parts) == expected


@pytest.mark.parametrize("criterion", ["taylor", "diff_pruning"])
def test_missing_gradients_are_named(build, criterion):
    with pytest.raises(ValueError, match=f"`{criterion}` needs `gradients`.*noise-prediction loss"):
        prune_channels(build(GREY), PruningConfig(criterion=criterion))


@pytest.mark.parametrize(
    ("gradients", "words"),
    [
        (lambda model, timestep: 1.0, "scalar tensor with graph, got 1.0"),
        (lambda model, timestep: torch.tensor(1.0), "requires_grad=False"),
        (lambda model, timestep: model.conv_in.weight, r"\(16, 1, 3, 3\)"),
        (lambda model, timestep: model.conv_in.weight.sum() * float("nan"), "nan at timestep 0"),
        (lambda model, timestep: model.conv_in.weight.square().sum(), "does not depend on"),
        (lambda model, timestep: sum((0 * p).sum() for p in model.parameters()), "zero"),
    ],
)
def test_unusable_gradients_are_refused(build, gradients, words):
    with pytest.raises(ValueError, match=words):
        prune_channels(build(GREY), PruningConfig(criterion="taylor"), gradients)


def test_weights_that_are_not_finite_are_refused(build):
    model = build(GREY)
    model.mid_block.resnets[0].conv1.weight.data[0, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"1 channels of `down_blocks.1.*NaN"):
        prune_channels(model, PruningConfig())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sample_size": None}, ["sample_size"]),
        ({"resnet_time_scale_shift": "scale_shift", "num_class_embeds": 3}, ["scale_shift", "class-conditional"]),
        ({"down_block_types": ("DownBlock2D", "SkipDownBlock2D")}, ["SkipDownBlock2D", "AttnDownBlock2D"]),
    ],
)
def test_architectures_that_cannot_be_pruned_are_refused(build, changes, words):
    with pytest.raises(ValueError, match="cannot be pruned") as error:
        prune_channels(build({**PLAIN, **changes}), PruningConfig())
    assert all(word in str(error.value) for word in words)


def test_pruned_models_and_other_modules_are_refused(build):
    pruned, _, _ = prune_channels(build(GREY), PruningConfig())
    with pytest.raises(ValueError, match="pruned already"):
        prune_channels(pruned, PruningConfig())
    with pytest.raises(TypeError, match=r"UNet2DModel, got Conv2d"):
        prune_channels(nn.Conv2d(1, 1, 1), PruningConfig())
