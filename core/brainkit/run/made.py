"""Which images a run's folder has outputs of, scored or not."""

from __future__ import annotations

from brainkit.run.captions import read_captions
from brainkit.run.folder import Folder


def images_made(folder: Folder) -> set[int]:
    """Return the ids of the images of which a folder has a picture or a caption from the brain."""
    return folder.pictured | {draw.image for draw in read_captions(folder.captions("brain"))}


def more_made(n_more: int) -> list[str]:
    """Return a sentence about images that were made and are not scored; none if there are none."""
    if not n_more:
        return []
    of = "1 more image" if n_more == 1 else f"{n_more} more images"
    return [
        f"Partly scored: the run's folder has pictures or captions of {of}, made before with other "
        "--images; they are kept, and no score or card here is about them."
    ]
