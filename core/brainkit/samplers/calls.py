"""How often a sampler calls what it walks, found by watching it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from brainkit.data import Condition
    from brainkit.parts import Sampler

ENOUGH = 2000
"""Calls after which a sampler's further ones follow from its progress."""


def calls(sampler: Sampler, condition: Condition) -> Counter[str]:
    """Count what a sampler calls for one batch, by letting it walk a condition that does nothing.

    Returns:
        how often it calls "denoise" and "misfit", and as "denoise back" and "misfit back" how often
        a gradient passes through them.
    """
    import torch

    counts: Counter[str] = Counter()

    def call(name: str, given: Tensor) -> Tensor:
        class Counted(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, given: Tensor) -> Tensor:
                counts[name] += 1
                return given / 2

            @staticmethod
            def backward(ctx: Any, gradient: Tensor) -> Tensor:
                counts[f"{name} back"] += 1
                return gradient / 2

        found: Tensor = Counted.apply(given)
        return found

    def denoise(latent: Tensor, sigma: Tensor) -> Tensor:
        return call("denoise", latent)

    def progress(done: int, total: int) -> None:
        if sum(counts.values()) > ENOUGH and done < total:
            raise _Enough(total / done)

    small = replace(
        condition,
        denoise=denoise,
        denoise_with=(lambda context: denoise) if condition.denoise_with else None,
        misfit=(lambda latent: call("misfit", latent.flatten(1).mean(dim=1)))
        if condition.misfit
        else None,
        start=torch.ones(1, *(min(n, 2) for n in condition.start.shape[1:])),
        context=None if condition.context is None else torch.ones(1, 2, 2),
        sigmas=torch.linspace(0.03, 14.0, len(condition.sigmas)),
    )
    try:
        with torch.no_grad():
            sampler.sample(small, [0], progress)
    except _Enough as enough:
        return Counter({name: round(n * enough.share) for name, n in counts.items()})
    return counts


class _Enough(Exception):  # noqa: N818 (it is no error)
    """A sampler was watched for long enough; it does so many times more."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
