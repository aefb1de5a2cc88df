"""The generator's layers, whose input channels are scaled by what they are to show.

Names of weights are those of the published networks.

Source: Karras et al. 2020, arXiv 1912.04958 (modulation, demodulation); Zhou et al. 2022, arXiv
2111.13792 (conditions); Lin et al. 2022, arXiv 2210.01769 (two of them merged by maximum).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Literal

import torch
from torch import Generator as Randomness
from torch import Tensor, nn
from torch.nn import functional

from brainkit.errors import DataError
from brainkit_mindreader.generator.layers import TINY, FullyConnected, activated, exact, halved
from brainkit_mindreader.generator.resample import binomial_filter, conv_doubled
from brainkit_mindreader.generator.shape import COLOURS, GeneratorShape, Merge

NoiseMode = Literal["const", "random", "none"]
Conditions = Sequence["Tensor | None"]
"""One (batch, f_dim) for each of a shape's `f_dims`; None leaves that branch out of the maximum."""
SLOW = 0.01
"""Multiplier of the learning rate in the mapping network and in the condition branches."""


@dataclass(frozen=True)
class Noise:
    """The noise added to feature maps.

    Attributes:
        mode: "const" is stored with the weights, "random" is drawn, "none" adds nothing.
        generators: of "random", on the CPU, one a picture, so that a picture depends neither on its
            batch nor on the device.
    """

    mode: NoiseMode = "const"
    generators: Sequence[Randomness] = ()

    def of(self, layer: StyledConvolution, batch: int) -> Tensor | None:
        """Return a layer's noise, to be broadcast over (batch, channels, side, side).

        Raises:
            DataError: "random" has not as many generators as pictures.
        """
        if self.mode == "none":
            return None
        const = layer.noise_const
        if self.mode == "random":
            if len(self.generators) != batch:
                raise DataError(
                    f"random noise of {batch} pictures was given {len(self.generators)} sources "
                    "of randomness; give one a picture"
                )
            rows = [torch.randn(1, *const.shape, generator=each) for each in self.generators]
            const = torch.stack(rows).to(const)
        return const * layer.noise_strength


class Styled(nn.Module):
    """A layer whose input channels are scaled by a style of conditions and style vector.

    Each condition passes a branch of its own; what branches give is merged, by its maximum in Mind
    Reader.
    """

    def __init__(self, shape: GeneratorShape, channels: int) -> None:
        super().__init__()
        self.merge: Merge = shape.merge
        for index, f_dim in enumerate(shape.f_dims):
            first, second = branch_names(index)
            between = (f_dim + shape.cond_width) // 2
            self.add_module(first, FullyConnected(f_dim, between, "lrelu", SLOW))
            self.add_module(second, FullyConnected(between, shape.cond_width, "lrelu", SLOW))
        width = shape.cond_width + shape.w_dim
        self.affine_0 = FullyConnected(width, channels, bias=1.0)

    def style(self, w: Tensor, conditions: Conditions) -> Tensor:
        """Return the factor of every input channel, (batch, channels)."""
        seen: list[Tensor] = []
        for index, condition in enumerate(conditions):
            if condition is not None:
                first, second = (self.get_submodule(name) for name in branch_names(index))
                seen.append(second(first(condition)))
        merged = merge_branches(seen, self.merge)
        styles: Tensor = self.affine_0(torch.cat([merged, w], dim=1))
        return styles


