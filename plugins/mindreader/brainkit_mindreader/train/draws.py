"""Random numbers of a training: a generator for every picture of every step.

They depend on seed, step and the picture's place in the batch alone. So a resumed training draws
what an uninterrupted one would, and processes that share a batch draw what one process would.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator as Randomness
from torch import Tensor

SEEDS = 2**31
STEPS_APART = 1_000_003


@dataclass(frozen=True)
class Draws:
    """Random numbers of one process's share of a batch.

    Attributes:
        common: the same in every process, for what a whole batch shares; every process has to ask
            it for the same.
        each: one for every picture of the share.
    """

    common: Randomness
    each: Sequence[Randomness]

    @classmethod
    def of_step(
        cls, step: int, batch: int, *, seed: int = 0, process: int = 0, processes: int = 1
    ) -> Draws:
        """Return a process's share of a step's random numbers.

        Shares interleave, which keeps the discriminator's groups together: whatever the number of
        processes, the same pictures are compared with each other.
        """
        common = Randomness().manual_seed((seed * STEPS_APART + step) % SEEDS)
        seeds = torch.randint(SEEDS, (batch,), generator=common).tolist()
        return cls(common, [Randomness().manual_seed(s) for s in seeds[process::processes]])

    def __len__(self) -> int:
        return len(self.each)

    def first(self, n: int) -> Draws:
        """Return the random numbers of the first n pictures."""
        return Draws(self.common, self.each[:n])

    def normal(self, *shape: int) -> Tensor:
        """Return standard normal float32 (pictures, *shape)."""
        return torch.stack([torch.randn(shape, generator=one) for one in self.each])

    def uniform(self) -> Tensor:
        """Return float32 (pictures, 1) in [0, 1)."""
        return torch.stack([torch.rand(1, generator=one) for one in self.each])

    def integers(self, high: int) -> Tensor:
        """Return int64 (pictures,) in [0, high)."""
        return torch.cat([torch.randint(high, (1,), generator=one) for one in self.each])

    def chance(self, share: float) -> bool:
        """Toss one coin for the whole batch."""
        return float(torch.rand([], generator=self.common)) < share

    def one_of(self, low: int, high: int) -> int:
        """Return one number in [low, high) for the whole batch."""
        return int(torch.randint(low, high, [], generator=self.common))


@dataclass(frozen=True)
class Batch:
    """Pictures with what is known of them.

    Attributes:
        pictures: float32 (batch, 3, side, side) in [-1, 1].
        conditions: (batch, f_dim) each, before noise.
        clip: CLIP embedding of the pictures, or None.
        betas: what the mappers read, a tensor for each condition; empty unless they are trained.
        targets: what they should predict, (batch, f_dim) each; empty likewise.
    """

    pictures: Tensor
    conditions: tuple[Tensor, ...]
    clip: Tensor | None = None
    betas: tuple[Tensor, ...] = ()
    targets: tuple[Tensor, ...] = ()


Draw = Callable[[Draws], Batch]
"""Returns one process's share of a batch, as many pictures as there are draws."""
