"""LAFITE's generator: StyleGAN2 whose every layer also sees conditions, here one or more.

Two conditions make Mind Reader's generator, one makes LAFITE's. Names of weights are those of the
published networks.

Source: Zhou et al. 2022, arXiv 2111.13792 (LAFITE); Lin et al. 2022, arXiv 2210.01769 (two heads
merged by maximum); Karras et al. 2020, arXiv 1912.04958 (StyleGAN2).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from brainkit.errors import DataError
from brainkit_mindreader.generator.layers import TINY, FullyConnected, exact, full, laid_out
from brainkit_mindreader.generator.resample import binomial_filter, doubled
from brainkit_mindreader.generator.shape import HALVED, SMALLEST, GeneratorShape
from brainkit_mindreader.generator.styled import SLOW, Conditions, Noise, StyledConvolution, ToRGB

__all__ = ["CONST", "Conditions", "Generator", "GeneratorShape", "Noise"]

CONST = Noise()
AVERAGE_DECAY = 0.995


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
        """Return style vectors (batch, num_ws, w_dim) for noise (batch, z_dim).

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


class Block(nn.Module):
    """Two convolutions at one side, and the picture grown to that side."""

    resample_filter: Tensor

    def __init__(self, shape: GeneratorShape, side: int) -> None:
        super().__init__()
        out = shape.channels(side)
        self.register_buffer("resample_filter", binomial_filter())
        if side == SMALLEST:
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
        """Return feature maps and picture at this block's side; the first block is given None."""
        if maps is None or picture is None:
            maps = laid_out(self.const.expand(len(ws[0]), *self.const.shape))
            maps = self.conv1(maps, ws[0], conditions, noise)
            return maps, full(self.torgb(maps, ws[1], conditions))
        maps = self.conv0(maps, ws[0], conditions, noise)
        maps = self.conv1(maps, ws[1], conditions, noise)
        colours = self.torgb(maps, ws[2], conditions)
        with exact(picture.device):
            grown = doubled(picture, self.resample_filter)
        return maps, grown + full(colours)


class Synthesis(nn.Module):
    """Style vectors and conditions to a picture."""

    def __init__(self, shape: GeneratorShape) -> None:
        super().__init__()
        self.sides, self.f_dims = shape.sides, shape.f_dims
        for side in self.sides:
            self.add_module(f"b{side}", Block(shape, side))

    def forward(self, ws: Tensor, conditions: Conditions, noise: Noise) -> Tensor:
        """Return (batch, 3, side, side) for style vectors (batch, num_ws, w_dim).

        Raises:
            DataError: the conditions are not those of the shape.
        """
        self._check(conditions, len(ws))
        maps: Tensor | None = None
        picture: Tensor | None = None
        slots, at = ws.unbind(dim=1), 0
        for side in self.sides:
            convolutions = 1 if maps is None else 2
            taken = slots[at : at + convolutions + 1]
            block = self.get_submodule(f"b{side}")
            with nullcontext() if side in self.sides[-HALVED:] else exact(ws.device):
                maps, picture = block(maps, picture, taken, conditions, noise)
            at += convolutions
        assert picture is not None
        return picture.contiguous()

    def _check(self, conditions: Conditions, batch: int) -> None:
        shapes = [None if each is None else tuple(each.shape) for each in conditions]
        expected = [(batch, f_dim) for f_dim in self.f_dims]
        pairs = zip(shapes, expected, strict=False)
        fits = all(found in (None, wanted) for found, wanted in pairs)
        if len(shapes) != len(expected) or not fits or not any(shapes):
            raise DataError(
                f"the generator was given conditions of shapes {shapes}, expected {expected}; "
                "give None for one to leave out, but not for all"
            )


class Generator(nn.Module):
    """Noise and conditions to a picture in about [-1, 1]."""

    def __init__(self, shape: GeneratorShape) -> None:
        super().__init__()
        self.shape = shape
        self.synthesis = Synthesis(shape)
        self.mapping = StyleMapping(shape)

    def config(self) -> dict[str, Any]:
        """Return the table for a configuration file."""
        return self.shape.config()

    def forward(
        self,
        z: Tensor,
        conditions: Conditions,
        noise: Noise = CONST,
        psi: float = 1.0,
        cutoff: int | None = None,
    ) -> Tensor:
        """Return float32 (batch, 3, resolution, resolution).

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
