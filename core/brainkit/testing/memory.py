"""Training images for the checks of parts that choose among them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from brainkit.data import Stimuli, TrainingRows
from brainkit.errors import UsageError
from brainkit.parts import remembers
from brainkit.testing.examples import example_stimuli

if TYPE_CHECKING:
    from torch import Tensor

    from brainkit.checkpoints import CheckpointStore
    from brainkit.data import Integers

IMAGES = 12


class Remembering:
    """A part whose `load` is given training rows; everything else is the part's."""

    def __init__(self, part: Any, training: TrainingRows) -> None:
        """Keep both."""
        self.part, self.training = part, training

    def __getattr__(self, name: str) -> Any:
        return getattr(self.part, name)

    def load(self, store: CheckpointStore) -> Any:
        """Load the part as a run would."""
        return self.part.load(store, training=self.training)


def remembering(part: Any, training: TrainingRows) -> Any:
    """Return a part that is loaded with training rows, if it wants them; else the part itself."""
    return part if remembers(part) is None else Remembering(part, training)


def whole(part: Any) -> Any:
    """Return the part itself of one that `remembering` returned."""
    return part.part if isinstance(part, Remembering) else part


def example_training(part: Any, features: Mapping[str, Tensor]) -> TrainingRows:
    """Return twelve training images with the features that a part remembers, drawn from N(0, 1).

    Args:
        part: any.
        features: of the shapes that are drawn, (batch, *shape).

    Raises:
        UsageError: it remembers a feature whose shape is not given.
    """
    import numpy as np
    import torch

    generator = torch.Generator().manual_seed(2)
    wanted = remembers(part) or ()
    lacking = [name for name in wanted if name not in features]
    if lacking:
        raise UsageError(f"{part.name} remembers {lacking}; give `training` with these features")
    drawn = {
        name: torch.randn(IMAGES, *features[name].shape[1:], generator=generator).half()
        for name in wanted
    }
    image_ids = np.arange(IMAGES, dtype=np.int32)
    return TrainingRows(image_ids, drawn, _pictures)


def _pictures(image_ids: Integers) -> Stimuli:
    every = example_stimuli(IMAGES)
    captions = tuple(every.captions[image] for image in image_ids)
    return Stimuli(every.images[image_ids], captions, image_ids)
