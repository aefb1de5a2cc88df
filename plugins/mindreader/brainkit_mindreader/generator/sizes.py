"""Read the sizes of networks off the shapes of their tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from brainkit_mindreader.generator.shape import SMALLEST, GeneratorShape


class Shaped(Protocol):
    """A tensor, or what is known of one."""

    @property
    def shape(self) -> Sequence[int]:
        """Lengths of its axes."""
        ...


Tensors = Mapping[str, Shaped]
UNCLAMPED = 3e38
"""Stands for a network whose feature maps are not clamped: all but the largest float32."""


def generator_shape(tensors: Tensors, arguments: Mapping[str, Any]) -> GeneratorShape:
    """Return the sizes of a generator; those whose tensors are missing are the released ones.

    Args:
        tensors: by their official names.
        arguments: what its class was made with, of which the clamp is read, as it has no tensor.
    """
    usual = GeneratorShape()
    widths = _channels(tensors, r"synthesis\.b(\d+)\.conv1\.weight")
    layer = f"synthesis.b{SMALLEST}.conv1"
    f_dims = [_axis(tensors, f"{layer}.pre_0.weight", 1, usual.f_dims[0])]
    if f"{layer}.pre_01.weight" in tensors:
        f_dims.append(_axis(tensors, f"{layer}.pre_01.weight", 1, usual.f_dims[1]))
    linear = [name for name in tensors if re.fullmatch(r"mapping\.fc\d+\.weight", name)]
    return GeneratorShape(
        resolution=max(widths),
        z_dim=_axis(tensors, "mapping.fc0.weight", 1, usual.z_dim),
        w_dim=_axis(tensors, "mapping.w_avg", 0, usual.w_dim),
        f_dims=tuple(f_dims),
        cond_width=_axis(tensors, f"{layer}.pre_1.weight", 0, usual.cond_width),
        channel_base=_base(widths),
        channel_max=max(widths.values()),
        mapping_layers=len(linear),
        conv_clamp=_clamp(arguments.get("synthesis_kwargs", {})),
    )


def discriminator_shape(
    tensors: Tensors, arguments: Mapping[str, Any], generator: GeneratorShape
) -> GeneratorShape:
    """Return the sizes of a discriminator; what it has no tensors of is the generator's."""
    widths = _channels(tensors, r"b(\d+)\.conv0\.weight")
    widths[SMALLEST] = _axis(tensors, f"b{SMALLEST}.fc.weight", 0, generator.channels(SMALLEST))
    readers = [name for name in ("fts", "fts2") if f"b{SMALLEST}.{name}.weight" in tensors]
    f_dims = [_axis(tensors, f"b{SMALLEST}.{name}.weight", 0, 0) for name in readers]
    return replace(
        generator,
        resolution=max(widths),
        f_dims=tuple(f_dims) or generator.f_dims,
        channel_base=_base(widths),
        channel_max=max(widths.values()),
        conv_clamp=_clamp(arguments),
    )


def _channels(tensors: Tensors, pattern: str) -> dict[int, int]:
    """Return the channels at each side of a power of 2 from 8 on, at least one."""
    channels = {}
    for name in tensors:
        matched = re.fullmatch(pattern, name)
        if matched and _is_side(int(matched[1])):
            channels[int(matched[1])] = _axis(tensors, name, 0, 1)
    usual = GeneratorShape()
    return channels or {usual.resolution: usual.channels(usual.resolution)}


def _is_side(side: int) -> bool:
    return SMALLEST < side <= 1 << 16 and not side & (side - 1)


def _base(widths: Mapping[int, int]) -> int:
    """Return the least base that yields these channels; the true one may be a rest larger."""
    return max(side * channels for side, channels in widths.items())


def _axis(tensors: Tensors, name: str, axis: int, usual: int) -> int:
    """Return the length of a tensor's axis, or the usual one where there is no such tensor."""
    shape = tensors[name].shape if name in tensors else ()
    return int(shape[axis]) if axis < len(shape) else usual


def _clamp(arguments: Any) -> float:
    given = arguments.get("conv_clamp", 256.0) if isinstance(arguments, Mapping) else 256.0
    return float(given) if type(given) in (int, float) and 0 < given < UNCLAMPED else UNCLAMPED
