"""Inputs the checks use: small, drawn from fixed seeds, with known answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from brainkit.data import Condition, Stimuli

if TYPE_CHECKING:
    from torch import Tensor

COLOURS = {"red": (210, 40, 40), "green": (40, 170, 60), "blue": (50, 70, 210)}
SHADES = ("dark", "pale")


class ExampleTrials(NamedTuple):
    """Betas float32 (trials, voxels), their feature (trials, *shape), and new trials of both."""

    betas: Tensor
    feature: Tensor
    new_betas: Tensor
    new_feature: Tensor


def example_stimuli(batch: int = 3, side: int = 64) -> Stimuli:
    """Return pictures of coloured squares, uint8 (batch, side, side, 3), with two captions each."""
    import numpy as np

    images = np.zeros((batch, side, side, 3), dtype=np.uint8)
    captions = []
    for row in range(batch):
        shade, (colour, rgb) = SHADES[row % 2], list(COLOURS.items())[row % 3]
        images[row] = 30 if shade == "dark" else 220
        edge = side // 8 * (1 + row % 3)
        images[row, edge : side - edge, edge // 2 : side - edge] = rgb
        captions.append((f"a {colour} square", f"a {colour} square on a {shade} ground"))
    return Stimuli(images=images, captions=tuple(captions), image_ids=np.arange(batch, dtype="i4"))


def example_trials(
    trials: int = 40, voxels: int = 12, shape: tuple[int, ...] = (6,), noise: float = 1.0
) -> ExampleTrials:
    """Return betas and a feature that is a linear map of them plus noise of a given spread."""
    import torch

    generator = torch.Generator().manual_seed(0)

    def drawn(*sizes: int) -> Tensor:
        return torch.randn(*sizes, generator=generator)

    new = 7
    betas = drawn(trials + new, voxels)
    targets = 1
    for size in shape:
        targets *= size
    feature = betas @ drawn(voxels, targets) + drawn(targets)
    feature = (feature + noise * drawn(trials + new, targets)).reshape(trials + new, *shape)
    return ExampleTrials(betas[:trials], feature[:trials], betas[trials:], feature[trials:])


def training_sigmas() -> Tensor:
    """Return 1000 ascending noise levels from 0.001 to 80, evenly spaced in their logarithm."""
    import torch

    return torch.logspace(-3.0, 1.90309, 1000)


def toy_condition(
    denoise: Callable[[Tensor, Tensor], Tensor], batch: int, strength: float = 1.0
) -> Condition:
    """Return a condition around a denoiser of known behaviour, with latents of shape (4, 8, 8)."""
    import torch

    generator = torch.Generator().manual_seed(1)
    start = torch.randn(batch, 4, 8, 8, generator=generator)
    return Condition(denoise=denoise, start=start, sigmas=training_sigmas(), strength=strength)


def gaussian_denoiser(mean: float, spread: float) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the exact denoiser of latents whose numbers are drawn from one normal distribution.

    For a clean number x0 ~ N(m, s^2) seen as x = x0 + sigma * noise,

        E[x0 | x] = (s^2 x + sigma^2 m) / (s^2 + sigma^2).
    """

    def denoise(latent: Tensor, sigma: Tensor) -> Tensor:
        return (spread**2 * latent + sigma**2 * mean) / (spread**2 + sigma**2)

    return denoise


def mixing_denoiser(latent: Tensor, sigma: Tensor) -> Tensor:
    """Denoise so that the answer depends on every number of an image but on no other image."""
    import torch

    pooled = latent.mean(dim=(1, 2, 3), keepdim=True)
    return torch.tanh(latent / (1 + sigma)) + 0.1 * pooled
