"""The sampler heun, a plugin of brainkit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from brainkit import Condition, hookimpl, option
from brainkit.parts import Progress, Sampler
from brainkit.samplers.noise import noise

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Heun:
    """Second-order walk down the noise levels, after Heun: two calls of the denoiser a step.

    Source: Karras et al. 2022, arXiv 2206.00364, algorithm 1.
    """

    name = "heun"
    steps: int = option(20, "steps that strength 1 takes", ge=1)
    rho: float = option(7.0, "how much denser the levels are where there is little noise", gt=0)

    def sample(
        self, condition: Condition, seeds: Sequence[int], progress: Progress | None = None
    ) -> Tensor:
        """Return finished latents, float32 (batch, *latent), one seed each."""
        levels = self.levels(condition)
        latent = noise(condition.start.shape[1:], seeds).to(condition.start) * levels[0]
        if condition.strength < 1:
            latent = condition.start + latent
        for done, (sigma, below) in enumerate(pairwise(levels), 1):
            latent = _step(condition, latent, sigma, below)
            if progress is not None:
                progress(done, len(levels) - 1)
        return condition.denoise(latent, levels[-1])

    def levels(self, condition: Condition) -> Tensor:
        """Return the noise levels that are visited, float32, descending, at least two.

        The i-th of n is (high^(1/rho) + i / (n - 1) (low^(1/rho) - high^(1/rho)))^rho.
        """
        import torch  # not at the top: every listing of plugins would wait for it

        low, high = condition.sigmas[0], condition.sigmas[-1]
        share = torch.linspace(0, 1, self.steps + 1, device=low.device)
        ends = high ** (1 / self.rho), low ** (1 / self.rho)
        grid = (ends[0] + share * (ends[1] - ends[0])) ** self.rho
        n_run = max(1, round(condition.strength * self.steps))
        return grid[self.steps - n_run :].clamp(low, high)


def _step(condition: Condition, latent: Tensor, sigma: Tensor, below: Tensor) -> Tensor:
    slope = (latent - condition.denoise(latent, sigma)) / sigma
    guess = latent + (below - sigma) * slope
    corrected = (guess - condition.denoise(guess, below)) / below
    return latent + (below - sigma) * (slope + corrected) / 2


@hookimpl
def register_samplers(register: Callable[[Sampler], None]) -> None:
    """Register the sampler."""
    register(Heun())
