"""Noise with one seed per image, so that batch size and order do not change it."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator, Tensor


def noise(shape: Sequence[int], seeds: Sequence[int]) -> Tensor:
    """Draw standard normal noise on the CPU, row i from a generator of its own seed.

    Args:
        shape: of one row, e.g. (4, 64, 64).
        seeds: one per row.

    Returns:
        float32 (batch, *shape).
    """
    import torch

    rows = [torch.randn(tuple(shape), generator=_generator(seed)) for seed in seeds]
    return torch.stack(rows) if rows else torch.empty(0, *shape)


def seeds_of(latents: Tensor) -> list[int]:
    """Give a seed in [0, 2**63) for each latent, which depends on that latent's numbers alone.

    Args:
        latents: (batch, *latent), of any float dtype and device.
    """
    rows = latents.detach().float().cpu().numpy()
    digests = [sha256(row.tobytes()).digest()[:8] for row in rows]
    return [int.from_bytes(digest, "little") >> 1 for digest in digests]


def _generator(seed: int) -> Generator:
    import torch

    return torch.Generator().manual_seed(seed)
