"""Wrap networks that predict noise or velocity as denoisers: `denoise(latent, sigma) -> clean`.

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


def from_velocity(predict: Predict, sigmas: Tensor) -> Denoise:
    """Make a denoiser of a network that predicts the velocity.

    velocity = sqrt(alpha_bar) * noise - sqrt(1 - alpha_bar) * clean, therefore
    clean = sqrt(alpha_bar) * z - sqrt(1 - alpha_bar) * velocity

    Args:
        predict: as for `from_noise`, but gives the velocity.
        sigmas: float32 (n_steps,), the network's training noise levels, ascending.

    Source: Salimans & Ho 2022, arXiv 2202.00512, appendix D.
    """

    def denoise(latent: Tensor, sigma: Tensor) -> Tensor:
        timesteps = nearest_timestep(sigmas, sigma).to(latent.device).expand(len(latent))
        signal = alpha_bar(sigma)
        velocity = predict(latent * signal.sqrt(), timesteps)
        return signal * latent - (1 - signal).sqrt() * velocity

    return denoise
