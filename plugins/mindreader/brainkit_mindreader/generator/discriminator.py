"""LAFITE's discriminator: StyleGAN2's, which also reads the conditions off the picture.

Source: Zhou et al. 2022, arXiv 2111.13792; Lin et al. 2022, arXiv 2210.01769 (three outputs);
Karras et al. 2020, arXiv 1912.04958.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainkit.errors import CheckpointError, DataError
from brainkit_mindreader.generator.layers import (
    TINY,
    Convolution,
    FullyConnected,
    exact,
    full,
    laid_out,
)
from brainkit_mindreader.generator.resample import binomial_filter
from brainkit_mindreader.generator.shape import COLOURS, HALVED, SMALLEST, GeneratorShape

GROUP = 4
"""Pictures in a group of the minibatch statistic, unless a checkpoint says otherwise."""
BALANCE = math.sqrt(0.5)
"""Keeps the spread of a sum of two maps."""
Semantic = Literal["batch", "sample"]


class Verdict(NamedTuple):
    """What the discriminator says of pictures.

    Attributes:
        logit: (batch, 1), above 0 for real.
        heads: the condition it reads, (batch, f_dim), one for each of the shape's `f_dims`.
        maps: feature maps after each block, (batch, channels, side, side).
    """

    logit: Tensor
    heads: tuple[Tensor, ...]
    maps: tuple[Tensor, ...]


class DownBlock(nn.Module):
    """A residual block that halves the side."""

    resample_filter: Tensor

    def __init__(self, shape: GeneratorShape, side: int) -> None:
        super().__init__()
        width, out, clamp = shape.channels(side), shape.channels(side // 2), shape.conv_clamp
        self.register_buffer("resample_filter", binomial_filter())
        self.first = side == shape.resolution
        if self.first:
            self.fromrgb = Convolution(COLOURS, width, 1, "lrelu", clamp=clamp)
        self.conv0 = Convolution(width, width, 3, "lrelu", clamp=clamp)
        self.conv1 = Convolution(width, out, 3, "lrelu", halve=True, clamp=clamp)
        self.skip = Convolution(width, out, 1, bias=False, halve=True)

    def forward(self, maps: Tensor) -> Tensor:
        """Return (batch, out, side / 2, side / 2)."""
        if self.first:
            maps = self.fromrgb(maps)
        around: Tensor = self.skip(maps, gain=BALANCE)
        through: Tensor = self.conv1(self.conv0(maps), gain=BALANCE)
        return around + through


class Epilogue(nn.Module):
    """The last block: spread over the batch, one convolution, and the outputs."""

    resample_filter: Tensor

    def __init__(self, shape: GeneratorShape) -> None:
        super().__init__()
        width = shape.channels(SMALLEST)
        self.conv = Convolution(width + 1, width, 3, "lrelu", clamp=shape.conv_clamp)
        self.fc = FullyConnected(width * SMALLEST**2, width, "lrelu")
        self.out = FullyConnected(width, 1)
        self.heads = len(shape.f_dims)
        for index, f_dim in enumerate(shape.f_dims):
            self.add_module(head_name(index), FullyConnected(width, f_dim))

    def forward(self, maps: Tensor, group: int | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the logit (batch, 1) without conditions, and the heads."""
        maps = self.conv(torch.cat([maps, spread(maps, group)], dim=1))
        flat = self.fc(maps.flatten(1))
        heads = tuple(self.get_submodule(head_name(i))(flat) for i in range(self.heads))
        return self.out(flat), heads


