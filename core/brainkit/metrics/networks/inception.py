"""The Inception of 2015 that FID and KID are defined by, in plain torch.

It is not the network of the same name that torchvision ships: averages over a neighbourhood leave
the border's padding out, the last block takes a maximum instead, and pictures are resized as
TensorFlow 1 did. Names of tensors are those of the files people share, so these load as they are.

Source: Szegedy et al. 2015, arXiv 1512.00567; the network `pool_3` of Heusel et al. 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

SIDE: Final = 299
DIM: Final = 2048

Kernel = int | tuple[int, int]
Step = tuple[int, Kernel]
"""Channels and kernel of one convolution."""
_ACROSS: Final = (1, 7)
_DOWN: Final = (7, 1)


class Convolution(nn.Module):
    """A convolution without bias, normalised and rectified."""

    def __init__(self, inputs: int, step: Step, *, stride: int = 1, padded: bool = True) -> None:
        super().__init__()
        width, kernel = step
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (sides[0] // 2, sides[1] // 2) if padded else (0, 0)
        self.conv = nn.Conv2d(inputs, width, sides, stride=stride, padding=padding, bias=False)
        self.bn = nn.BatchNorm2d(width, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 (batch, channels, height, width)."""
        return functional.relu(self.bn(self.conv(x)))


