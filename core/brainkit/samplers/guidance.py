"""Guidance: push a prediction away from what the network says without a condition."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from brainkit.samplers.denoisers import Predict


def stacked(unconditional: Tensor, conditional: Tensor) -> Tensor:
    """Put one unconditional context before each of a batch of conditional ones.

    Args:
        unconditional: (1, *context), or one each, (batch, *context).
        conditional: (batch, *context).

    Returns:
        (2 * batch, *context), the unconditional half first.
    """
    import torch

    return torch.cat([unconditional.expand_as(conditional), conditional])


def guided(predict: Predict, scale: float) -> Predict:
    """Make a prediction with classifier-free guidance, both halves in one call.

    prediction = unconditional + scale * (conditional - unconditional)

    Args:
        predict: `predict(latent, timesteps)` for a doubled batch, whose first half the network
            treats without a condition and whose second half with one (see `stacked`).
        scale: 1 leaves the conditional prediction, more exaggerates the condition.

    Source: Ho & Salimans 2022, arXiv 2207.12598, equation 6 with scale = 1 + w.
    """

    def both(latent: Tensor, timesteps: Tensor) -> Tensor:
        import torch

        doubled = predict(torch.cat([latent, latent]), torch.cat([timesteps, timesteps]))
        unconditional, conditional = doubled.chunk(2)
        return unconditional + scale * (conditional - unconditional)

    return both
