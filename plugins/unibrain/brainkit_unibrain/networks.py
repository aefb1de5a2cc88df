"""The four-flow denoiser of Versatile Diffusion: one network, two kinds of data, any contexts.

A *stack* holds everything that belongs to one kind of data, `image` or `text`: the data blocks its
latents walk through, and the context blocks that let any latent attend to that kind of context. The
flow from a context to a data kind combines the data blocks of the one with the context blocks of
the other, so two stacks serve four flows.

Tensor names are those of the released file (`diffuser.image.data_blocks.1.0.in_layers.0.weight`),
which therefore loads without renaming; `brainkit_unibrain.keymap` translates the two other layouts
in circulation.

Source: Xu et al. 2022, "Versatile Diffusion: Text, Images and Variations All in One Diffusion
Model", arXiv 2211.08332, sections 3.2 and 3.3; checked against tensors computed by the published
network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from brainkit_unibrain.attention import ContextBlock
from brainkit_unibrain.blocks import image_block, text_block
from brainkit_unibrain.walk import FourFlowConfig, Plan, plan_walk

Kind = Literal["image", "text"]

__all__ = ["Context", "FourFlow", "FourFlowConfig", "Kind"]


class Context(NamedTuple):
    """One context and its share of the attention."""

    kind: Kind
    tokens: Tensor  # float (batch, tokens, context_dim)
    weight: float = 1.0


class Stack(nn.Module):
    """Everything that belongs to one kind of data: its data blocks and its context blocks."""

    def __init__(self, kind: Kind, plan: Plan, config: FourFlowConfig) -> None:
        super().__init__()
        build = image_block if kind == "image" else text_block
        heads, groups = config.num_heads, config.groups
        if kind == "image":  # the one time embedding, which every flow uses, lies here
            wide = config.time_dim
            first = nn.Linear(config.model_channels, wide)
            self.time_embed = nn.Sequential(first, nn.SiLU(), nn.Linear(wide, wide))
        self.data_blocks = nn.ModuleList(
            nn.ModuleList([build(layer, config)]) for layer in plan.layers
        )
        self.context_blocks = nn.ModuleList(
            nn.ModuleList([ContextBlock(wide, config.context_dim, heads, groups)])
            for wide in plan.context_widths
        )


def embed_time(timesteps: Tensor, dim: int) -> Tensor:
    """Return for each timestep a vector of cosines, then sines, of geometric frequencies.

        frequency_i = exp(-log(10000) i / half),  i < half = dim / 2

    Args:
        timesteps: (batch,), 0-based indices of the training schedule
        dim: even
    Returns:
        float32 (batch, dim), to the bit what the published network and diffusers compute
    """
    half = dim // 2
    index = torch.arange(half, device=timesteps.device, dtype=torch.float32)
    # Multiplied before it is divided: the other order rounds some frequencies differently.
    frequencies = torch.exp(-math.log(10_000.0) * index / half)
    phase = timesteps.float()[:, None] * frequencies
    return torch.cat([phase.cos(), phase.sin()], dim=-1)


def only(blocks: nn.ModuleList, index: int) -> nn.Module:
    """Return the block at a place, which released files keep in a list of one."""
    cell = blocks[index]
    assert isinstance(cell, nn.ModuleList)
    return cell[0]


def shares(contexts: Sequence[Context]) -> list[Context]:
    """Drop contexts of weight zero and divide the other weights by their sum."""
    total = sum(context.weight for context in contexts)
    return [c._replace(weight=c.weight / total) for c in contexts if c.weight != 0]


class FourFlow(nn.Module):
    """Predict the noise in an image or text latent, given any weighted contexts."""

    def __init__(self, config: FourFlowConfig) -> None:
        super().__init__()
        self.config = config
        plan = plan_walk(config)
        self.steps = plan.steps
        self.diffuser = nn.ModuleDict(
            {"image": Stack("image", plan, config), "text": Stack("text", plan, config)}
        )

    def forward(
        self, latent: Tensor, timesteps: Tensor, data: Kind, contexts: Sequence[Context]
    ) -> Tensor:
        """Predict the noise.

        In every context layer the blocks of all contexts see the same hidden state and their
        results are averaged, sum_i weight_i * block_i(hidden, tokens_i), which with two contexts is
        the paper's dual guidance.

        Args:
            latent: float (batch, image_channels, height, width) or (batch, text_dim); sides
                divisible by 2 ** (levels - 1)
            timesteps: (batch,), 0-based indices of the training schedule
            data: the kind of the latent
            contexts: at least one of non-zero weight; weights need not sum to one
        Returns:
            the predicted noise, shaped like `latent`
        """
        parts = shares(contexts)
        time = self.stack("image").time_embed(self.embed(timesteps, latent.dtype))
        blocks = self.stack(data).data_blocks
        hidden, saved = latent, []
        for action, index in self.steps:
            if action == "data":
                hidden = only(blocks, index)(hidden, time)
            elif action == "context":
                hidden = self.attend(hidden, index, parts)
            elif action == "push":
                saved.append(hidden)
            else:
                hidden = torch.cat([hidden, saved.pop()], dim=1)
        return hidden

    def embed(self, timesteps: Tensor, dtype: torch.dtype) -> Tensor:
        return embed_time(timesteps, self.config.model_channels).to(dtype)

    def attend(self, hidden: Tensor, index: int, contexts: Sequence[Context]) -> Tensor:
        def attended(context: Context) -> Tensor:
            block = only(self.stack(context.kind).context_blocks, index)
            state: Tensor = block(hidden, context.tokens)
            return state

        if len(contexts) == 1:
            return attended(contexts[0])
        parts = (context.weight * attended(context) for context in contexts)
        return sum(parts, start=hidden.new_zeros(()))

    def stack(self, kind: Kind) -> Stack:
        """Return the stack of a kind of data."""
        stack = self.diffuser[kind]
        assert isinstance(stack, Stack)
        return stack
