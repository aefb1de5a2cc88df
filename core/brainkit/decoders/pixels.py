"""Pictures from latents that are pictures already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from brainkit.decoders.autokl import to_uint8

if TYPE_CHECKING:
    from torch import Tensor

    from brainkit.checkpoints import CheckpointStore
    from brainkit.data import Checkpoint
    from brainkit.parts import Gives


@dataclass(frozen=True)
class Pixels:
    """Float images in [-1, 1] to uint8, for generators whose latent is the image itself."""

    name = "pixels"
    gives: ClassVar[Gives] = "image"
    checkpoints: ClassVar[tuple[Checkpoint, ...]] = ()

    def load(self, store: CheckpointStore) -> Callable[[Tensor, Sequence[int]], Tensor]:
        """Return a function from (batch, 3, height, width) to uint8 (batch, height, width, 3)."""
        return lambda latents, seeds: to_uint8(latents)
