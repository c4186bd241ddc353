"""EfficientNet-Lite0 in plain torch: the network behind the feature properties.

Tan & Le 2019 (arXiv:1905.11946), Table 1 is the B0 architecture. The Lite variant (R. Liu, TensorFlow blog, March 2020)
drops squeeze-and-excitation and replaces swish by ReLU6. Attributes carry the names of the published state dict, so
that it loads strictly; batch norms are then merged into their convolutions, which changes nothing but rounding and
speed.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own habit)
from torch.nn.utils import fuse_conv_bn_eval

__all__ = ["N_CLASSES", "N_FEATURES", "EfficientNetLite0", "efficientnet_lite0"]

N_FEATURES = 1280
N_CLASSES = 1000

# expansion, kernel size, stride of the first block, channels, blocks: stages 2 to 8 of Table 1
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)


class _SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's padding "SAME": where the total is odd, the far side gets one more than the near.

    The weights were trained so; symmetric padding would shift every feature map by half a pixel per stride.
    """

    def forward(self, x: Tensor) -> Tensor:
        pads = []
        for n, k, s in zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):  # width, height
            total = max((-(-n // s) - 1) * s + k - n, 0)
            pads += [total // 2, total - total // 2]
        if pads[0::2] == pads[1::2]:  # symmetric: the convolution pads by itself, without a copy
            return F.conv2d(x, self.weight, self.bias, self.stride, (pads[2], pads[0]), 1, self.groups)
        return F.conv2d(F.pad(x, pads), self.weight, self.bias, self.stride, 0, 1, self.groups)


def _conv(n_in: int, n_out: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return _SameConv2d(n_in, n_out, kernel, stride, groups=groups, bias=False)


def _norm(n_channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(n_channels, eps=1e-3)  # TensorFlow's epsilon, not torch's


class _Block(nn.Module):
    """Inverted residual: expand (unless the factor is 1), filter each channel, project, add if the shape is kept."""

    def __init__(self, n_in: int, n_out: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        n_inner = n_in * expansion
        self.expands = expansion != 1
        self.adds = stride == 1 and n_in == n_out
        if self.expands:
            self._expand_conv, self._bn0 = _conv(n_in, n_inner), _norm(n_inner)
        self._depthwise_conv, self._bn1 = _conv(n_inner, n_inner, kernel, stride, groups=n_inner), _norm(n_inner)
        self._project_conv, self._bn2 = _conv(n_inner, n_out), _norm(n_out)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        inner = F.relu6(self._bn1(self._depthwise_conv(inner)))
        out = self._bn2(self._project_conv(inner))
        return x + out if self.adds else out


class EfficientNetLite0(nn.Module):
    """Features and class logits of RGB images."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = _conv(3, 32, kernel=3, stride=2), _norm(32)
        blocks, n_in = [], 32
        for expansion, kernel, stride, n_out, n_blocks in STAGES:
            for index in range(n_blocks):
                blocks.append(_Block(n_in, n_out, expansion, kernel, stride if index == 0 else 1))
                n_in = n_out
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = _conv(n_in, N_FEATURES), _norm(N_FEATURES)
        self._fc = nn.Linear(N_FEATURES, N_CLASSES)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features (n, 1280) averaged over the image, and logits (n, 1000).

        Args:
            images: (n, 3, height, width) float32, RGB, (x - 127) / 128 of x in [0, 255], as in training.
        """
        x = F.relu6(self._bn0(self._conv_stem(images)))
        for block in self._blocks:
            x = block(x)
        features = F.relu6(self._bn1(self._conv_head(x))).mean(dim=(2, 3))
        return features, self._fc(features)


def efficientnet_lite0(state: Mapping[str, Tensor]) -> EfficientNetLite0:
    """The network with these weights, for inference only, channels last.

    Raises:
        RuntimeError: the state dict is not that of EfficientNet-Lite0; torch's message lists the keys.
    """
    with torch.device("meta"):  # no time for random weights that are replaced at once
        network = EfficientNetLite0()
    network.load_state_dict(state, strict=True, assign=True)
    network.eval().requires_grad_(False)
    for module in [network, *network._blocks]:
        _merge_norms(module)
    return network.to(memory_format=torch.channels_last)


def _merge_norms(module: nn.Module) -> None:
    pairs = (
        ("_conv_stem", "_bn0"),
        ("_conv_head", "_bn1"),
        ("_expand_conv", "_bn0"),
        ("_depthwise_conv", "_bn1"),
        ("_project_conv", "_bn2"),
    )
    for conv, norm in pairs:
        if hasattr(module, conv):
            setattr(module, conv, fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm)))
            setattr(module, norm, nn.Identity())
