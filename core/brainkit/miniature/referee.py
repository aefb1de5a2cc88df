"""The referee: a small network that names what is in a picture, apart from every other network.

It is never used to train a generator, so that a generator cannot learn to please it. Its verdicts
are the honest answer to whether a reconstruction shows the object.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from brainkit.miniature.scenes import BACKGROUNDS, COLOURS, KINDS, SIDE, Scene

LABELS: Final = (*KINDS, *COLOURS, *BACKGROUNDS)
"""What the referee decides, in the order of its scores."""

_FOLDER: Final = Path(__file__).resolve().parent / "checkpoints" / "referee"
GROUPS: Final = {
    "kinds": slice(0, len(KINDS)),
    "colours": slice(len(KINDS), len(KINDS) + len(COLOURS)),
    "backgrounds": slice(len(KINDS) + len(COLOURS), len(LABELS)),
}


class Referee(nn.Module):
    """Score every label of a picture; kinds and colours independently, one background."""

    def __init__(self, *, widths: Sequence[int] = (24, 48, 96, 128, 128)) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for inputs, outputs in zip((3, *widths), widths, strict=False):
            blocks += [
                nn.Conv2d(inputs, outputs, 3, padding=1),
                nn.GroupNorm(8, outputs),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
        self.body = nn.Sequential(*blocks)
        self.head = nn.Linear(widths[-1] * 4, len(LABELS))

    def forward(self, image: Tensor) -> Tensor:
        """Give logits, float32 (batch, labels), for float32 (batch, 3, 64, 64) in [-1, 1]."""
        scores: Tensor = self.head(self.body(image).flatten(1))
        return scores


def load_referee(folder: Path = _FOLDER) -> Referee:
    """Load the trained referee, ready to judge."""
    config = json.loads((folder / "config.json").read_text())
    referee = Referee(widths=config["widths"])
    referee.load_state_dict(load_file(folder / "model.safetensors"))
    return referee.float().eval()


@torch.no_grad()
def judge(referee: Referee, images: NDArray[np.uint8]) -> Tensor:
    """Score every label of uint8 (batch, height, width, 3), as float32 (batch, labels) logits."""
    scores: Tensor = referee.head(features_of(referee, images))
    return scores


@torch.no_grad()
def features_of(referee: Referee, images: NDArray[np.uint8]) -> Tensor:
    """Give what the head reads, float32 (batch, dim), of uint8 (batch, height, width, 3)."""
    if images.shape[1:] != (SIDE, SIDE, 3):
        message = f"the referee reads (batch, {SIDE}, {SIDE}, 3), not {images.shape}"
        raise ValueError(message)
    found = []
    for part in torch.split(torch.from_numpy(np.ascontiguousarray(images)), 256):
        found.append(referee.body(part.permute(0, 3, 1, 2).float() / 127.5 - 1).flatten(1))
    return torch.cat(found)


def object_recall(referee: Referee, images: NDArray[np.uint8], scenes: Sequence[Scene]) -> float:
    """Give the share of objects found: of a scene with n objects, among the n likeliest kinds.

    Guessing finds about 12 %.
    """
    truth = [{o.kind for o in scene.objects} for scene in scenes]
    return _recall(judge(referee, images)[:, GROUPS["kinds"]], tuple(KINDS), truth)


def colour_recall(referee: Referee, images: NDArray[np.uint8], scenes: Sequence[Scene]) -> float:
    """Give the share of object colours found, counted as in `object_recall`."""
    truth = [{o.colour for o in scene.objects} for scene in scenes]
    return _recall(judge(referee, images)[:, GROUPS["colours"]], tuple(COLOURS), truth)


def background_accuracy(
    referee: Referee, images: NDArray[np.uint8], scenes: Sequence[Scene]
) -> float:
    """Give the share of pictures whose likeliest background is the scene's."""
    truth = [{scene.background} for scene in scenes]
    return _recall(judge(referee, images)[:, GROUPS["backgrounds"]], tuple(BACKGROUNDS), truth)


def _recall(scores: Tensor, names: Sequence[str], truth: Sequence[set[str]]) -> float:
    found = total = 0
    for row, wanted in zip(scores, truth, strict=True):
        named = {names[i] for i in row.topk(len(wanted)).indices.tolist()}
        found += len(named & wanted)
        total += len(wanted)
    return found / total


def labels_of(scenes: Sequence[Scene]) -> Tensor:
    """Give what is true of each scene, float32 (batch, labels) of 0 and 1."""
    rows = []
    for scene in scenes:
        true = {scene.background, *(o.kind for o in scene.objects)}
        true |= {o.colour for o in scene.objects}
        rows.append([float(label in true) for label in LABELS])
    return torch.tensor(rows)
