"""Promises of samplers, checked with denoisers whose samples are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from brainkit.data import Condition
from brainkit.parts import Sampler
from brainkit.testing.examples import gaussian_denoiser, mixing_denoiser, toy_condition
from brainkit.testing.promise import require

if TYPE_CHECKING:
    from torch import Tensor

SEEDS = (11, 5, 23)


def latents_are_float32_of_the_starts_shape(part: Sampler) -> None:
    """Three starts give float32 of the shape of the starts."""
    import torch

    condition = toy_condition(gaussian_denoiser(0.0, 1.0), batch=3)
    latent = part.sample(condition, SEEDS)
    expected = tuple(condition.start.shape)
    require(
        tuple(latent.shape) == expected and latent.dtype == torch.float32,
        f"got {latent.dtype} {tuple(latent.shape)}, expected torch.float32 {expected}",
    )


def a_point_mass_is_returned(part: Sampler) -> None:
    """A denoiser that always answers one latent leads to that latent.

    A trace of noise as large as the lowest training noise level, here 0.001, may remain.
    """
    import torch

    answer = toy_condition(mixing_denoiser, batch=1).start[0] * 0.7
    condition = toy_condition(lambda latent, sigma: answer.expand_as(latent), batch=3)
    latent = part.sample(condition, SEEDS)
    far = float((latent - answer).abs().max()) if torch.isfinite(latent).all() else float("nan")
    require(far < 0.01, f"a point mass is missed by {far:.3g}, expected under 0.01")


def a_gaussian_keeps_mean_and_spread(part: Sampler) -> None:
    """From noise alone, the denoiser of N(1, 2) leads to numbers of mean 1 and spread 2.

    Over 8192 numbers chance moves the mean by 0.02 and the spread by 0.02; 20 steps of a first
    order sampler lose under a tenth of the spread.
    """
    import torch

    condition = toy_condition(gaussian_denoiser(1.0, 2.0), batch=32)
    condition = replace(condition, start=torch.zeros_like(condition.start))
    latent = part.sample(condition, tuple(range(32)))
    mean, spread = float(latent.mean()), float(latent.std())
    require(abs(mean - 1) < 0.2, f"the mean is {mean:.2f}, expected 1 within 0.2")
    require(abs(spread - 2) < 0.3, f"the spread is {spread:.2f}, expected 2 within 0.3")


def sigma_never_increases(part: Sampler) -> None:
    """The denoiser is asked at falling noise levels within the trained range."""
    seen: list[float] = []

    def denoise(latent: Tensor, sigma: Tensor) -> Tensor:
        seen.append(float(sigma))
        return latent / (1 + sigma**2)

    condition = toy_condition(denoise, batch=1)
    part.sample(condition, SEEDS[:1])
    rises = [(a, b) for a, b in pairwise(seen) if b > a * (1 + 1e-6)]
    require(not rises, f"sigma rises {rises[:1]} during the walk, expected it to fall")
    top = float(condition.sigmas[-1])
    require(
        not seen or max(seen) <= top * (1 + 1e-5),
        f"the denoiser is asked at sigma {max(seen, default=0):.3g}, trained up to {top:.3g}",
    )


def three_images_equal_three_times_one(part: Sampler) -> None:
    """An image's latent depends on its own start and seed, not on its batch."""
    import torch

    whole = toy_condition(mixing_denoiser, batch=3, strength=0.8)
    together = part.sample(_copied(whole), SEEDS)
    alone = [
        part.sample(_copied(whole, slice(row, row + 1)), SEEDS[row : row + 1]) for row in range(3)
    ]
    far = float((together - torch.cat(alone)).abs().max())
    require(
        far < 1e-4,
        f"latents differ by {far:.3g} between a batch of three and three of one; "
        "draw each image's noise from its own seed",
    )


def seeds_alone_decide_the_noise(part: Sampler) -> None:
    """The same seeds give the same latents, whatever the global random state."""
    import torch

    condition = toy_condition(mixing_denoiser, batch=3, strength=0.8)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        first = part.sample(_copied(condition), SEEDS)
        torch.manual_seed(2)
        second = part.sample(_copied(condition), SEEDS)
    require(
        torch.equal(first, second), "the same seeds give other latents; use no global generator"
    )


def gradients_reach_the_start(part: Sampler) -> None:
    """A loss of the latents can be descended in the start: no `no_grad`, no detaching."""
    import torch

    condition = toy_condition(mixing_denoiser, batch=2, strength=0.5)
    start = condition.start.clone().requires_grad_()
    with torch.enable_grad():
        latent = part.sample(replace(condition, start=start), SEEDS[:2])
        require(latent.requires_grad, "the latent has no gradient; take out no_grad and detach")
        (gradient,) = torch.autograd.grad(latent.square().sum(), start, allow_unused=True)
    found = gradient is not None and bool(gradient.abs().sum() > 0)
    require(found and bool(torch.isfinite(gradient).all()), "no finite gradient reaches the start")


def the_start_stays_untouched(part: Sampler) -> None:
    """Sampling changes neither the start nor the noise levels it is given."""
    import torch

    condition = toy_condition(mixing_denoiser, batch=2, strength=0.5)
    before = condition.start.clone(), condition.sigmas.clone()
    part.sample(condition, SEEDS[:2])
    same = torch.equal(before[0], condition.start) and torch.equal(before[1], condition.sigmas)
    require(same, "the start or the noise levels were changed in place; work on a copy")


def progress_counts_to_the_end(part: Sampler) -> None:
    """`progress(done, total)` is called with done = 1, 2, ... total."""
    called: list[tuple[int, int]] = []
    condition: Condition = toy_condition(mixing_denoiser, batch=1)
    seeds: Sequence[int] = SEEDS[:1]
    part.sample(condition, seeds, progress=lambda done, total: called.append((done, total)))
    total = called[-1][1] if called else 0
    expected = [(done, total) for done in range(1, total + 1)]
    require(
        bool(called) and called == expected,
        f"progress was called with {called[:3]}... in {len(called)} calls, "
        "expected (1, total), (2, total), ... (total, total)",
    )


def _copied(condition: Condition, cut: slice = slice(None)) -> Condition:
    return replace(condition, start=condition.start[cut].clone())


PROMISES = (
    latents_are_float32_of_the_starts_shape,
    a_point_mass_is_returned,
    a_gaussian_keeps_mean_and_spread,
    sigma_never_increases,
    three_images_equal_three_times_one,
    seeds_alone_decide_the_noise,
    gradients_reach_the_start,
    the_start_stays_untouched,
    progress_counts_to_the_end,
)
