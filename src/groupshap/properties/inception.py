"""Inception-v3 in plain torch: the network of FID and Inception Score.

Szegedy et al. 2016 (arXiv:1512.00567), figures 5 to 7 and table 1. Attributes carry the names that torchvision gave the
weights, which the port of the original TensorFlow graph (1008 outputs, behind every published FID) kept. The two graphs
differ in three places: that one averages over real pixels only at the borders, takes a maximum instead of the average
in its last block, and has no bias in the logits of the Inception Score (Salimans et al. 2016, their code).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own habit)

__all__ = ["IMAGE_SIZE_PX", "N_CLASSES_FID", "InceptionV3", "inception_v3"]

IMAGE_SIZE_PX = 299
N_CLASSES_FID = 1008

Kernel = int | tuple[int, int]
Step = tuple[int, Kernel, int]
"""Output channels, kernel size, stride."""


class _Conv(nn.Module):
    def __init__(self, n_in: int, n_out: int, kernel: Kernel, stride: int = 1, *, pads: bool = True) -> None:
        super().__init__()
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = tuple(side // 2 for side in sides) if pads else 0
        self.conv = nn.Conv2d(n_in, n_out, sides, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(n_out, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class _Block(nn.Module):
    """Paths side by side, then pooling, concatenated.

    Args:
        n_in: Input channels.
        paths: Name of each path to its steps; a step of stride 2 does not pad.
        n_pool: Channels after pooling; None: maximum with stride 2, no convolution.
        pool: ``average`` (with zeros beyond the border), ``inner`` (without) or ``maximum``.
    """

    def __init__(self, n_in: int, paths: Mapping[str, tuple[Step, ...]], n_pool: int | None, pool: str) -> None:
        super().__init__()
        self.names, self.pool, self.halves = [], pool, n_pool is None
        for path, steps in paths.items():
            n, names = n_in, []
            for number, (n_out, kernel, stride) in enumerate(steps, start=1):
                names.append(path if len(steps) == 1 else f"{path}_{number}")
                self.add_module(names[-1], _Conv(n, n_out, kernel, stride, pads=stride == 1))
                n = n_out
            self.names.append(names)
        if n_pool is not None:
            self.branch_pool = _Conv(n_in, n_pool, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([*(self.follow(x, names) for names in self.names), self.pooled(x)], dim=1)

    def follow(self, x: Tensor, names: list[str]) -> Tensor:
        for name in names:
            x = getattr(self, name)(x)
        return x

    def pooled(self, x: Tensor) -> Tensor:
        if self.halves:
            return F.max_pool2d(x, 3, 2)
        if self.pool == "maximum":
            return self.branch_pool(F.max_pool2d(x, 3, 1, 1))
        return self.branch_pool(F.avg_pool2d(x, 3, 1, 1, count_include_pad=self.pool == "average"))


class _ForkedBlock(_Block):
    """The last two paths end in a row and a column kernel side by side."""

    def __init__(self, n_in: int, pool: str) -> None:
        paths = {
            "branch1x1": ((320, 1, 1),),
            "branch3x3_1": ((384, 1, 1),),
            "branch3x3dbl": ((448, 1, 1), (384, 3, 1)),
        }
        super().__init__(n_in, paths, 192, pool)
        self.forks = {"branch3x3_2": ["branch3x3_1"], "branch3x3dbl_3": ["branch3x3dbl_1", "branch3x3dbl_2"]}
        for name in self.forks:
            self.add_module(f"{name}a", _Conv(384, 384, (1, 3)))
            self.add_module(f"{name}b", _Conv(384, 384, (3, 1)))

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.branch1x1(x)]
        for name, before in self.forks.items():
            inner = self.follow(x, before)
            parts += [getattr(self, f"{name}{side}")(inner) for side in "ab"]
        return torch.cat([*parts, self.pooled(x)], dim=1)


def _a(n_in: int, n_pool: int, pool: str) -> _Block:
    paths = {
        "branch1x1": ((64, 1, 1),),
        "branch5x5": ((48, 1, 1), (64, 5, 1)),
        "branch3x3dbl": ((64, 1, 1), (96, 3, 1), (96, 3, 1)),
    }
    return _Block(n_in, paths, n_pool, pool)


def _c(n: int, pool: str) -> _Block:
    row, column = (1, 7), (7, 1)
    paths = {
        "branch1x1": ((192, 1, 1),),
        "branch7x7": ((n, 1, 1), (n, row, 1), (192, column, 1)),
        "branch7x7dbl": ((n, 1, 1), (n, column, 1), (n, row, 1), (n, column, 1), (192, row, 1)),
    }
    return _Block(768, paths, 192, pool)


class InceptionV3(nn.Module):
    """Features and class logits of RGB images; ``n_classes`` 1008: the graph behind FID; otherwise torchvision's."""

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.is_fid = n_classes == N_CLASSES_FID
        pool = "inner" if self.is_fid else "average"
        self.Conv2d_1a_3x3 = _Conv(3, 32, 3, 2, pads=False)
        self.Conv2d_2a_3x3 = _Conv(32, 32, 3, pads=False)
        self.Conv2d_2b_3x3 = _Conv(32, 64, 3)
        self.Conv2d_3b_1x1 = _Conv(64, 80, 1)
        self.Conv2d_4a_3x3 = _Conv(80, 192, 3, pads=False)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = _a(192, 32, pool), _a(256, 64, pool), _a(288, 64, pool)
        three, double = ((384, 3, 2),), ((64, 1, 1), (96, 3, 1), (96, 3, 2))
        self.Mixed_6a = _Block(288, {"branch3x3": three, "branch3x3dbl": double}, None, pool)
        self.Mixed_6b, self.Mixed_6c = _c(128, pool), _c(160, pool)
        self.Mixed_6d, self.Mixed_6e = _c(160, pool), _c(192, pool)
        three, seven = ((192, 1, 1), (320, 3, 2)), ((192, 1, 1), (192, (1, 7), 1), (192, (7, 1), 1), (192, 3, 2))
        self.Mixed_7a = _Block(768, {"branch3x3": three, "branch7x7x3": seven}, None, pool)
        self.Mixed_7b = _ForkedBlock(1280, pool)
        self.Mixed_7c = _ForkedBlock(2048, "maximum" if self.is_fid else pool)
        self.fc = nn.Linear(2048, n_classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features (n, 2048) averaged over the image, and logits (n, n_classes).

        Args:
            images: (n, 3, height, width) float32, RGB, in [-1, 1]; at least 75 px.
        """
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(images)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = F.max_pool2d(x, 3, 2)
        for stage in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"):
            x = getattr(self, f"Mixed_{stage}")(x)
        features = x.mean(dim=(2, 3))
        return features, F.linear(features, self.fc.weight, None if self.is_fid else self.fc.bias)


def inception_v3(state: Mapping[str, Tensor]) -> InceptionV3:
    """The network with these weights, for inference only; which graph it is shows in the number of classes.

    Raises:
        KeyError, RuntimeError: the state dict is not that of Inception-v3; torch's message lists the keys.
    """
    own = {name: value.float() for name, value in state.items() if not name.startswith("AuxLogits.")}
    with torch.device("meta"):  # no time for random weights that are replaced at once
        network = InceptionV3(len(own["fc.weight"]))
    for name, value in network.state_dict().items():
        if name.endswith("num_batches_tracked"):  # read in training only; some files lack it
            own[name] = torch.zeros(value.shape, dtype=value.dtype)
    network.load_state_dict(own, strict=True, assign=True)
    return network.eval().requires_grad_(False)
