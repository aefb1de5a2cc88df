"""Noise with one seed per image, so that batch size and order do not change it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from brainkit.seeds import seed_of

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
    """Return a seed in [0, 2**63) for each latent, which depends on that latent's numbers alone.

    Args:
        latents: (batch, *latent), of any float dtype and device.
    """
    rows = latents.detach().float().cpu().numpy()
    return [seed_of(row.tobytes()) for row in rows]


def _generator(seed: int) -> Generator:
    import torch

    return torch.Generator().manual_seed(seed)
