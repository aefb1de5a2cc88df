"""Doubling and halving of feature maps with a low-pass filter, in plain convolutions.

All maps are (batch, channels, height, width); filters are float32 (4, 4) and symmetric, so that
convolution and correlation are the same.

Source: Karras et al. 2020, arXiv 1912.04958, appendix B, with the filter [1, 3, 3, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

TAPS = (1.0, 3.0, 3.0, 1.0)


def binomial_filter() -> Tensor:
    """Return the filter float32 (4, 4), of sum 1."""
    taps = torch.tensor(TAPS)
    return torch.outer(taps, taps) / taps.sum() ** 2


def filtered(maps: Tensor, kernel: Tensor, padding: int, stride: int = 1) -> Tensor:
    """Filter every channel by itself, with zeros around the maps.

    Args:
        maps: (batch, channels, height, width).
        kernel: (4, 4).
        padding: zeros on each side.
        stride: 2 keeps every second row and column.
    """
    depthwise = _for_each_channel(kernel, maps)
    groups = maps.shape[1]
    return functional.conv2d(maps, depthwise, stride=stride, padding=padding, groups=groups)


def doubled(maps: Tensor, kernel: Tensor) -> Tensor:
    """Return maps of twice the side: zeros between the numbers, then the filter times 4."""
    depthwise = _for_each_channel(4 * kernel, maps)
    groups = maps.shape[1]
    return functional.conv_transpose2d(maps, depthwise, stride=2, padding=1, groups=groups)


def halved(maps: Tensor, kernel: Tensor) -> Tensor:
    """Return maps of half the side."""
    return filtered(maps, kernel, padding=1, stride=2)


def conv_doubled(maps: Tensor, weight: Tensor, kernel: Tensor) -> Tensor:
    """Convolve with (out, in, 3, 3) while doubling the side; the filter follows the convolution."""
    grown = functional.conv_transpose2d(maps, weight.transpose(0, 1), stride=2)
    return filtered(grown, 4 * kernel, padding=1)


def conv_halved(maps: Tensor, weight: Tensor, kernel: Tensor) -> Tensor:
    """Convolve with (out, in, 3, 3) or (out, in, 1, 1) while halving the side, filtered before."""
    if weight.shape[-1] == 1:
        return functional.conv2d(halved(maps, kernel), weight)
    return functional.conv2d(filtered(maps, kernel, padding=2), weight, stride=2)


def _for_each_channel(kernel: Tensor, maps: Tensor) -> Tensor:
    return kernel.to(maps.dtype).expand(maps.shape[1], 1, *kernel.shape)
