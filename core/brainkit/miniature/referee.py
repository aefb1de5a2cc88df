"""The referee: a small network that names what is in a picture, apart from every other network.

It is never used to train a generator, so that a generator cannot learn to please it. Its verdicts
are the honest answer to whether a reconstruction shows the object, and as what each picture shows
is known exactly, they make scores that only the miniature can have.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from brainkit.metrics import Score, scored, two_way_identification
from brainkit.metrics.score import SHARE
from brainkit.miniature.scenes import (
    BACKGROUNDS,
    COLOURS,
    KINDS,
    SIDE,
    SUBJECT_SEEDS,
    Scene,
    background_in,
    colours_in,
    kinds_in,
    make_scene,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

REFEREE: Final = "referee"
LABELS: Final = (*KINDS, *COLOURS, *BACKGROUNDS)
"""What the referee decides, in the order of its scores."""
COLUMNS: Final = {
    "kinds": slice(0, len(KINDS)),
    "colours": slice(len(KINDS), len(KINDS) + len(COLOURS)),
    "backgrounds": slice(len(KINDS) + len(COLOURS), len(LABELS)),
}
"""Where among them the kinds of object, the colours and the backgrounds are."""
AT_ONCE: Final = 256
"""Pictures it reads at once."""

_FOLDER: Final = Path(__file__).resolve().parent / "checkpoints" / "referee"


def referee_network(widths: Sequence[int] = (24, 48, 96, 128, 128)) -> nn.Sequential:
    """Return an untrained referee.

    Args:
        widths: channels of its blocks, each of which halves the picture.

    Returns:
        float32 (batch, 3, 64, 64) in [-1, 1] to logits (batch, labels): kinds and colours each by
        itself, one background. `body` ends in what `head` reads.
    """
    from torch import nn

    blocks: list[nn.Module] = []
    for before, width in zip((3, *widths), widths, strict=False):
        convolution = nn.Conv2d(before, width, 3, padding=1)
        blocks += [convolution, nn.GroupNorm(8, width), nn.ReLU(), nn.MaxPool2d(2)]
    head = nn.Linear(widths[-1] * 4, len(LABELS))
    layers = {"body": nn.Sequential(*blocks), "flat": nn.Flatten(), "head": head}
    return nn.Sequential(OrderedDict(layers))


def load_referee(folder: Path = _FOLDER) -> nn.Module:
    """Return the trained referee, ready to read pictures."""
    from safetensors.torch import load_file

    config = json.loads((folder / "config.json").read_text())
    referee = referee_network(config["widths"])
    referee.load_state_dict(load_file(folder / "model.safetensors"))
    return referee.float().eval()


def features(images: NDArray[np.uint8], referee: nn.Module | None = None) -> NDArray[np.float32]:
    """Return what the referee's verdicts are read from, float32 (batch, dim).

    Args:
        images: uint8 (batch, 64, 64, 3).
        referee: the network, or None for the trained one.

    Raises:
        ValueError: the images have another size.
    """
    return np.asarray(_features(images, referee or load_referee()).numpy())


def verdicts(images: NDArray[np.uint8], referee: nn.Module | None = None) -> NDArray[np.float32]:
    """Return the referee's logits, float32 (batch, labels), of images as `features` reads them."""
    import torch

    network = referee or load_referee()
    with torch.no_grad():
        logits = network.get_submodule("head")(_features(images, network))
    return np.asarray(logits.numpy())


