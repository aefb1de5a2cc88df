"""Pictures of a training: read small, turned into numbers of networks and back, shown in a grid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainkit.run import Artefact, Recipe, Run, one, written_aside

AT_ONCE = 64
Pictures = NDArray[np.uint8]
"""uint8 (images, height, width, 3)."""


def shrunken(run: Run, image_ids: Sequence[int] | NDArray[np.int32], side: int) -> Pictures:
    """Read pictures by id and resize them to a side in pixels, uint8 (images, side, side, 3)."""
    from PIL import Image

    from brainkit.nsd import load_stimuli

    small = np.empty((len(image_ids), side, side, 3), np.uint8)
    for begin in range(0, len(image_ids), AT_ONCE):
        pictures = load_stimuli(run.nsd, image_ids[begin : begin + AT_ONCE])
        for place, picture in enumerate(pictures, begin):
            whole = Image.fromarray(picture)
            if whole.size != (side, side):
                whole = whole.resize((side, side), Image.Resampling.LANCZOS)
            small[place] = np.asarray(whole)
    return small


def training_pictures(run: Run, side: int) -> Pictures:
    """Return the training pictures by ascending id, mapped from the file where they are kept small.

    The file `training/pictures-SIDE.npy` is made on first use: 1.8 GB for 9,000 of 256 px.
    """
    inputs = {"images": run.files["images"], "image ids": run.files["ids"]}
    recipe = Recipe("training pictures", (f"side={side}",), inputs=inputs)

    def make(artefact: Artefact) -> None:
        pictures = shrunken(run, run.image_ids[0], side)
        with written_aside(artefact.path) as aside, aside.open("wb") as file:
            np.save(file, pictures, allow_pickle=False)

    path = run.folder.root / "training" / f"pictures-{side}.npy"
    mapped: Pictures = np.load(one(run, Artefact(path, recipe), make).intact(), mmap_mode="r")
    return mapped


def as_signed(pictures: Any) -> Tensor:
    """Turn uint8 (batch, height, width, 3) into float32 (batch, 3, height, width) in [-1, 1]."""
    whole = torch.from_numpy(np.ascontiguousarray(pictures))
    return whole.permute(0, 3, 1, 2).float() / 127.5 - 1


def as_whole(pictures: Tensor) -> Pictures:
    """Turn (batch, 3, height, width) in about [-1, 1] into uint8 (batch, height, width, 3)."""
    whole = (pictures.clamp(-1, 1) * 127.5 + 127.5).round().to(torch.uint8)
    found: Pictures = whole.permute(0, 2, 3, 1).cpu().numpy()
    return found


def write_grid(path: Path, *rows: Pictures) -> None:
    """Write pictures as one PNG: each argument's images side by side in a row of its own."""
    from PIL import Image

    grid = np.concatenate([np.concatenate(list(row), axis=1) for row in rows])
    with written_aside(path) as aside:
        Image.fromarray(grid).save(aside, format="png")
