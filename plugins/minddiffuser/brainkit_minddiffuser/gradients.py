"""The mathematics of the second stage: a loss of walked latents, its gradient, and updates.

Everything here treats the images of a batch as strangers: losses are summed, not averaged, and
updates are elementwise, so that a batch equals its images one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from brainkit import Condition
from brainkit.samplers.diffusion import DDIM, ddim_step
from brainkit.seeds import seed_of

FIRST, SECOND, TINY = 0.9, 0.999, 1e-8
"""Adam's decay of the first and second moment, and what is added to its divisor."""

Variables = dict[str, Tensor]
Step = Callable[[Condition, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Chain:
    """The walk from the variables to a latent, and how far back its gradient goes.

    Attributes:
        sampler: takes the steps.
        backprop_steps: the last steps whose network the gradient goes through; None for all.
        stored_steps: the last steps whose activations are kept instead of computed again.
    """

    sampler: DDIM
    backprop_steps: int | None = None
    stored_steps: int = 0

    def walk(self, condition: Condition, variables: Mapping[str, Tensor], drawn: Tensor) -> Tensor:
        """Return finished latents of variables "z" and, if it is one, "c", and of noise.

        All are float32: z, noise and latents (batch, *latent), c (batch, *context).
        """
        denoise = condition.denoise
        if "c" in variables:
            assert condition.denoise_with is not None  # `Aligned` checks it
            denoise = condition.denoise_with(variables["c"])
        begun = replace(condition, start=variables["z"], denoise=denoise)
        return self.sampler.walk(begun, drawn, step=self._step(condition))

    def _step(self, condition: Condition) -> Step:
        """Choose for each step between keeping activations, computing them again, or neither.

        Beyond `backprop_steps` the predicted noise counts as a constant. In the variance-exploding
        scale, x' = x + (sigma' - sigma) noise, so there the gradient passes a step unchanged.
        """
        levels = self.sampler.levels(condition.sigmas)
        followed = len(levels) if self.backprop_steps is None else self.backprop_steps
        followed_to = levels[min(followed, len(levels)) - 1]
        stored_to = levels[min(self.stored_steps, len(levels)) - 1] if self.stored_steps else 0

        def step(condition: Condition, latent: Tensor, sigma: Tensor, below: Tensor) -> Tensor:
            if sigma > followed_to:
                with torch.no_grad():
                    moved = ddim_step(condition, latent, sigma, below) - latent
                return latent + moved
            if sigma <= stored_to:
                return ddim_step(condition, latent, sigma, below)
            again: Tensor = checkpoint(
                ddim_step,
                *(condition, latent, sigma, below),
                use_reentrant=False,
                preserve_rng_state=False,
            )
            return again

        return step


@dataclass(frozen=True)
class Evaluation:
    """What one iteration finds.

    Attributes:
        latents: float32 (batch, *latent).
        losses: float32 (batch,).
        gradients: of the summed losses, each shaped like its variable.
    """

    latents: Tensor
    losses: Tensor
    gradients: Variables


def evaluate(
    chain: Chain, condition: Condition, variables: Mapping[str, Tensor], drawn: Tensor
) -> Evaluation:
    """Walk, and give the misfit with its gradient, also where gradients are switched off."""
    assert condition.misfit is not None  # `Aligned` checks it
    with torch.enable_grad():
        leaves = {name: each.detach().clone().requires_grad_() for name, each in variables.items()}
        latents = chain.walk(condition, leaves, drawn)
        losses = condition.misfit(latents)
        slopes = torch.autograd.grad(losses.sum(), list(leaves.values()), allow_unused=True)
    gradients = {
        name: torch.zeros_like(leaf) if gradient is None else gradient
        for (name, leaf), gradient in zip(leaves.items(), slopes, strict=True)
    }
    return Evaluation(latents.detach(), losses.detach(), gradients)


def adam(
    moments: Mapping[str, Tensor],
    gradients: Mapping[str, Tensor],
    rates: Sequence[float],
    updates: Sequence[int],
) -> tuple[Variables, Variables]:
    """Return what Adam subtracts from each variable, and its new moments.

        first' = 0.9 first + 0.1 g,  second' = 0.999 second + 0.001 g^2,
        rate / (1 - 0.9^u) first' / (sqrt(second' / (1 - 0.999^u)) + 1e-8)

    Args:
        moments: `NAME.first` and `NAME.second` of each variable.
        gradients: of each variable, (batch, ...).
        rates: one per image.
        updates: u, one per image, 1 at its first update.

    Source: Kingma & Ba 2015, arXiv 1412.6980, algorithm 1.
    """
    subtracted: Variables = {}
    renewed: Variables = {}
    for name, gradient in gradients.items():
        first = FIRST * moments[f"{name}.first"] + (1 - FIRST) * gradient
        second = SECOND * moments[f"{name}.second"] + (1 - SECOND) * gradient.square()
        scale = per_image(
            [r / (1 - FIRST**u) for r, u in zip(rates, updates, strict=True)], gradient
        )
        spread = second / per_image([1 - SECOND**u for u in updates], gradient)
        subtracted[name] = scale * first / (spread.sqrt() + TINY)
        renewed |= {f"{name}.first": first, f"{name}.second": second}
    return subtracted, renewed


def plain(gradients: Mapping[str, Tensor], rates: Sequence[float]) -> Variables:
    """Return what plain gradient descent subtracts: rate times gradient, a rate per image."""
    return {name: per_image(rates, each) * each for name, each in gradients.items()}


def per_image(numbers: Sequence[float], like: Tensor) -> Tensor:
    """Shape one number per image so that it multiplies a tensor (batch, ...)."""
    return like.new_tensor(numbers).view(-1, *[1] * (like.ndim - 1))


def draw_seed(seed: int, use: str, number: int) -> int:
    """Derive the seed of an image's noise for a use, in [0, 2**63); number 0 is its own seed."""
    return seed_of(seed, use, number) if number else seed