class Block(nn.Module):
    """Paths side by side, their channels one after the other, the pooled path last.

    Args:
        inputs: channels that come in.
        paths: for each path its name and its steps; the convolutions of a path with several are
            numbered from 1.
        pooled: channels of the pooled path; 0 is a block that halves the sides.
        maximum: whether the pooled path takes the maximum of a neighbourhood, not its mean.
    """

    def __init__(
        self,
        inputs: int,
        paths: dict[str, Sequence[Step]],
        *,
        pooled: int = 0,
        maximum: bool = False,
    ) -> None:
        super().__init__()
        self.maximum = maximum
        self.halves = not pooled
        self.paths: list[list[str]] = []
        for path, steps in paths.items():
            names = [path if len(steps) == 1 else f"{path}_{i + 1}" for i in range(len(steps))]
            width = inputs
            for name, step in zip(names, steps, strict=True):
                last = self.halves and name == names[-1]
                convolution = Convolution(width, step, stride=2 if last else 1, padded=not last)
                self.add_module(name, convolution)
                width = step[0]
            self.paths.append(names)
        if pooled:
            self.branch_pool = Convolution(inputs, (pooled, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 (batch, channels, height, width)."""
        ends = []
        for names in self.paths:
            y = x
            for name in names:
                y = self.get_submodule(name)(y)
            ends.append(self.parted(names[0].rpartition("_")[0], y))
        if self.halves:
            return torch.cat([*ends, functional.max_pool2d(x, 3, stride=2)], dim=1)
        return torch.cat([*ends, self.branch_pool(self.pool(x))], dim=1)

    def parted(self, path: str, y: Tensor) -> Tensor:
        """Return what a path ends with; see `Fork`."""
        return y

    def pool(self, x: Tensor) -> Tensor:
        """Return each neighbourhood's maximum, or the mean of what lies inside the picture."""
        if self.maximum:
            return functional.max_pool2d(x, 3, stride=1, padding=1)
        return functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class Fork(Block):
    """A block of 2048 channels whose two long paths end in two convolutions each."""

    ends: Final = {"branch3x3": "branch3x3_2", "branch3x3dbl": "branch3x3dbl_3"}

    def __init__(self, inputs: int, *, maximum: bool) -> None:
        # A path of one step has no number, so the first's is written out.
        paths: dict[str, Sequence[Step]] = {
            "branch1x1": [(320, 1)],
            "branch3x3_1": [(384, 1)],
            "branch3x3dbl": [(448, 1), (384, 3)],
        }
        super().__init__(inputs, paths, pooled=192, maximum=maximum)
        for end in self.ends.values():
            self.add_module(f"{end}a", Convolution(384, (384, (1, 3))))
            self.add_module(f"{end}b", Convolution(384, (384, (3, 1))))

    def parted(self, path: str, y: Tensor) -> Tensor:
        """Return both ends of a long path."""
        if path not in self.ends:
            return y
        both = [self.get_submodule(f"{self.ends[path]}{side}")(y) for side in "ab"]
        return torch.cat(both, dim=1)


class Inception(nn.Module):
    """Features of pictures for FID: the mean over places of the last block's channels."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, (32, 3), stride=2, padded=False)
        self.Conv2d_2a_3x3 = Convolution(32, (32, 3), padded=False)
        self.Conv2d_2b_3x3 = Convolution(32, (64, 3))
        self.Conv2d_3b_1x1 = Convolution(64, (80, 1))
        self.Conv2d_4a_3x3 = Convolution(80, (192, 3), padded=False)
        for letter, inputs, pooled in (("b", 192, 32), ("c", 256, 64), ("d", 288, 64)):
            self.add_module(f"Mixed_5{letter}", _near(inputs, pooled))
        double = [(64, 1), (96, 3), (96, 3)]
        self.Mixed_6a = Block(288, {"branch3x3": [(384, 3)], "branch3x3dbl": double})
        for letter, width in (("b", 128), ("c", 160), ("d", 160), ("e", 192)):
            self.add_module(f"Mixed_6{letter}", _far(width))
        far: list[Step] = [(192, 1), (192, _ACROSS), (192, _DOWN), (192, 3)]
        self.Mixed_7a = Block(768, {"branch3x3": [(192, 1), (320, 3)], "branch7x7x3": far})
        self.Mixed_7b = Fork(1280, maximum=False)
        self.Mixed_7c = Fork(2048, maximum=True)

    def forward(self, images: Tensor) -> Tensor:
        """Return float32 (batch, 2048) of float (batch, 3, height, width) in [0, 255]."""
        x = (resized_as_before(images) - 128) / 128
        for name, layer in self.named_children():
            x = layer(x)
            if name in ("Conv2d_2b_3x3", "Conv2d_4a_3x3"):
                x = functional.max_pool2d(x, 3, stride=2)
        return x.mean(dim=(2, 3))


def resized_as_before(images: Tensor, side: int = SIDE) -> Tensor:
    """Resize (batch, channels, height, width) bilinearly as TensorFlow 1 did.

    Pixel i of the new picture is at i * old / new of the old one, without half a pixel's shift and
    without smoothing before it shrinks.
    """
    down, across = (_weights(n, side, images) for n in images.shape[2:])
    return down @ images @ across.T


def _weights(old: int, new: int, like: Tensor) -> Tensor:
    place = torch.arange(new, dtype=torch.float64) * old / new
    below = place.floor().long()
    share = place - below
    weights = torch.zeros(new, old, dtype=torch.float64)
    rows = torch.arange(new)
    weights[rows, below] += 1 - share
    weights[rows, (below + 1).clamp(max=old - 1)] += share
    return weights.to(like)


def _near(inputs: int, pooled: int) -> Block:
    paths: dict[str, Sequence[Step]] = {
        "branch1x1": [(64, 1)],
        "branch5x5": [(48, 1), (64, 5)],
        "branch3x3dbl": [(64, 1), (96, 3), (96, 3)],
    }
    return Block(inputs, paths, pooled=pooled)


def _far(width: int) -> Block:
    ends = [(width, _DOWN), (width, _ACROSS), (width, _DOWN), (192, _ACROSS)]
    paths: dict[str, Sequence[Step]] = {
        "branch1x1": [(192, 1)],
        "branch7x7": [(width, 1), (width, _ACROSS), (192, _DOWN)],
        "branch7x7dbl": [(width, 1), *ends],
    }
    return Block(768, paths, pooled=192)
