"""Scores that only the miniature can have, because what each picture shows is known exactly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainkit.metrics import Score, scored, two_way_identification
from brainkit.miniature.referee import GROUPS, features_of, judge, load_referee
from brainkit.miniature.scenes import (
    BACKGROUNDS,
    KINDS,
    SIDE,
    SUBJECT_SEEDS,
    Scene,
    background_in,
    colours_in,
    kinds_in,
    make_scene,
)

REFEREE = "referee"


def scenes_of(image_ids: Sequence[int], seed: int = 0) -> tuple[Scene, ...]:
    """Give what the subject's images show; image 0 of subject 0 is the first of its seeds."""
    first = SUBJECT_SEEDS.start + seed * 10_000
    return tuple(make_scene(first + image) for image in image_ids)


def verdicts(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Give the referee's logits, float32 (batch, labels), for uint8 (batch, 64, 64, 3)."""
    found: NDArray[np.float32] = judge(load_referee(), images).numpy()
    return found


def kind_verdicts(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Give the referee's logits of the kinds of object, float32 (batch, kinds)."""
    return verdicts(images)[:, GROUPS["kinds"]]


def features(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Give what the referee's verdicts are read from, float32 (batch, dim), of 64 px pictures."""
    found: NDArray[np.float32] = features_of(load_referee(), images).numpy()
    return found


def picture_scores(
    scenes: Sequence[Scene], seen: NDArray[Any], shown: NDArray[Any]
) -> tuple[Score, ...]:
    """Score what a network that took no part in any training sees in reconstructions.

    Args:
        scenes: what the stimuli show.
        seen: (items, labels), its verdicts on the reconstructions.
        shown: (items, labels), its verdicts on the stimuli.
    """
    kinds = [{each.kind for each in scene.objects} for scene in scenes]
    grounds = [{scene.background} for scene in scenes]
    return (
        scored(
            f"objects recalled ({REFEREE})",
            _recalled(seen[:, GROUPS["kinds"]], tuple(KINDS), kinds),
            notes=("of an image's n objects, how many are among the n kinds it finds likeliest",),
        ),
        scored(
            f"background recalled ({REFEREE})",
            _recalled(seen[:, GROUPS["backgrounds"]], tuple(BACKGROUNDS), grounds),
            chance=1 / len(BACKGROUNDS),
        ),
        two_way_identification(shown, seen, network=REFEREE),
    )


def caption_scores(scenes: Sequence[Scene], captions: Sequence[str]) -> tuple[Score, ...]:
    """Score which of an image's objects, colours and background a caption names."""
    kinds = [{each.kind for each in scene.objects} for scene in scenes]
    colours = [{each.colour for each in scene.objects} for scene in scenes]
    grounds = [background_in(each) for each in captions]
    return (
        scored("objects named", _shares(kinds, [kinds_in(each) for each in captions])),
        scored("colours named", _shares(colours, [colours_in(each) for each in captions])),
        scored(
            "background named",
            [float(scene.background == each) for scene, each in zip(scenes, grounds, strict=True)],
        ),
    )


def fits(images: NDArray[np.uint8]) -> bool:
    """Say whether the referee can judge images of this size."""
    return images.shape[1:] == (SIDE, SIDE, 3)


def _recalled(scores: NDArray[Any], names: Sequence[str], truth: Sequence[set[str]]) -> list[float]:
    order = np.argsort(-scores, axis=1)
    named = [
        {names[column] for column in row[: len(wanted)]}
        for row, wanted in zip(order, truth, strict=True)
    ]
    return _shares(truth, named)


def _shares(truth: Sequence[set[str]], named: Sequence[set[str]]) -> list[float]:
    return [len(want & have) / len(want) for want, have in zip(truth, named, strict=True)]
