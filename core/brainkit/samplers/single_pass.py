"""The sampler of generators that need no walk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brainkit.samplers.noise import noise

if TYPE_CHECKING:
    from torch import Tensor

    from brainkit.data import Condition
    from brainkit.parts import Progress


@dataclass(frozen=True)
class SinglePass:
    """One call of the denoiser at its highest noise level; for generative adversarial networks.

    The latent handed over is start + sigma * noise, with one level `sigmas = [1.]` and a start of
    zeros just the noise that such a generator expects.
    """

    name = "single-pass"

    def sample(
        self, condition: Condition, seeds: Sequence[int], progress: Progress | None = None
    ) -> Tensor:
        """Give what the denoiser makes of noise, float32, one seed each."""
        drawn = noise(condition.start.shape[1:], seeds).to(condition.start.device)
        level = condition.sigmas[-1]
        made = condition.denoise(condition.start + level * drawn, level)
        if progress is not None:
            progress(1, 1)
        return made