class StyledConvolution(Styled):
    """A 3x3 convolution, modulated and demodulated, with noise; doubles the side if asked."""

    resample_filter: Tensor
    noise_const: Tensor

    def __init__(
        self, shape: GeneratorShape, width: int, out: int, side: int, *, double: bool = False
    ) -> None:
        super().__init__(shape, width)
        self.doubles = double
        self.clamp = shape.conv_clamp
        self.weight = nn.Parameter(torch.randn(out, width, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.register_buffer("resample_filter", binomial_filter())
        self.register_buffer("noise_const", torch.randn(side, side))

    def forward(self, maps: Tensor, w: Tensor, conditions: Conditions, noise: Noise) -> Tensor:
        """Return (batch, out, side, side)."""
        weight: Tensor = self.weight
        styles = self.style(w, conditions)
        if halved(maps.device):
            weight, styles = balanced(weight, styles)
        maps = maps * _over_maps(styles, maps)
        if self.doubles:
            maps = conv_doubled(maps, weight, self.resample_filter)
        else:
            maps = functional.conv2d(maps, weight, padding=1)
        maps = maps * _over_maps(demodulation(weight, styles), maps)
        drawn = noise.of(self, len(maps))
        if drawn is not None:
            maps = maps + drawn.to(maps.dtype)
        return activated(maps, self.bias, "lrelu", clamp=self.clamp)


class ToRGB(Styled):
    """Turns feature maps into colours by a modulated 1x1 convolution."""

    def __init__(self, shape: GeneratorShape, width: int) -> None:
        super().__init__(shape, width)
        self.clamp = shape.conv_clamp
        self.scale = 1 / math.sqrt(width)
        self.weight = nn.Parameter(torch.randn(COLOURS, width, 1, 1))
        self.bias = nn.Parameter(torch.zeros(COLOURS))

    def forward(self, maps: Tensor, w: Tensor, conditions: Conditions) -> Tensor:
        """Return (batch, 3, side, side)."""
        styles = self.style(w, conditions) * self.scale
        maps = functional.conv2d(maps * _over_maps(styles, maps), self.weight)
        return activated(maps, self.bias, "linear", clamp=self.clamp)


def branch_names(index: int) -> tuple[str, str]:
    """Return the names of both layers of a condition's branch.

    >>> branch_names(0), branch_names(1)
    (('pre_0', 'pre_1'), ('pre_01', 'pre_11'))
    """
    end = str(index) if index else ""
    return f"pre_0{end}", f"pre_1{end}"


def merge_branches(branches: Sequence[Tensor], merge: Merge) -> Tensor:
    """Merge tensors of one shape entry by entry."""
    if merge == "mean":
        return torch.stack(list(branches)).mean(dim=0)
    return reduce(torch.maximum if merge == "max" else signed_max, branches)


def signed_max(first: Tensor, second: Tensor) -> Tensor:
    """Return, entry by entry, the one of larger magnitude with its sign; the second where equal."""
    return torch.where(first.abs() > second.abs(), first, second)


def balanced(weight: Tensor, styles: Tensor) -> tuple[Tensor, Tensor]:
    """Scale weights and styles so that half precision can hold what they give.

    Demodulation undoes it but for its small constant. Each output's weights are divided by their
    largest magnitude and by the root of their number, each picture's styles by their largest.

    Args:
        weight: (out, in, height, width).
        styles: (batch, in).

    Source: Karras et al. 2020, arXiv 2006.06676 (mixed-precision training).
    """
    largest = weight.abs().amax(dim=(1, 2, 3), keepdim=True).clamp_min(TINY)
    steepest = styles.abs().amax(dim=1, keepdim=True).clamp_min(TINY)
    return weight / (largest * math.sqrt(weight[0].numel())), styles / steepest


def demodulation(weight: Tensor, styles: Tensor) -> Tensor:
    """Return the factor (batch, out) that brings outputs of unit inputs back to unit spread.

        d_bo = 1 / sqrt(sum over inputs i and places k of (W_oik s_bi)^2 + 1e-8)

    Args:
        weight: (out, in, height, width).
        styles: (batch, in).
    """
    with exact(styles.device):
        energy = weight.square().sum(dim=(2, 3))
        return (styles.square() @ energy.T + TINY).rsqrt()


def _over_maps(factors: Tensor, maps: Tensor) -> Tensor:
    return factors.to(maps.dtype)[:, :, None, None]
