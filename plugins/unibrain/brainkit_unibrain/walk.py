"""Sizes of the four-flow denoiser, and the order in which a latent walks through its blocks.

Source: Xu et al. 2022, arXiv 2211.08332, section 3.3; the order was checked against tensors
computed by the published network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple

from brainkit.errors import CheckpointError

Part = Literal["in", "res", "down", "up", "out"]
DEEPEST = 64
"""Blocks that a level of the walk has at most."""


@dataclass(frozen=True)
class FourFlowConfig:
    """Sizes of a four-flow denoiser; the defaults are those of the released weights.

    Level `i` of the U-shaped walk is `model_channels * channel_mult[i]` wide and attends to
    contexts where `attention_levels[i]`. A text latent of `text_dim` numbers travels as (channels,
    `second_dim`, 1).
    """

    model_channels: int = 320
    channel_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    attention_levels: tuple[bool, ...] = (True, True, True, False)
    num_heads: int = 8
    context_dim: int = 768
    image_channels: int = 4
    text_dim: int = 768
    second_dim: int = 4
    groups: int = 32

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FourFlowConfig:
        """Read the sizes from a checkpoint's configuration, ignoring entries that are not sizes.

        Raises:
            CheckpointError: it asks for a depth that no denoiser has.
        """
        known: dict[str, Any] = {
            field.name: values[field.name] for field in fields(cls) if field.name in values
        }
        known |= {name: tuple(v) for name, v in known.items() if isinstance(v, list)}
        if not 0 <= known.get("num_res_blocks", 0) <= DEEPEST:
            raise CheckpointError(
                f"a four-flow denoiser's num_res_blocks is {known['num_res_blocks']}, expected at "
                f"most {DEEPEST}; correct its config.json"
            )
        return cls(**known)

    @property
    def time_dim(self) -> int:
        """Width of the time embedding."""
        return 4 * self.model_channels


class Step(NamedTuple):
    """One step: apply a data or context block, or save or concatenate a hidden state."""

    action: Literal["data", "context", "push", "pop"]
    block: int = 0


class Layer(NamedTuple):
    """The kind and the widths (in channels) of one data block."""

    kind: Part
    wide_in: int
    wide_out: int


@dataclass(frozen=True)
class Plan:
    """The order of the walk, and the blocks it needs; the same for both kinds of data."""

    steps: tuple[Step, ...]
    layers: tuple[Layer, ...]
    context_widths: tuple[int, ...]


def plan_walk(config: FourFlowConfig) -> Plan:
    """Lay out the walk: down the levels, through the middle, up again past the saved states."""
    widths = [config.model_channels * mult for mult in config.channel_mult]
    steps: list[Step] = []
    layers: list[Layer] = []
    contexts: list[int] = []
    saved: list[int] = []
    width = widths[0]

    def data(kind: Part, wide_in: int, wide_out: int) -> None:
        steps.append(Step("data", len(layers)))
        layers.append(Layer(kind, wide_in, wide_out))

    def context(wide: int) -> None:
        steps.append(Step("context", len(contexts)))
        contexts.append(wide)

    def push(wide: int) -> None:
        steps.append(Step("push"))
        saved.append(wide)

    data("in", config.image_channels, width)
    push(width)
    for level, wide in enumerate(widths):
        for _ in range(config.num_res_blocks):
            data("res", width, wide)
            width = wide
            if config.attention_levels[level]:
                context(width)
            push(width)
        if level < len(widths) - 1:
            data("down", width, width)
            push(width)
    data("res", width, width)
    context(width)
    data("res", width, width)
    for level, wide in reversed(list(enumerate(widths))):
        for _ in range(config.num_res_blocks + 1):
            steps.append(Step("pop"))
            data("res", width + saved.pop(), wide)
            width = wide
            if config.attention_levels[level]:
                context(width)
        if level > 0:
            data("up", width, width)
    data("out", width, config.image_channels)
    return Plan(tuple(steps), tuple(layers), tuple(contexts))
