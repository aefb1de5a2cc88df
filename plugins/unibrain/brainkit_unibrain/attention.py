"""The context block of the four-flow denoiser: a hidden state attends to context tokens.

Source: Xu et al. 2022, arXiv 2211.08332, section 3.2; the block is that of latent diffusion
(Rombach et al. 2022, arXiv 2112.10752, appendix E.2.1).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

NORM_EPS = 1e-6


class Attention(nn.Module):
    """Multi-head attention of a sequence to a context; head size is width / n_heads."""

    def __init__(self, wide: int, context_dim: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.to_q = nn.Linear(wide, wide, bias=False)
        self.to_k = nn.Linear(context_dim, wide, bias=False)
        self.to_v = nn.Linear(context_dim, wide, bias=False)
        self.to_out = nn.Sequential(nn.Linear(wide, wide))

    def forward(self, hidden: Tensor, context: Tensor) -> Tensor:
        query, key, value = self.to_q(hidden), self.to_k(context), self.to_v(context)
        heads = [
            part.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for part in (query, key, value)
        ]
        mixed = F.scaled_dot_product_attention(*heads)
        joined: Tensor = self.to_out(mixed.transpose(1, 2).flatten(2))
        return joined


class GatedGelu(nn.Module):
    """value * gelu(gate), with the exact (erf) GELU."""

    def __init__(self, wide: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(wide, 2 * inner)

    def forward(self, hidden: Tensor) -> Tensor:
        value, gate = self.proj(hidden).chunk(2, dim=-1)
        gated: Tensor = value * F.gelu(gate)
        return gated


class FeedForward(nn.Module):
    """Two linear layers around a gated GELU, four times as wide inside."""

    def __init__(self, wide: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            GatedGelu(wide, 4 * wide), nn.Identity(), nn.Linear(4 * wide, wide)
        )

    def forward(self, hidden: Tensor) -> Tensor:
        transformed: Tensor = self.net(hidden)
        return transformed


class Transformer(nn.Module):
    """Self-attention, attention to the context, feed-forward; each normalised before and added."""

    def __init__(self, wide: int, context_dim: int, n_heads: int) -> None:
        super().__init__()
        self.attn1 = Attention(wide, wide, n_heads)
        self.ff = FeedForward(wide)
        self.attn2 = Attention(wide, context_dim, n_heads)
        self.norm1 = nn.LayerNorm(wide)
        self.norm2 = nn.LayerNorm(wide)
        self.norm3 = nn.LayerNorm(wide)

    def forward(self, hidden: Tensor, context: Tensor) -> Tensor:
        normed = self.norm1(hidden)
        hidden = hidden + self.attn1(normed, normed)
        hidden = hidden + self.attn2(self.norm2(hidden), context)
        fed: Tensor = self.ff(self.norm3(hidden))
        return hidden + fed


class ContextBlock(nn.Module):
    """Let a state (batch, channels, height, width) attend to a context (batch, tokens, dim)."""

    def __init__(self, wide: int, context_dim: int, n_heads: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, wide, eps=NORM_EPS)
        self.proj_in = nn.Conv2d(wide, wide, 1)
        self.transformer_blocks = nn.ModuleList([Transformer(wide, context_dim, n_heads)])
        self.proj_out = nn.Conv2d(wide, wide, 1)

    def forward(self, hidden: Tensor, context: Tensor) -> Tensor:
        inner = self.proj_in(self.norm(hidden))
        size = inner.shape[-2:]
        tokens = inner.flatten(2).transpose(1, 2)
        for block in self.transformer_blocks:
            tokens = block(tokens, context)
        inner = tokens.transpose(1, 2).unflatten(-1, size)
        added: Tensor = self.proj_out(inner) + hidden
        return added
