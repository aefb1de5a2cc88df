"""What Mind Reader's mappers are trained to predict: CLIP ViT-B/32 embeddings, bounded.

Both kinds are clamped, which removes a few dimensions that spike, and brought to length 1. A
feature's first axis holds alternatives of one target, of which the regressor `mapper` draws one an
epoch.

Source: Lin et al. 2022, arXiv 2210.01769, and its code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from brainkit import option
from brainkit.networks.clip import CLIP_B32

if TYPE_CHECKING:
    from torch import Tensor

    from brainkit.checkpoints import CheckpointStore
    from brainkit.data import Stimuli
    from brainkit.parts import Reads

PLACES = 5
CLAMP = 1.5


@dataclass(frozen=True)
class ClipB32Image:
    """The CLIP ViT-B/32 embeddings of an image and of augmented copies, clamped, of length 1.

    Feature: float32 (1 + views, dim); row 0 is the whole picture's, the rows after it those of
    copies that depend on the picture and its id alone (see `brainkit_mindreader.captions.augment`).

    Source: Lin et al. 2022, arXiv 2210.01769.
    """

    name = "clip-b32-image"
    reads: ClassVar[Reads] = "image"
    views: int = option(8, "augmented copies of each image beside the whole picture", ge=0)
    clamp: float = option(CLAMP, "bound of every number before the length is made 1", gt=0)
    checkpoints = (CLIP_B32,)

    def shape(self, store: CheckpointStore) -> tuple[int, ...]:
        """Return (1 + views, dim) from the network's configuration."""
        return (1 + self.views, _dim(store))

    def load(self, store: CheckpointStore) -> Callable[[Stimuli], Tensor]:
        """Return a function from stimuli to float32 (batch, 1 + views, dim)."""
        import torch

        from brainkit.networks.clip.network import load_image_embedding
        from brainkit_mindreader.captions.augment import copies

        embed, shape = load_image_embedding(store, CLIP_B32), self.shape(store)

        def encode(stimuli: Stimuli) -> Tensor:
            rows = [embed(stimuli.images)[:, None]]
            if self.views and len(stimuli.images):
                pairs = zip(stimuli.images, stimuli.image_ids.tolist(), strict=True)
                views = [embed(copies(image, number, self.views)) for image, number in pairs]
                rows.append(torch.stack(views))
            return bounded(torch.cat(rows, dim=1), self.clamp).reshape(-1, *shape)

        return encode


@dataclass(frozen=True)
class ClipB32Text:
    """The CLIP ViT-B/32 embeddings of the captions that fit an image, clamped, of length 1.

    Feature: float32 (5, dim), the captions that screening keeps, repeated in order until 5 places
    are full; (1, dim) for "first" and "mean". Of more than 5 the first count. For the rule of
    screening see `brainkit_mindreader.captions.screening`, for the table that can replace
    it `.curated`.

    Source: Lin et al. 2022, arXiv 2210.01769.
    """

    name = "clip-b32-text"
    captions: Literal["screened", "all", "first", "mean"] = option(
        "screened",
        "rows: those that screening keeps, all without screening, the first that it keeps, or the "
        "mean of those that it keeps",
    )
    ratio: float = option(
        0.5, "a caption is kept if it is likelier than this share of the likeliest", ge=0, lt=1
    )
    scale: float = option(100.0, "factor of the cosines before the softmax", gt=0)
    curated: str = option("", "table of screened captions (.npy, .csv, .jsonl) instead of the rule")
    clamp: float = option(CLAMP, "bound of every number before the length is made 1", gt=0)
    checkpoints = (CLIP_B32,)

    @property
    def reads(self) -> Reads:
        """Both images and captions where the rule screens, else captions."""
        return "both" if self.captions != "all" and not self.curated else "caption"

    @property
    def files(self) -> tuple[Path, ...]:
        """The table, if there is one."""
        return (Path(self.curated),) if self.curated else ()

    def shape(self, store: CheckpointStore) -> tuple[int, ...]:
        """Return (rows, dim) from the network's configuration."""
        return (PLACES if self.captions in ("screened", "all") else 1, _dim(store))

    def load(self, store: CheckpointStore) -> Callable[[Stimuli], Tensor]:
        """Return a function from stimuli to float32 (batch, rows, dim).

        Raises:
            DataError: the table cannot be read; when called, an image has no caption.
        """
        import torch

        from brainkit.networks.clip.network import load_text_embedding
        from brainkit_mindreader.captions.curated import read_curated
        from brainkit_mindreader.captions.screening import load_rule, said_of

        shape, table = self.shape(store), read_curated(Path(self.curated)) if self.curated else None
        embed = load_text_embedding(store, CLIP_B32)
        rule = load_rule(store, self.ratio, self.scale) if self.reads == "both" else None

        def encode(stimuli: Stimuli) -> Tensor:
            captions = said_of(stimuli, table)
            every = embed([text for texts in captions for text in texts])
            embeddings = list(torch.split(every, [len(texts) for texts in captions]))
            if rule:
                masks = rule(stimuli.images, embeddings)
                embeddings = [each[kept] for each, kept in zip(embeddings, masks, strict=True)]
            rows = [self._rows(each) for each in embeddings]
            stacked = torch.stack(rows) if rows else every
            return bounded(stacked, self.clamp).reshape(-1, *shape)

        return encode

    def _rows(self, kept: Tensor) -> Tensor:
        """Choose (rows, dim) among the embeddings that are kept, (captions, dim)."""
        import torch

        if self.captions == "first":
            return kept[:1]
        if self.captions == "mean":
            return kept.mean(dim=0, keepdim=True)
        return kept[torch.arange(PLACES, device=kept.device) % len(kept)]


def bounded(raw: Tensor, clamp: float = CLAMP) -> Tensor:
    """Clamp embeddings (..., dim) to +-clamp and bring each to length 1, float32."""
    from torch.nn import functional

    return functional.normalize(raw.float().clamp(-clamp, clamp), dim=-1)


def first_row(embeddings: Tensor) -> Tensor:
    """Return (batch, dim) of (batch, dim) or (batch, rows, dim), of which the first row counts."""
    return embeddings[:, 0] if embeddings.ndim == 3 else embeddings


def _dim(store: CheckpointStore) -> int:
    return int(store.config(CLIP_B32)["projection_dim"])
