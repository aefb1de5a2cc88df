"""What generator and discriminator are built of: scaled linear layers, activations, convolutions.

Weights are stored with unit spread and scaled when used, so that one learning rate serves all.
Under `torch.autocast` convolutions run in half precision, linear layers in float32.

Source: Karras et al. 2020, arXiv 1912.04958.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainkit_mindreader.generator.resample import binomial_filter, conv_halved

SLOPE = 0.2
GAIN = math.sqrt(2.0)
Activation = Literal["lrelu", "linear"]
TINY = 1e-8
HALF = (torch.float16, torch.bfloat16)


def exact(device: torch.device) -> AbstractContextManager[Any]:
    """Return a context in which autocast is off, for what half precision would spoil."""
    if not torch.amp.is_autocast_available(device.type):  # of the meta device, say
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def halved(device: torch.device) -> bool:
    """Say whether autocast is on."""
    available: bool = torch.amp.is_autocast_available(device.type)
    return available and torch.is_autocast_enabled(device.type)


def full(maps: Tensor) -> Tensor:
    """Return half-precision numbers as float32, others as they are."""
    return maps.float() if maps.dtype in HALF else maps


def laid_out(maps: Tensor) -> Tensor:
    """Return maps with the numbers of a place side by side where that is faster: on a CPU.

    Measured on one core with batches of 8: 1.4 times the pictures a second at 256 px, 1.1 times at
    64 px, forward and with gradients.
    """
    if maps.device.type != "cpu":
        return maps
    return maps.contiguous(memory_format=torch.channels_last)


def activated(
    maps: Tensor,
    bias: Tensor,
    activation: Activation,
    gain: float = 1.0,
    clamp: float | None = None,
) -> Tensor:
    """Add a bias a channel, bend, scale and clamp.

    Args:
        maps: (batch, channels, ...).
        bias: (channels,).
        activation: "lrelu" scales by sqrt 2 besides.
        gain: a factor on the result, and on the clamp.
        clamp: the largest magnitude, or None.
    """
    maps = maps + bias.to(maps.dtype).view(-1, *(1,) * (maps.ndim - 2))
    factor = gain
    if activation == "lrelu":
        maps, factor = functional.leaky_relu(maps, SLOPE), GAIN * gain
    if factor != 1:
        maps = maps * factor
    return maps if clamp is None else maps.clamp(-clamp * gain, clamp * gain)


class FullyConnected(nn.Module):
    """y = act(x (W m / sqrt(in))^T + m b), with a multiplier m of the learning rate.

    It computes in the precision of its weights, under autocast too.
    """

    def __init__(
        self,
        width: int,
        out: int,
        activation: Activation = "linear",
        multiplier: float = 1.0,
        bias: float = 0.0,
    ) -> None:
        super().__init__()
        self.activation: Activation = activation
        self.multiplier = multiplier
        self.scale = multiplier / math.sqrt(width)
        self.weight = nn.Parameter(torch.randn(out, width) / multiplier)
        self.bias = nn.Parameter(torch.full((out,), bias / multiplier))

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, out) for (batch, width)."""
        with exact(x.device):
            y = functional.linear(x.to(self.weight.dtype), self.weight * self.scale)
        return activated(y, self.bias * self.multiplier, self.activation)


class Convolution(nn.Module):
    """A convolution of the discriminator, its weight scaled by 1 / sqrt(fan in)."""

    resample_filter: Tensor

    def __init__(
        self,
        width: int,
        out: int,
        side: int,
        activation: Activation = "linear",
        *,
        bias: bool = True,
        halve: bool = False,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.activation: Activation = activation
        self.halve = halve
        self.clamp = clamp
        self.scale = 1 / math.sqrt(width * side * side)
        self.weight = nn.Parameter(torch.randn(out, width, side, side))
        self.bias = nn.Parameter(torch.zeros(out)) if bias else None
        self.register_buffer("resample_filter", binomial_filter())

    def forward(self, maps: Tensor, gain: float = 1.0) -> Tensor:
        """Return (batch, out, height, width) or half of it, scaled by `gain`."""
        weight = self.weight * self.scale
        if self.halve:
            maps = conv_halved(maps, weight, self.resample_filter)
        else:
            maps = functional.conv2d(maps, weight, padding=weight.shape[-1] // 2)
        if self.bias is None:
            return maps * gain
        return activated(maps, self.bias, self.activation, gain, self.clamp)
