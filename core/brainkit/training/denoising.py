"""What every denoiser learns from: latents noised at even timesteps, weighted by their noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

GAMMA = 5.0
"""The largest signal-to-noise ratio that counts in full."""


@dataclass(frozen=True)
class Noised:
    """A batch for a network that predicts the noise.

    Attributes:
        latent: float32 (batch, *latent), sqrt(a) x + sqrt(1 - a) noise.
        timesteps: int64 (batch,), 0-based indices of the schedule.
        noise: float32 (batch, *latent), what the network is to predict.
        signal: float32 (batch,), a, the share of the signal's variance at each timestep.
    """

    latent: Tensor
    timesteps: Tensor
    noise: Tensor
    signal: Tensor

    def loss(self, predicted: Tensor) -> Tensor:
        """Return the mean of the squared errors of predicted noise, weighted by min-SNR.

            weight = min(SNR, gamma) / SNR,  SNR = a / (1 - a)

        Source: Hang et al. 2023, arXiv 2303.09556, gamma = 5.
        """
        error = (predicted - self.noise).square().flatten(1).mean(dim=1)
        ratio = self.signal / (1 - self.signal)
        weighted: Tensor = (error * ratio.clamp(max=GAMMA) / ratio).mean()
        return weighted


def noised(latent: Tensor, schedule: Tensor, generator: torch.Generator) -> Noised:
    """Noise a batch at timesteps drawn from a schedule, one from each of as many equal parts.

    Args:
        latent: float32 (batch, *latent).
        schedule: float32 (steps,) on the latents' device, the signal's share at each timestep.
        generator: on the CPU, for timesteps and noise.
    """
    n = len(latent)
    even = (torch.randperm(n, generator=generator) + torch.rand(n, generator=generator)) / n
    timesteps = (even * len(schedule)).long().to(latent.device)
    noise = torch.randn(latent.shape, generator=generator).to(latent.device)
    signal = schedule[timesteps]
    shared = signal.view(-1, *[1] * (latent.ndim - 1))
    return Noised(shared.sqrt() * latent + (1 - shared).sqrt() * noise, timesteps, noise, signal)
