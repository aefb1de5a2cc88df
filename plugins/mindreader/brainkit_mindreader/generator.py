"""LAFITE's generator: StyleGAN2 whose every layer also sees conditions, here one or more.

Two conditions make Mind Reader's generator, one makes LAFITE's. Names of weights are those of the
published networks.

Source: Zhou et al. 2022, arXiv 2111.13792 (LAFITE); Lin et al. 2022, arXiv 2210.01769 (two heads
merged by maximum); Karras et al. 2020, arXiv 1912.04958 (StyleGAN2).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import reduce
from typing import Any, Literal

import torch
from torch import Generator as Randomness
from torch import Tensor, nn
from torch.nn import functional

from brainkit_mindreader.layers import FullyConnected, activated
from brainkit_mindreader.resample import binomial_filter, conv_doubled, doubled

NoiseMode = Literal["const", "random", "none"]
Conditions = Sequence["Tensor | None"]
"""One (batch, f_dim) for each of a shape's `f_dims`; None leaves that branch out of the maximum."""
SMALLEST = 4
TINY = 1e-8
COLOURS = 3
SLOW = 0.01
"""Multiplier of the learning rate in the mapping network and in the condition branches."""
AVERAGE_DECAY = 0.995


@dataclass(frozen=True)
class GeneratorShape:
    """Sizes of a generator; the defaults are those of the released Mind Reader.

    Attributes:
        resolution: side of the picture in pixels, a power of 2 from 8 on.
        z_dim: numbers in the noise vector.
        w_dim: numbers in a style vector.
        f_dims: numbers in each condition.
        cond_width: numbers in the output of each condition branch.
        channel_base: channels at side s are this over s, up to `channel_max`.
        mapping_layers: depth of the mapping network.
        conv_clamp: largest magnitude in a feature map.
    """

    resolution: int = 256
    z_dim: int = 512
    w_dim: int = 512
    f_dims: tuple[int, ...] = (512, 512)
    cond_width: int = 512
    channel_base: int = 32768
    channel_max: int = 512
    mapping_layers: int = 8
    conv_clamp: float = 256.0

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> GeneratorShape:
        """Read a configuration file's table, ignoring what is not a size."""
        known = {name: config[name] for name in cls.__dataclass_fields__ if name in config}
        return cls(**known | {"f_dims": tuple(known.get("f_dims", cls.f_dims))})

    def config(self) -> dict[str, Any]:
        """Give the table for a configuration file."""
        return asdict(self) | {"f_dims": list(self.f_dims)}

    def with_heads(self, heads: int) -> GeneratorShape:
        """Give the same shape with so many conditions, each as wide as the first."""
        return replace(self, f_dims=self.f_dims[:1] * heads)

    @property
    def sides(self) -> tuple[int, ...]:
        """Sides of the blocks in pixels, ascending."""
        return tuple(2**n for n in range(2, int(math.log2(self.resolution)) + 1))

    @property
    def num_ws(self) -> int:
        """How many style vectors a picture takes."""
        return 2 * len(self.sides)

    def channels(self, side: int) -> int:
        """Give the channels of the feature map of a side."""
        return min(self.channel_base // side, self.channel_max)


class StyleMapping(nn.Module):
    """The mapping network: noise to style vectors."""

    w_avg: Tensor

    def __init__(self, shape: GeneratorShape) -> None:
        super().__init__()
        self.num_ws = shape.num_ws
        self.layers = shape.mapping_layers
        widths = (shape.z_dim, *(shape.w_dim,) * self.layers)
        for index in range(self.layers):
            layer = FullyConnected(widths[index], widths[index + 1], "lrelu", SLOW)
            self.add_module(f"fc{index}", layer)
        self.register_buffer("w_avg", torch.zeros(shape.w_dim))

    def forward(self, z: Tensor, psi: float = 1.0, cutoff: int | None = None) -> Tensor:
        """Give style vectors (batch, num_ws, w_dim) for noise (batch, z_dim).

        Args:
            z: noise.
            psi: truncation; below 1 draws styles towards their average.
            cutoff: how many of the first vectors are truncated; None for all.
        """
        w = z * (z.square().mean(dim=1, keepdim=True) + TINY).rsqrt()
        for index in range(self.layers):
            w = self.get_submodule(f"fc{index}")(w)
        ws = w.unsqueeze(1).repeat(1, self.num_ws, 1)
        if psi == 1:
            return ws
        drawn = self.w_avg.lerp(ws[:, :cutoff], psi)
        return drawn if cutoff is None else torch.cat([drawn, ws[:, cutoff:]], dim=1)

    @torch.no_grad()
    def follow(self, ws: Tensor) -> None:
        """Move the running average of style vectors towards a batch's mean."""
        self.w_avg.lerp_(ws[:, 0].mean(dim=0).to(self.w_avg), 1 - AVERAGE_DECAY)


class Styled(nn.Module):
    """A layer whose input channels are scaled by a style of conditions and style vector.

    Each condition passes a branch of its own; branches are merged by their maximum.
    """

    def __init__(self, shape: GeneratorShape, channels: int) -> None:
        super().__init__()
        for index, f_dim in enumerate(shape.f_dims):
            first, second = branch_names(index)
            between = (f_dim + shape.cond_width) // 2
            self.add_module(first, FullyConnected(f_dim, between, "lrelu", SLOW))
            self.add_module(second, FullyConnected(between, shape.cond_width, "lrelu", SLOW))
        width = shape.cond_width + shape.w_dim
        self.affine_0 = FullyConnected(width, channels, bias=1.0)

    def style(self, w: Tensor, conditions: Conditions) -> Tensor:
        """Give the factor of every input channel, (batch, channels)."""
        seen = []
        for index, condition in enumerate(conditions):
            if condition is not None:
                first, second = (self.get_submodule(name) for name in branch_names(index))
                seen.append(second(first(condition)))
        merged = reduce(torch.maximum, seen)
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
        self.double = double
        self.clamp = shape.conv_clamp
        self.weight = nn.Parameter(torch.randn(out, width, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.register_buffer("resample_filter", binomial_filter())
        self.register_buffer("noise_const", torch.randn(side, side))

    def forward(self, maps: Tensor, w: Tensor, conditions: Conditions, noise: Noise) -> Tensor:
        """Give (batch, out, side, side)."""
        styles = self.style(w, conditions)
        maps = maps * styles.to(maps.dtype)[:, :, None, None]
        if self.double:
            maps = conv_doubled(maps, self.weight, self.resample_filter)
        else:
            maps = functional.conv2d(maps, self.weight, padding=1)
        energy = self.weight.square().sum(dim=(2, 3))
        demodulate = (styles.square() @ energy.T + TINY).rsqrt()
        maps = maps * demodulate.to(maps.dtype)[:, :, None, None]
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
        """Give (batch, 3, side, side)."""
        styles = self.style(w, conditions) * self.scale
        maps = functional.conv2d(maps * styles.to(maps.dtype)[:, :, None, None], self.weight)
        return activated(maps, self.bias, "linear", clamp=self.clamp)


class Block(nn.Module):
    """Two convolutions at one side, and the picture grown to that side."""

    resample_filter: Tensor

    def __init__(self, shape: GeneratorShape, side: int) -> None:
        super().__init__()
        out = shape.channels(side)
        self.first = side == SMALLEST
        self.register_buffer("resample_filter", binomial_filter())
        if self.first:
            self.const = nn.Parameter(torch.randn(out, side, side))
        else:
            width = shape.channels(side // 2)
            self.conv0 = StyledConvolution(shape, width, out, side, double=True)
        self.conv1 = StyledConvolution(shape, out, out, side)
        self.torgb = ToRGB(shape, out)

    def forward(
        self,
        maps: Tensor | None,
        picture: Tensor | None,
        ws: Sequence[Tensor],
        conditions: Conditions,
        noise: Noise,
    ) -> tuple[Tensor, Tensor]:
        """Give feature maps and picture at this block's side."""
        if maps is None or picture is None:
            maps = self.const.expand(len(ws[0]), *self.const.shape)
            maps = self.conv1(maps, ws[0], conditions, noise)
            return maps, self.torgb(maps, ws[1], conditions)
        maps = self.conv0(maps, ws[0], conditions, noise)
        maps = self.conv1(maps, ws[1], conditions, noise)
        colours = self.torgb(maps, ws[2], conditions)
        return maps, doubled(picture, self.resample_filter).to(colours.dtype) + colours


class Synthesis(nn.Module):
    """Style vectors and conditions to a picture."""

    def __init__(self, shape: GeneratorShape) -> None:
        super().__init__()
        self.sides = shape.sides
        for side in self.sides:
            self.add_module(f"b{side}", Block(shape, side))

    def forward(self, ws: Tensor, conditions: Conditions, noise: Noise) -> Tensor:
        """Give (batch, 3, side, side) for style vectors (batch, num_ws, w_dim)."""
        maps: Tensor | None = None
        picture: Tensor | None = None
        slots = ws.unbind(dim=1)
        at = 0
        for side in self.sides:
            convolutions = 1 if maps is None else 2
            taken = slots[at : at + convolutions + 1]
            maps, picture = self.get_submodule(f"b{side}")(maps, picture, taken, conditions, noise)
            at += convolutions
        assert picture is not None
        return picture.float() if picture.dtype in (torch.float16, torch.bfloat16) else picture


@dataclass(frozen=True)
class Noise:
    """The noise added to feature maps.

    Attributes:
        mode: "const" is stored with the weights, "random" is drawn, "none" adds nothing.
        generators: of "random", one an image, so that an image does not depend on its batch; None
            draws from torch's own.
    """

    mode: NoiseMode = "const"
    generators: Sequence[Randomness] | None = None

    def of(self, layer: StyledConvolution, batch: int) -> Tensor | None:
        """Give a layer's noise, to be broadcast over (batch, channels, side, side)."""
        if self.mode == "none":
            return None
        const, strength = layer.noise_const, layer.noise_strength
        if self.mode == "const":
            return const * strength
        if self.generators is None:
            drawn = torch.randn(batch, 1, *const.shape, device=const.device)
        else:
            rows = [torch.randn(1, *const.shape, generator=each) for each in self.generators]
            drawn = torch.stack(rows).to(const.device)
        return drawn * strength


CONST = Noise()


class Generator(nn.Module):
    """Noise and conditions to a picture in about [-1, 1]."""

    def __init__(self, shape: GeneratorShape) -> None:
        super().__init__()
        self.shape = shape
        self.synthesis = Synthesis(shape)
        self.mapping = StyleMapping(shape)

    def forward(
        self,
        z: Tensor,
        conditions: Conditions,
        noise: Noise = CONST,
        psi: float = 1.0,
        cutoff: int | None = None,
    ) -> Tensor:
        """Give float32 (batch, 3, resolution, resolution).

        Args:
            z: noise (batch, z_dim).
            conditions: one (batch, f_dim) for each of the shape's `f_dims`, of length 1, not all
                None.
            noise: what is added to feature maps.
            psi: truncation, see `StyleMapping`.
            cutoff: how many style vectors are truncated.
        """
        picture: Tensor = self.synthesis(self.mapping(z, psi, cutoff), conditions, noise)
        return picture


def branch_names(index: int) -> tuple[str, str]:
    """Give the names of both layers of a condition's branch.

    >>> branch_names(0), branch_names(1)
    (('pre_0', 'pre_1'), ('pre_01', 'pre_11'))
    """
    end = str(index) if index else ""
    return f"pre_0{end}", f"pre_1{end}"
