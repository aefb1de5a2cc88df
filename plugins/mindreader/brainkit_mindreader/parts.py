"""Mind Reader's way to pictures: LAFITE's generator under two decoded CLIP embeddings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from brainkit import Condition, option
from brainkit.encoders.clip import CLIP_B32
from brainkit_mindreader.checkpoints import GENERATOR

if TYPE_CHECKING:
    from torch import Tensor

    from brainkit.checkpoints import CheckpointStore
    from brainkit.parts import Gives


@dataclass(frozen=True)
class Lafite:
    """LAFITE's generator with a branch for the image embedding and one for the caption's.

    Of each feature the first row counts; it is brought to length 1. A generator with a single
    branch, LAFITE's own, serves both embeddings with it. The latent is the picture itself, float32
    (batch, 3, side, side) in about [-1, 1]; what a sampler starts from is the noise z. The misfit
    is 1 minus the mean cosine of the picture's CLIP embedding with the decoded ones, so that a
    sampler can choose among candidates; the stimulus plays no part.

    Source: Lin et al. 2022, arXiv 2210.01769; Zhou et al. 2022, arXiv 2111.13792.
    """

    name = "lafite"
    directions = ("clip_image", "clip_text")
    gives: ClassVar[tuple[Gives, ...]] = ("image",)
    heads: Literal["both", "image", "caption"] = option(
        "both", "the embeddings whose branches are merged by their maximum"
    )
    z: Literal["zeros", "random"] = option(
        "zeros", "the noise vector: zeros, as in training, or drawn from the image's seed"
    )
    noise: Literal["const", "random", "none"] = option(
        "const", "noise in feature maps: the stored one, one drawn from the image's seed, or none"
    )
    truncation: float = option(
        1.0, "share of a style vector's distance from the average that is kept", ge=0, le=1
    )
    checkpoints = (GENERATOR, CLIP_B32)

    @property
    def needs(self) -> tuple[str, ...]:
        """The features it reads, those of the heads in use."""
        of = {"image": ("clip_image",), "caption": ("clip_text",)}
        return of.get(self.heads, ("clip_image", "clip_text"))

    def load(
        self, store: CheckpointStore
    ) -> Callable[[Mapping[str, Tensor]], dict[str, Condition]]:
        """Return a function from both features to the condition "image"."""
        from brainkit_mindreader.loading import load_lafite

        return load_lafite(store, self)
