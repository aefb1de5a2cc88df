"""An NSD download small enough to be written anew in every test."""

from __future__ import annotations

from pathlib import Path


def tiny_nsd(path: Path) -> Path:
    """Write subject 1 of a tiny simulated NSD into an empty or new folder and give the folder.

    40 voxels, 20 training and 4 test images of 64 pixels, each shown three times in sessions of
    24 trials, with captions and regions, in the release's own formats. Under a second.
    """
    from brainkit.miniature.brain import Difficulty
    from brainkit.miniature.download import write_download

    path.mkdir(parents=True, exist_ok=True)
    write_download(path, Difficulty(voxels=40, train_images=20, test_images=4), seed=0)
    return path