def kind_verdicts(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the referee's logits of the kinds of object, float32 (batch, kinds)."""
    return verdicts(images)[:, COLUMNS["kinds"]]


def fits(images: NDArray[np.uint8]) -> bool:
    """Say whether the referee can read images of this size."""
    return images.shape[1:] == (SIDE, SIDE, 3)


def _features(images: NDArray[np.uint8], referee: nn.Module) -> Tensor:
    import torch

    if not fits(images):
        message = f"the referee reads (batch, {SIDE}, {SIDE}, 3), not {images.shape}"
        raise ValueError(message)
    body, parts = referee.get_submodule("body"), []
    with torch.no_grad():
        for part in torch.split(torch.from_numpy(np.ascontiguousarray(images)), AT_ONCE):
            parts.append(body(part.permute(0, 3, 1, 2).float() / 127.5 - 1).flatten(1))
    return torch.cat(parts)


def scenes_of(image_ids: Sequence[int], seed: int = 0) -> tuple[Scene, ...]:
    """Return what the subject's images show; image 0 of subject 0 is the first of its seeds."""
    first = SUBJECT_SEEDS.start + seed * 10_000
    return tuple(make_scene(first + image) for image in image_ids)


def labels_of(scenes: Sequence[Scene]) -> Tensor:
    """Return what is true of each scene, float32 (batch, labels) of 0 and 1."""
    import torch

    rows = []
    for scene in scenes:
        true = {scene.background, *(o.kind for o in scene.objects)}
        true |= {o.colour for o in scene.objects}
        rows.append([float(label in true) for label in LABELS])
    return torch.tensor(rows)


def picture_scores(
    scenes: Sequence[Scene], recons: NDArray[Any], targets: NDArray[Any]
) -> tuple[Score, ...]:
    """Score what a network that took no part in any training sees in reconstructions.

    Args:
        scenes: what the stimuli show.
        recons: (items, labels), its verdicts on the reconstructions.
        targets: (items, labels), its verdicts on the stimuli.
    """
    note = "of an image's n objects, how many are among the n kinds it finds likeliest"
    kinds = _shares(_kinds(scenes), _likeliest(recons, "kinds", _kinds(scenes)))
    grounds = _shares(_grounds(scenes), _likeliest(recons, "backgrounds", _grounds(scenes)))
    return (
        scored(f"objects recalled ({REFEREE})", kinds, notes=(note,), **SHARE),
        scored(f"background recalled ({REFEREE})", grounds, **SHARE),
        two_way_identification(targets, recons, network=REFEREE),
    )


def caption_scores(scenes: Sequence[Scene], captions: Sequence[str]) -> tuple[Score, ...]:
    """Score which of an image's objects, colours and background a caption names."""
    grounds = [{background_in(each) or ""} for each in captions]
    kinds, colours = ([find(each) for each in captions] for find in (kinds_in, colours_in))
    return (
        scored("objects named", _shares(_kinds(scenes), kinds), **SHARE),
        scored("colours named", _shares(_colours(scenes), colours), **SHARE),
        scored("background named", _shares(_grounds(scenes), grounds), **SHARE),
    )


def object_recall(referee: nn.Module, images: NDArray[np.uint8], scenes: Sequence[Scene]) -> float:
    """Return the share of objects found: of a scene with n objects, among the n likeliest kinds.

    Guessing finds about 12 %.
    """
    return _recall(_likeliest(verdicts(images, referee), "kinds", _kinds(scenes)), _kinds(scenes))


def colour_recall(referee: nn.Module, images: NDArray[np.uint8], scenes: Sequence[Scene]) -> float:
    """Return the share of object colours found, counted as in `object_recall`."""
    truth = _colours(scenes)
    return _recall(_likeliest(verdicts(images, referee), "colours", truth), truth)


def background_accuracy(
    referee: nn.Module, images: NDArray[np.uint8], scenes: Sequence[Scene]
) -> float:
    """Return the share of pictures whose likeliest background is the scene's."""
    truth = _grounds(scenes)
    return _recall(_likeliest(verdicts(images, referee), "backgrounds", truth), truth)


def _kinds(scenes: Sequence[Scene]) -> list[set[str]]:
    return [{each.kind for each in scene.objects} for scene in scenes]


def _colours(scenes: Sequence[Scene]) -> list[set[str]]:
    return [{each.colour for each in scene.objects} for scene in scenes]


def _grounds(scenes: Sequence[Scene]) -> list[set[str]]:
    return [{scene.background} for scene in scenes]


def _likeliest(logits: NDArray[Any], labels: str, truth: Sequence[set[str]]) -> list[set[str]]:
    """Return of each picture as many labels as are true of it, the likeliest ones."""
    names, columns = LABELS[COLUMNS[labels]], logits[:, COLUMNS[labels]]
    order = np.argsort(-columns, axis=1)
    return [
        {names[column] for column in row[: len(wanted)]}
        for row, wanted in zip(order, truth, strict=True)
    ]


def _shares(truth: Sequence[set[str]], named: Sequence[set[str]]) -> list[float]:
    return [len(want & have) / len(want) for want, have in zip(truth, named, strict=True)]


def _recall(named: Sequence[set[str]], truth: Sequence[set[str]]) -> float:
    right = sum(len(want & have) for want, have in zip(truth, named, strict=True))
    return right / sum(map(len, truth))
