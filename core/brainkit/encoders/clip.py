"""CLIP features of stimuli, through transformers' CLIP networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from brainkit.networks.clip import CLIP_B32, CLIP_L14

if TYPE_CHECKING:
    from torch import Tensor

    from brainkit.checkpoints import CheckpointStore
    from brainkit.data import Stimuli
    from brainkit.parts import Reads

__all__ = ["CLIP_B32", "CLIP_L14", "ClipImage", "ClipText", "mean_over_captions"]


@dataclass(frozen=True)
class ClipImage:
    """The projected CLIP embedding of an image.

    Feature: float32 (dim,), not normalised; (768,) for ViT-L/14.

    Source: Radford et al. 2021, arXiv 2103.00020.
    """

    name = "clip-image"
    reads: ClassVar[Reads] = "image"
    checkpoints = (CLIP_L14,)

    def shape(self, store: CheckpointStore) -> tuple[int, ...]:
        """Return (dim,) from the network's configuration."""
        return (int(store.config(CLIP_L14)["projection_dim"]),)

    def load(self, store: CheckpointStore) -> Callable[[Stimuli], Tensor]:
        """Return a function from stimuli to float32 (batch, dim)."""
        from brainkit.networks.clip.network import load_image_embedding

        embed = load_image_embedding(store, CLIP_L14)
        return lambda stimuli: embed(stimuli.images)


@dataclass(frozen=True)
class ClipText:
    """The mean projected CLIP embedding of an image's captions.

    Feature: float32 (dim,); each caption's embedding has length 1 before the mean.

    Source: Radford et al. 2021, arXiv 2103.00020.
    """

    name = "clip-text"
    reads: ClassVar[Reads] = "caption"
    checkpoints = (CLIP_L14,)

    def shape(self, store: CheckpointStore) -> tuple[int, ...]:
        """Return (dim,) from the network's configuration."""
        return (int(store.config(CLIP_L14)["projection_dim"]),)

    def load(self, store: CheckpointStore) -> Callable[[Stimuli], Tensor]:
        """Return a function from stimuli to float32 (batch, dim)."""
        from brainkit.networks.clip.network import load_text_embedding

        embed = load_text_embedding(store, CLIP_L14)

        def unit(texts: Sequence[str]) -> Tensor:
            embedded = embed(texts)
            normed: Tensor = embedded / embedded.norm(dim=-1, keepdim=True)
            return normed

        return lambda stimuli: mean_over_captions(stimuli.captions, unit)


def mean_over_captions(
    captions: Sequence[Sequence[str]], encode: Callable[[Sequence[str]], Tensor]
) -> Tensor:
    """Encode all captions of all images at once and average each image's.

    Args:
        captions: for each image its captions, at least one.
        encode: gives (texts, *shape) for a list of texts.

    Returns:
        float32 (images, *shape).
    """
    import torch

    encoded = encode([caption for each in captions for caption in each])
    parts = torch.split(encoded, [len(each) for each in captions])
    if not parts:
        return encoded
    return torch.stack([part.mean(dim=0) for part in parts])
