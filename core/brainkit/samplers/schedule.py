"""Noise levels: of a network's training, and the few of them that a sampler visits.

Two scales are in use. A *variance-preserving* latent is z = sqrt(alpha_bar) * clean +
sqrt(1 - alpha_bar) * noise, the input of the released diffusion networks; a *variance-exploding*
one is x = clean + sigma * noise. They are the same latent, x = z / sqrt(alpha_bar), with
sigma**2 = (1 - alpha_bar) / alpha_bar = 1 / alpha_bar - 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from brainkit.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def scaled_linear_sigmas(
    n_steps: int = 1000,
    first: float = 0.00085,
    last: float = 0.012,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Return the training noise levels of Stable and Versatile Diffusion.

    beta_i = (linspace(sqrt(first), sqrt(last), n_steps)_i)**2;
    alpha_bar_t = product over i <= t of (1 - beta_i), in double precision.

    Returns:
        float32 (n_steps,), or of the dtype asked for, ascending; the index is the timestep.

    Source: Rombach et al. 2022, arXiv 2112.10752, appendix D.4.
    """
    import torch

    betas = torch.linspace(first**0.5, last**0.5, n_steps, dtype=torch.float64) ** 2
    return sigma(torch.cumprod(1 - betas, dim=0)).to(dtype or torch.float32)


def sigma(alpha_bar: Tensor) -> Tensor:
    """Return the noise level of a share of signal power, sqrt(1 / alpha_bar - 1)."""
    return (1 / alpha_bar - 1).sqrt()


def alpha_bar(sigma: Tensor) -> Tensor:
    """Return the share of signal power at a noise level, 1 / (1 + sigma**2)."""
    return 1 / (1 + sigma**2)


def spaced_timesteps(n_training: int, n_steps: int) -> list[int]:
    """Spread timesteps evenly, beginning at 1 as Stable Diffusion does.

    >>> spaced_timesteps(1000, 4)
    [1, 251, 501, 751]

    Raises:
        UsageError: the training had fewer steps.
    """
    if n_steps > n_training:
        raise UsageError(
            f"{n_steps} sampling steps were asked for, but the network was trained on "
            f"{n_training} noise levels; ask for at most {n_training}"
        )
    stride = n_training // n_steps
    return [min(1 + stride * index, n_training - 1) for index in range(n_steps)]


def nearest_timestep(sigmas: Tensor, level: Tensor) -> Tensor:
    """Find the timestep whose training noise level is closest to a level.

    Args:
        sigmas: float32 (n_steps,), the training noise levels, ascending.
        level: float32 (), a noise level.

    Returns:
        int64 (), 0-based.
    """
    return (sigmas - level).abs().argmin()
