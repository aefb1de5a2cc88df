"""What a run is scored by: functions that score one source's results in any order of the items."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from brainkit import metrics
from brainkit.data import Stimuli
from brainkit.metrics import Group, Score, Seen
from brainkit.metrics.groups import (
    CLIP_COSINE,
    CLIP_IDENTIFICATION,
    PIXELS,
    STANDARD,
    groups_named,
)
from brainkit.miniature import referee
from brainkit.run import readers
from brainkit.run.artefact import Artefact
from brainkit.run.captions import printable_caption, read_captions
from brainkit.run.shared import Draw, Predictions, Run

Pictures = list[NDArray[np.uint8]]
"""Of each sample uint8 (images, height, width, 3)."""
Order = Any
Scorer = Callable[[Order], tuple[Score, ...]]
PAPER_NOTE = "beside the standard scores because the method asks for it, or --scores does"


def scorers(run: Run, shown: Stimuli, made: Mapping[str, Sequence[Artefact]]) -> list[Scorer]:
    """Return functions that score one source's results, the items reordered by an index or as is.

    Of several samples each is scored and an item's value is their mean.
    """
    found: list[Scorer] = []
    if "image" in made:
        found += _image_scorers(run, shown, pictures(run, made["image"]))
    if "caption" in made:
        found += _caption_scorers(run, shown, sentences(run, made["caption"]))
    return found


def pictures(run: Run, made: Sequence[Artefact]) -> Pictures:
    """Read the pictures of all draws: for each sample uint8 (images, height, width, 3)."""
    read = [np.asarray(Image.open(each.path).convert("RGB")) for each in made]
    return [np.stack(read[first :: run.method.samples]) for first in range(run.method.samples)]


def sentences(run: Run, made: Sequence[Artefact]) -> list[list[str]]:
    """Read the captions of all draws: for each sample one an image."""
    lines = read_captions(made[0].path)
    samples = range(1, run.method.samples + 1)
    texts = {draw: printable_caption(line["caption"]) for draw, line in lines.items()}
    return [[texts[Draw(image, sample)] for image in run.chosen] for sample in samples]


def _over_samples(score: Callable[[int, Order], Sequence[Score]], n_samples: int) -> Scorer:
    """Average what `score(sample, order)` returns over the samples."""

    def averaged(order: Order) -> tuple[Score, ...]:
        by_sample = [score(sample, order) for sample in range(n_samples)]
        return tuple(metrics.over_samples(found) for found in zip(*by_sample, strict=True))

    return averaged


def _image_scorers(run: Run, shown: Stimuli, samples: Pictures) -> list[Scorer]:
    released = run.networks == "released"
    standard = (STANDARD, CLIP_COSINE) if released else (PIXELS, CLIP_IDENTIFICATION)
    asked = groups_named(run.method.scores, f"{run.method.name}: scores")
    # Groups that compare the same features share one reading of the pictures.
    seen = {
        reads: readers.seen(run, reads, shown.images, samples)
        for reads in dict.fromkeys(group.reads for group in (*standard, *asked))
    }
    return [
        *(_group_scorer(group, seen[group.reads], ()) for group in standard),
        *(_group_scorer(group, seen[group.reads], (PAPER_NOTE,)) for group in asked),
        *(_referee_scorers(run, shown, samples) if run.miniature else ()),
    ]


def _group_scorer(group: Group, seen: Seen, notes: tuple[str, ...]) -> Scorer:
    def score(order: Order) -> tuple[Score, ...]:
        scores = group.scores(replace(seen, order=order))
        return tuple(replace(each, notes=(*each.notes, *notes)) for each in scores)

    return score


def _referee_scorers(run: Run, shown: Stimuli, samples: Pictures) -> list[Scorer]:
    if len(shown.images) < 2 or not referee.fits(samples[0]):
        return []
    scenes = referee.scenes_of(run.chosen)
    seen, truly = [referee.verdicts(each) for each in samples], referee.verdicts(shown.images)

    def score(sample: int, order: Order) -> tuple[Score, ...]:
        return referee.picture_scores(scenes, ordered(seen[sample], order), truly)

    return [_over_samples(score, len(samples))]


def _caption_scorers(run: Run, shown: Stimuli, samples: list[list[str]]) -> list[Scorer]:
    features: tuple[list[Any], list[Any]] | None = None
    if readers.sees(run):
        embed = readers.load_clip_texts(run)
        features = [embed(each) for each in samples], [embed(each) for each in shown.captions]

    def score(sample: int, order: Order) -> tuple[Score, ...]:
        given = (ordered(features[0][sample], order), features[1]) if features else None
        decoded = reordered(samples[sample], order)
        return metrics.caption_scores(
            decoded, shown.captions, features=given, network=readers.clip_name(run)
        )

    found = [_over_samples(score, len(samples))]
    if run.miniature:
        scenes = referee.scenes_of(run.chosen)

        def named(sample: int, order: Order) -> tuple[Score, ...]:
            return referee.caption_scores(scenes, reordered(samples[sample], order))

        found.append(_over_samples(named, len(samples)))
    return found


def feature_scorers(run: Run, known: Predictions) -> list[Scorer]:
    """Return functions that score the predicted features, before any generator."""
    if len(run.chosen) < 3:
        return []
    return [_feature_scorer(run, name, known) for name in known.features]


def _feature_scorer(run: Run, name: str, known: Predictions) -> Scorer:

    rows = run.test_rows(run.chosen)
    targets, decoded = (
        file.test().numpy()[rows].reshape(len(rows), -1)
        for file in (known.features[name], known.decoded[name])
    )
    true, predicted, notes = metrics.without_gaps(targets, decoded)

    def score(order: Order) -> tuple[Score, ...]:
        found = ordered(predicted, order)
        scores = (
            metrics.variance_explained(true, found, feature=name),
            metrics.two_way_identification(true, found, network=name),
        )
        return tuple(replace(each, notes=(*notes, *each.notes)) for each in scores)

    return score


def ordered(rows: Any, order: Order) -> Any:
    """Take rows in an order, or as they are."""
    return rows if order is None else rows[order]


def reordered(texts: list[str], order: Order) -> list[str]:
    """Take texts in an order, or as they are."""
    return texts if order is None else [texts[int(index)] for index in order]
