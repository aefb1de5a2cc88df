"""MindDiffuser's second stage: descend the structural loss of what the first stage makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from brainkit import option
from brainkit.errors import UsageError
from brainkit.samplers.diffusion import DDIM

if TYPE_CHECKING:
    from torch import Tensor

    from brainkit import Condition
    from brainkit.parts import Journal, Progress


@dataclass(frozen=True)
class Aligned:
    """Walk as DDIM does, again and again, and change the start to lower the condition's misfit.

    Each iteration noises z, walks it down under c, computes the misfit of the latent it ends at,
    and updates z and c by its gradient through the whole walk. Only the latent between steps is
    kept; a step's activations are computed again for its gradient. Iteration 0 sees the very latent
    that `ddim` gives with the same steps, lead and seed, which is the first stage's. What is handed
    on at the end is walked with that same noise, so both stages differ by z and c alone.

    With `backprop_steps` the noise predicted in all earlier steps counts as a constant: z still
    gets its gradient, through the noising alone there, and c gets that of the last steps. This, and
    `noise="fixed"`, are cheaper than what was published.

    `keep="lowest"` judges z and c at iteration 0, at every `every`-th and after the last by their
    mean misfit over `judge_noises` noises that never change; the stimulus plays no part.

    A condition without a misfit is walked once: the first stage alone.

    Source: Lu et al. 2023, arXiv 2303.14139, algorithm 1; defaults of the first published code.
    """

    name = "aligned"
    journalled = True
    steps: int = option(50, "steps that strength 1 takes", ge=1)
    noise_lead: int = option(
        3, "grid steps by which the start is noised beyond the first denoised level", ge=0
    )
    iterations: int = option(300, "updates of z and c", ge=1)
    rate: float = option(0.01, "learning rate", gt=0)
    decay: float = option(0.999, "what the rate is multiplied by before every update", gt=0, le=1)
    variables: Literal["z+c", "z"] = option("z+c", "what is changed")
    optimiser: Literal["adam", "sgd"] = option("adam", "Adam, or plain gradient descent")
    noise: Literal["fresh", "fixed"] = option(
        "fresh", "noise drawn for every iteration, or one for all"
    )
    backprop_steps: int | None = option(
        None, "last steps whose network the gradient goes through; none given: all", ge=1
    )
    stored_steps: int = option(
        0, "last steps whose activations are kept: memory for speed, the same numbers", ge=0
    )
    keep: Literal["last", "lowest"] = option(
        "last", "hand on the last iterate, or the one of lowest misfit over fixed noises"
    )
    judge_noises: int = option(4, "noises that keep=lowest averages over", ge=1)
    every: int = option(10, "iterations between kept frames and kept states", ge=1)

    def sample(
        self,
        condition: Condition,
        seeds: Sequence[int],
        progress: Progress | None = None,
        journal: Journal | None = None,
    ) -> Tensor:
        """Return finished latents, float32 (batch, *latent), one seed each.

        Raises:
            UsageError: a variable cannot be changed under this condition.
        """
        if condition.misfit is None:
            return self.walker().sample(condition, seeds, progress)
        self._check(condition)
        from brainkit_minddiffuser.descent import Descent

        return Descent.begun(self, condition, seeds, journal).run(progress)

    def walker(self) -> DDIM:
        """Return the sampler that walks once."""
        return DDIM(steps=self.steps, noise_lead=self.noise_lead)

    def rate_at(self, iteration: int) -> float:
        """Return the learning rate of the update that ends an iteration, 0-based."""
        return self.rate * self.decay ** (iteration + 1)

    def _check(self, condition: Condition) -> None:
        if self.variables == "z+c" and (
            condition.context is None or condition.denoise_with is None
        ):
            raise UsageError(
                "sampler.variables is 'z+c', but the conditioner offers no context to change; "
                "set sampler.variables=z"
            )
        if self.variables == "z" and condition.strength >= 1:
            raise UsageError(
                "sampler.variables is 'z', but strength 1 begins from noise alone and ignores z; "
                "lower the conditioner's strength or set sampler.variables=z+c"
            )
