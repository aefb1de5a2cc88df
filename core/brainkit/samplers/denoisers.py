"""Wrap networks that predict noise as denoisers: `denoise(latent, sigma) -> clean latent`.

The networks read variance-preserving latents and 0-based timesteps; a denoiser reads
variance-exploding latents and their noise level (see `brainkit.samplers.schedule`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from brainkit.samplers.schedule import alpha_bar, nearest_timestep

if TYPE_CHECKING:
    from torch import Tensor

    Predict = Callable[[Tensor, Tensor], Tensor]
    Denoise = Callable[[Tensor, Tensor], Tensor]


def from_noise(predict: Predict, sigmas: Tensor) -> Denoise:
    """Make a denoiser of a network that predicts the noise.

    clean = x - sigma * noise

    Args:
        predict: `predict(latent, timesteps)` gives the noise, shaped like the variance-preserving
            latent (batch, *latent), for int64 timesteps (batch,).
        sigmas: float32 (n_steps,), the network's training noise levels, ascending.

    Source: Ho et al. 2020, arXiv 2006.11239, equation 15 with x = z / sqrt(alpha_bar).
    """

    def denoise(latent: Tensor, sigma: Tensor) -> Tensor:
        timesteps = nearest_timestep(sigmas, sigma).to(latent.device).expand(len(latent))
        noise = predict(latent * alpha_bar(sigma).sqrt(), timesteps)
        return latent - sigma * noise

    return denoise
