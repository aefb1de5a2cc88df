"""Promises of encoders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from brainkit.checkpoints import CheckpointStore
from brainkit.data import Checkpoint, Stimuli
from brainkit.parts import Encoder, checkpoints_of
from brainkit.testing.promise import require

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def reads_images_or_captions(part: Encoder, store: CheckpointStore, stimuli: Stimuli) -> None:
    """`reads` is "image", "caption" or "both"."""
    good = part.reads in ("image", "caption", "both")
    require(good, f"reads is {part.reads!r}, expected image, caption or both")


def checkpoints_are_declared(part: Any, store: CheckpointStore, *given: object) -> None:
    """`checkpoints` is a tuple of `Checkpoint`."""
    declared = checkpoints_of(part)
    good = isinstance(declared, tuple) and all(isinstance(each, Checkpoint) for each in declared)
    require(good, f"checkpoints is {declared!r}, expected a tuple of brainkit.Checkpoint")


def feature_has_the_declared_shape(part: Encoder, store: CheckpointStore, stimuli: Stimuli) -> None:
    """A batch gives finite float32 (batch, *shape) on the store's device."""
    import torch

    feature, shape = _encoded(part, store, stimuli), part.shape(store)
    expected = (len(stimuli.image_ids), *shape)
    require(
        tuple(feature.shape) == expected and feature.dtype == torch.float32,
        f"got {feature.dtype} {tuple(feature.shape)}, expected torch.float32 {expected}",
    )
    device = torch.device(store.device).type
    require(feature.device.type == device, f"the feature is on {feature.device}, not on {device}")
    require(bool(torch.isfinite(feature).all()), "the feature has values that are not finite")


def the_shape_needs_no_weights(part: Encoder, store: CheckpointStore, stimuli: Stimuli) -> None:
    """`shape` reads configurations only, so that a dry run is quick."""
    part.shape(without_weights(store))


def an_image_is_encoded_alone(part: Encoder, store: CheckpointStore, stimuli: Stimuli) -> None:
    """A feature does not depend on the other stimuli of its batch."""
    import torch

    function = part.load(store)
    with torch.no_grad():
        together = function(rows(stimuli, slice(None)))
        cuts = [slice(row, row + 1) for row in range(len(stimuli.image_ids))]
        alone = [function(rows(stimuli, cut)) for cut in cuts]
    require_close(together, torch.cat(alone), "encoded together and one by one")


def an_empty_batch_is_encoded(part: Encoder, store: CheckpointStore, stimuli: Stimuli) -> None:
    """No stimuli give a tensor of shape (0, *shape)."""
    feature = _encoded(part, store, rows(stimuli, slice(0, 0)))
    expected = (0, *part.shape(store))
    found = tuple(feature.shape)
    require(found == expected, f"an empty batch gives {found}, expected {expected}")


def reads_only_what_it_declares(part: Encoder, store: CheckpointStore, stimuli: Stimuli) -> None:
    """Leaving out the captions of an image encoder, or the images of a caption encoder, is fine."""
    import numpy as np
    import torch

    bare = rows(stimuli, slice(None))
    if part.reads == "image":
        bare = replace(bare, captions=((),) * len(stimuli.captions))
    elif part.reads == "caption":
        bare = replace(bare, images=np.zeros((0, 0, 0, 3), np.uint8))
    function = part.load(store)
    with torch.no_grad():
        full = function(rows(stimuli, slice(None)))
        require_close(full, function(bare), f"given more than its {part.reads}s")


def loading_again_gives_the_same(part: Encoder, store: CheckpointStore, stimuli: Stimuli) -> None:
    """Two loads give the same features, whatever the global random state."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        first = _encoded(part, store, stimuli)
        torch.manual_seed(2)
        second = _encoded(part, store, stimuli)
    require_close(first, second, "loaded twice")


def stimuli_stay_untouched(part: Encoder, store: CheckpointStore, stimuli: Stimuli) -> None:
    """Encoding does not change the images."""
    import torch

    mine = rows(stimuli, slice(None))
    with torch.no_grad():
        part.load(store)(mine)
    require(
        bool((stimuli.images == mine.images).all()), "the images were changed in place; copy them"
    )


def rows(stimuli: Stimuli, cut: slice) -> Stimuli:
    """Return a copy of some rows of stimuli."""
    return Stimuli(
        images=stimuli.images[cut].copy(),
        captions=stimuli.captions[cut],
        image_ids=stimuli.image_ids[cut],
    )


def require_close(first: Tensor, second: Tensor, when: str) -> None:
    """Raise AssertionError unless two tensors agree to a thousandth of their largest value."""
    require(
        first.shape == second.shape,
        f"shapes {tuple(first.shape)} and {tuple(second.shape)} differ {when}",
    )
    if first.numel() == 0:
        return
    # Values that are not finite are the business of another check.
    first, second = first.double().nan_to_num(), second.double().nan_to_num()
    far = float((first - second).abs().max())
    scale = max(float(first.abs().max()), 1e-6)
    require(far <= 1e-3 * scale, f"values of up to {scale:.3g} differ by {far:.3g} {when}")


def without_weights(store: CheckpointStore) -> CheckpointStore:
    """Return a store like another that refuses to load weights."""
    return _Closed(**{field.name: getattr(store, field.name) for field in fields(store)})


@dataclass(frozen=True)
class _Closed(CheckpointStore):
    def load(
        self, checkpoint: Checkpoint, prefix: str = "", dtype: torch.dtype | None = None
    ) -> dict[str, Tensor]:
        raise AssertionError(
            f"shape loaded the weights of {checkpoint.name!r}; use store.config(checkpoint)"
        )


def _encoded(part: Encoder, store: CheckpointStore, stimuli: Stimuli) -> Tensor:
    import torch

    function: Callable[[Stimuli], Tensor] = part.load(store)
    with torch.no_grad():
        return function(rows(stimuli, slice(None)))


PROMISES = (
    reads_images_or_captions,
    checkpoints_are_declared,
    feature_has_the_declared_shape,
    the_shape_needs_no_weights,
    an_image_is_encoded_alone,
    an_empty_batch_is_encoded,
    reads_only_what_it_declares,
    loading_again_gives_the_same,
    stimuli_stay_untouched,
)
