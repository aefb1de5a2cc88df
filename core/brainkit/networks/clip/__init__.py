"""CLIP: its network, the names its tensors have elsewhere, and where it is published."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brainkit.data import Checkpoint
from brainkit.errors import UsageError

if TYPE_CHECKING:
    from brainkit.checkpoints import CheckpointStore

CLIP_L14 = Checkpoint(
    name="clip-vit-l14",
    source="openai/clip-vit-large-patch14",
    release="brainkit.networks.clip.released:CLIP_L14",
    miniature="brainkit.miniature.checkpoints:clip",
)
CLIP_B32 = Checkpoint(
    name="clip-vit-b32",
    source="openai/clip-vit-base-patch32",
    release="brainkit.networks.clip.released:CLIP_B32",
    miniature="brainkit.miniature.checkpoints:clip_b32",
)


def text_length(store: CheckpointStore, checkpoint: Checkpoint, length: int | None) -> int:
    """Return the tokens a text has: so many, or with None all that the text tower has places for.

    Raises:
        UsageError: the length does not fit the text tower.
    """
    full = int(store.config(checkpoint)["text_config"]["max_position_embeddings"])
    if length is None:
        return full
    if not 3 <= length <= full:
        raise UsageError(
            f"texts of {length} tokens were asked for, but {checkpoint.name} reads 3 to {full}, "
            "begin and end included; choose a length in between"
        )
    return length