@dataclass(frozen=True)
class Judging:
    """How the conditions enter the logit, and how pictures are compared.

    Attributes:
        semantic: "batch" adds one sum over the batch to all logits, as published; "sample" each
            picture's own sum.
        normalise: whether heads are brought to length 1.
        group: pictures that are compared with one another; None for all of a batch.
    """

    semantic: Semantic = "batch"
    normalise: bool = False
    group: int | None = GROUP

    @classmethod
    def of(cls, config: Mapping[str, Any], semantic: Semantic = "batch") -> Judging:
        """Read a configuration file's table, in the words of the published code.

        Raises:
            CheckpointError: `use_norm` is neither true nor false, or `mbstd_group_size` no count.
        """
        normalise, group = config.get("use_norm", False), config.get("mbstd_group_size", GROUP)
        if type(normalise) is not bool:
            raise CheckpointError(f"a use_norm given as {normalise!r}, expected true or false")
        if group is not None and not (type(group) is int and group > 0):
            raise CheckpointError(
                f"an mbstd_group_size given as {group!r}, expected a count of pictures or none"
            )
        return cls(semantic, normalise, group)

    def config(self) -> dict[str, Any]:
        """Return the table for a configuration file."""
        return {"use_norm": self.normalise, "mbstd_group_size": self.group}


class Discriminator(nn.Module):
    """Pictures to a verdict under their conditions."""

    def __init__(self, shape: GeneratorShape, judging: Judging = Judging()) -> None:
        super().__init__()
        self.shape = shape
        self.judging = judging
        self.sides = tuple(reversed(shape.sides[1:]))
        for side in self.sides:
            self.add_module(f"b{side}", DownBlock(shape, side))
        self.b4 = Epilogue(shape)

    @classmethod
    def of(cls, config: Mapping[str, Any], semantic: Semantic = "batch") -> Discriminator:
        """Build the network of a configuration file's table, which judges as that says."""
        return cls(GeneratorShape.of(config), Judging.of(config, semantic))

    def config(self) -> dict[str, Any]:
        """Return the table for a configuration file."""
        return self.shape.config() | self.judging.config()

    def forward(self, pictures: Tensor, conditions: Sequence[Tensor]) -> Verdict:
        """Judge pictures (batch, 3, side, side) with conditions (batch, f_dim) of length 1.

        Raises:
            DataError: the batch cannot be divided into groups, see `spread`.
        """
        maps, seen = laid_out(pictures), []
        for side in self.sides[:HALVED]:
            maps = self.get_submodule(f"b{side}")(maps)
            seen.append(maps)
        maps = full(maps)
        with exact(maps.device):
            for side in self.sides[HALVED:]:
                maps = self.get_submodule(f"b{side}")(maps)
                seen.append(maps)
            logit, heads = self.b4(maps, self.judging.group)
        if self.judging.normalise:
            heads = tuple(functional.normalize(head, dim=1) for head in heads)
        logit = logit + self._agreement(heads, conditions)
        return Verdict(logit, heads, tuple(seen))

    def _agreement(self, heads: Sequence[Tensor], conditions: Sequence[Tensor]) -> Tensor:
        pairs = zip(heads, conditions, strict=True)
        products = [(head * condition).sum(dim=1, keepdim=True) for head, condition in pairs]
        agreement = torch.stack(products).mean(dim=0)
        return agreement.sum() if self.judging.semantic == "batch" else agreement


def spread(maps: Tensor, group: int | None = GROUP) -> Tensor:
    """Return one map of how much pictures of a group differ, (batch, 1, height, width).

    Pictures n, n + batch / group, ... make a group.

    Args:
        maps: (batch, channels, height, width).
        group: pictures in a group; a batch smaller than that is one group, as any is for None.

    Raises:
        DataError: the batch is no multiple of its groups.
    """
    batch, channels, height, width = maps.shape
    size = batch if group is None else min(group, batch)
    if batch % size:
        raise DataError(
            f"a batch of {batch} pictures cannot be divided into groups of {size} for the "
            f"discriminator; take a multiple of {group} pictures a process, or at most {group}"
        )
    grouped = maps.reshape(size, batch // size, channels, height, width)
    value = (grouped.var(dim=0, correction=0) + TINY).sqrt().mean(dim=(1, 2, 3))
    return value.repeat(size).view(batch, 1, 1, 1).expand(-1, -1, height, width)


def head_name(index: int) -> str:
    """Return the name of the layer that reads a condition.

    >>> head_name(0), head_name(1)
    ('fts', 'fts2')
    """
    return f"fts{index + 1}" if index else "fts"
