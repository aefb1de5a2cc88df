"""The sampler of generators that need no walk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brainkit.errors import UsageError
from brainkit.options import option
from brainkit.samplers.noise import noise
from brainkit.seeds import seed_of

if TYPE_CHECKING:
    from torch import Tensor

    from brainkit.data import Condition
    from brainkit.parts import Progress


@dataclass(frozen=True)
class SinglePass:
    """One call of the denoiser at its highest noise level; for generative adversarial networks.

    The latent handed over is start + sigma * noise, with one level `sigmas = [1.]` and a start of
    zeros just the noise that such a generator expects. Of several candidates the one of lowest
    misfit is handed on: the condition's own loss, which knows decoded features only.
    """

    name = "single-pass"
    candidates: int = option(
        1,
        "latents made of each image, each from a noise of its own, the best of which is kept",
        ge=1,
    )

    def sample(
        self, condition: Condition, seeds: Sequence[int], progress: Progress | None = None
    ) -> Tensor:
        """Return what the denoiser makes of noise, float32, one seed each.

        Raises:
            UsageError: several candidates under a condition without a misfit.
        """
        if self.candidates > 1 and condition.misfit is None:
            raise UsageError(
                f"sampler.candidates is {self.candidates}, but the conditioner gives no misfit to "
                "choose by; set sampler.candidates=1"
            )
        best = lowest = None
        for candidate in range(self.candidates):
            latent = _passed(condition, _seeds(seeds, candidate))
            if condition.misfit is None or self.candidates == 1:
                best = latent
            else:
                best, lowest = _lower(latent, condition.misfit(latent), best, lowest)
            if progress is not None:
                progress(candidate + 1, self.candidates)
        assert best is not None
        return best


def _lower(
    latent: Tensor, loss: Tensor, best: Tensor | None, lowest: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Keep, for each image, the latent of lower loss."""
    import torch

    if best is None or lowest is None:
        return latent, loss
    better = loss < lowest
    rows = better.view(-1, *(1,) * (latent.ndim - 1))
    return torch.where(rows, latent, best), torch.where(better, loss, lowest)


def _passed(condition: Condition, seeds: Sequence[int]) -> Tensor:
    drawn = noise(condition.start.shape[1:], seeds).to(condition.start.device)
    level = condition.sigmas[-1]
    return condition.denoise(condition.start + level * drawn, level)


def _seeds(seeds: Sequence[int], candidate: int) -> Sequence[int]:
    """Return a candidate's seeds: the images' own for the first, else derived from them."""
    return [seed_of(seed, candidate) for seed in seeds] if candidate else seeds
