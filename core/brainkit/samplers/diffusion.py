"""Samplers that walk down the noise levels of a diffusion network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brainkit.options import option
from brainkit.samplers.noise import noise
from brainkit.samplers.schedule import spaced_timesteps

if TYPE_CHECKING:
    from torch import Tensor

    from brainkit.data import Condition
    from brainkit.parts import Progress

    Step = Callable[[Condition, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class DDIM:
    """Deterministic walk down evenly spaced training noise levels.

    A start of strength s is noised and the last int(s * steps) of the steps are run from there, at
    least one; strength 1 ignores the start. As in the published code the product is that of floats:
    0.58 * 50 is 28.999..., so 28 steps. The walk ends at the lowest training noise level, as the
    published samplers do, so a clean prediction keeps a trace of noise (3 % of a unit for Stable
    Diffusion).

    Source: Song et al. 2021, arXiv 2010.02502, equation 12 with eta = 0.
    """

    name = "ddim"
    steps: int = option(50, "steps that strength 1 takes", ge=1)
    noise_lead: int = option(
        0, "grid steps by which the start is noised beyond the first denoised level", ge=0
    )

    def sample(
        self, condition: Condition, seeds: Sequence[int], progress: Progress | None = None
    ) -> Tensor:
        """Return finished latents, float32 (batch, *latent), one seed each."""
        drawn = noise(condition.start.shape[1:], seeds).to(condition.start.device)
        return self.walk(condition, drawn, progress)

    def walk(
        self,
        condition: Condition,
        drawn: Tensor,
        progress: Progress | None = None,
        step: Step | None = None,
    ) -> Tensor:
        """Return finished latents of a start and noise, both float32 (batch, *latent).

        Differentiable with respect to `condition.start`.

        Args:
            condition: what is walked.
            drawn: standard normal noise, float32 (batch, *latent).
            progress: called after every step.
            step: what goes from one level to the next, like `ddim_step`, which is the default; a
                caller may save memory there.
        """
        step = step or ddim_step
        grid = self.levels(condition.sigmas)
        n_run = max(1, min(self.steps, int(condition.strength * self.steps)))
        latent = self._begin(condition, drawn, grid, n_run)
        for done in range(n_run):
            here = n_run - 1 - done
            below = grid[here - 1] if here > 0 else condition.sigmas[0]
            latent = step(condition, latent, grid[here], below)
            if progress is not None:
                progress(done + 1, n_run)
        return preserved(latent, condition.sigmas[0])

    def levels(self, sigmas: Tensor) -> Tensor:
        """Return the noise levels float32 (steps,), ascending, that strength 1 is denoised at."""
        return sigmas[spaced_timesteps(len(sigmas), self.steps)]

    def _begin(self, condition: Condition, drawn: Tensor, grid: Tensor, n_run: int) -> Tensor:
        first = grid[n_run - 1]
        if condition.strength >= 1:
            return drawn * (1 + first**2).sqrt()
        level = grid[min(n_run - 1 + self.noise_lead, len(grid) - 1)]
        noised = preserved(condition.start + level * drawn, level)
        return noised * (1 + first**2).sqrt()


def ddim_step(condition: Condition, latent: Tensor, sigma: Tensor, below: Tensor) -> Tensor:
    """Go from one noise level down to another, keeping the predicted noise.

    x' = clean + sigma' * (x - clean) / sigma, which is an Euler step on sigma.

    Args:
        condition: whose `denoise` is called once.
        latent: float32 (batch, *latent), variance-exploding, at level `sigma`.
        sigma: float32 ().
        below: float32 (), the level to go to.
    """
    clean = condition.denoise(latent, sigma)
    return clean + below / sigma * (latent - clean)


def preserved(latent: Tensor, sigma: Tensor) -> Tensor:
    """Turn a variance-exploding latent at level `sigma` into a variance-preserving one."""
    return latent / (1 + sigma**2).sqrt()
