"""The method retrieval: the training picture nearest to what the brain saw."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from brainkit import Checkpoint, Condition, hookimpl, option
from brainkit.data import TrainingRows
from brainkit.encoders.clip import ClipImage
from brainkit.method import Method
from brainkit.parts import Conditioner, Decoder, Gives
from brainkit.regressors import Ridge
from brainkit.samplers.single_pass import SinglePass

if TYPE_CHECKING:
    from torch import Tensor

    from brainkit.checkpoints import CheckpointStore


@dataclass(frozen=True)
class Nearest:
    """The id of the training picture whose embedding has the largest cosine with the predicted."""

    name = "nearest-training"
    needs: ClassVar[tuple[str, ...]] = ("clip_image",)
    gives: ClassVar[tuple[Gives, ...]] = ("image",)
    checkpoints: ClassVar[tuple[Checkpoint, ...]] = ()
    remembers: ClassVar[tuple[str, ...]] = ("clip_image",)
    rank: int = option(1, "which of the nearest is shown", ge=1)

    def load(
        self, store: CheckpointStore, training: TrainingRows
    ) -> Callable[[Mapping[str, Tensor]], dict[str, Condition]]:
        """Return a function from {"clip_image": float32 (batch, dim)} to one condition.

        There is nothing to walk: a single noise level, and a latent (batch, 1) that is an id, which
        float32 holds exactly.
        """
        import torch

        embedded = training.features["clip_image"].float().to(store.device)
        known = torch.nn.functional.normalize(embedded, dim=1)
        ids = torch.as_tensor(training.image_ids, device=store.device).float()

        def prepare(features: Mapping[str, Tensor]) -> dict[str, Condition]:
            predicted = torch.nn.functional.normalize(features["clip_image"], dim=1)
            order = (predicted @ known.T).argsort(dim=1, descending=True, stable=True)
            chosen = ids[order[:, min(self.rank, len(ids)) - 1]][:, None]
            start, sigmas = torch.zeros_like(chosen), torch.ones(1, device=store.device)
            return {"image": Condition(lambda latent, sigma: chosen, start, sigmas)}

        return prepare


@dataclass(frozen=True)
class Shown:
    """The training picture of an id."""

    name = "training-picture"
    gives: ClassVar[Gives] = "image"
    checkpoints: ClassVar[tuple[Checkpoint, ...]] = ()
    remembers: ClassVar[tuple[str, ...]] = ()

    def load(
        self, store: CheckpointStore, training: TrainingRows
    ) -> Callable[[Tensor, Sequence[int]], Tensor]:
        """Return a function from ids, float32 (batch, 1), to uint8 pictures."""
        import numpy as np
        import torch

        def decode(latents: Tensor, seeds: Sequence[int]) -> Tensor:
            image_ids = latents[:, 0].round().int().cpu().numpy().astype(np.int32)
            return torch.from_numpy(np.ascontiguousarray(training.stimuli(image_ids).images))

        return decode


RETRIEVAL = Method(
    name="retrieval",
    summary="the training picture whose CLIP embedding is nearest to the predicted one",
    source="none: retrieval from the training set, the baseline that a generator has to pass",
    encoders={"clip_image": ClipImage()},
    regressors={"clip_image": Ridge(alpha=1000.0)},
    conditioner=Nearest(),
    sampler=SinglePass(),
    decoders={"image": Shown()},
    footnotes=("Nothing is generated: every picture is one of the training pictures.",),
)


@hookimpl
def register_conditioners(register: Callable[[Conditioner], None]) -> None:
    """Register the conditioner."""
    register(Nearest())


@hookimpl
def register_decoders(register: Callable[[Decoder], None]) -> None:
    """Register the decoder."""
    register(Shown())


@hookimpl
def register_methods(register: Callable[[Method], None]) -> None:
    """Register the method."""
    register(RETRIEVAL)
