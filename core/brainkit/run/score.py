"""What outputs are scored by: functions that score one source's outputs in any order of the items.

Nothing here knows of a run: pictures, captions and features are arrays and texts, so what another
program made is scored the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainkit import metrics
from brainkit.data import Stimuli
from brainkit.metrics import Embedded, Group, Score, Seen
from brainkit.metrics.groups import (
    CLIP_COSINE,
    CLIP_IDENTIFICATION,
    PIXELS,
    STANDARD,
    groups_named,
)
from brainkit.metrics.score import Order, taken
from brainkit.miniature import referee
from brainkit.report.scores import OutputGroup
from brainkit.run import readers
from brainkit.run.readers import Sight
from brainkit.run.sources import NULL

PAPER_NOTE = "beside the standard scores because the method asks for it, or --scores does"


@dataclass(frozen=True, eq=False)
class Outputs:
    """What was made of all images from one source.

    Attributes:
        pictures: of each sample uint8 (images, height, width, 3); empty when none are made.
        captions: of each sample one an image; empty when none are made.
        generic: whether each sample is one picture or caption that stands for every image.
    """

    pictures: Sequence[NDArray[np.uint8]] = ()
    captions: Sequence[Sequence[str]] = ()
    generic: bool = False

    def order(self, order: Order, n_images: int) -> Order:
        """Return whose output is taken for each image."""
        return np.zeros(n_images, np.intp) if self.generic else order


@dataclass(frozen=True)
class Scorer:
    """Scores computed together.

    Attributes:
        group: what is scored.
        score: from a source's name and an order, which takes output `order[j]` for that of image j
            or is None, to the scores; empty for a source that has no such outputs.
    """

    group: OutputGroup
    score: Callable[[str, Order], tuple[Score, ...]]


def output_scorers(
    sight: Sight, shown: Stimuli, outputs: Mapping[str, Outputs], *, who: str = "--scores"
) -> list[Scorer]:
    """Return what scores pictures and captions of all sources.

    Of several samples each is scored and an image's value is their mean.

    Args:
        sight: which networks scores may read, and which groups are asked for.
        shown: the stimuli; without captions no caption is scored.
        outputs: by source.
        who: asks for the groups, for errors.
    """
    pictured = {source: each for source, each in outputs.items() if each.pictures}
    told = bool(shown.captions)
    captioned = {source: each for source, each in outputs.items() if each.captions and told}
    scorers = _picture_scorers(sight, shown, pictured, who) if pictured else []
    return [
        *scorers,
        *(_caption_scorers(sight, shown, captioned) if captioned else ()),
    ]


def _picture_scorers(
    sight: Sight, shown: Stimuli, outputs: Mapping[str, Outputs], who: str
) -> list[Scorer]:
    released = sight.networks == "released"
    standard = (STANDARD, CLIP_COSINE) if released else (PIXELS, CLIP_IDENTIFICATION)
    asked = groups_named(sight.scores, who)
    # Groups that compare the same features share one reading of the pictures of all sources.
    seen = {
        reads: _seen(sight, reads, shown.images, outputs)
        for reads in dict.fromkeys(group.reads for group in (*standard, *asked))
    }
    return [
        *(_group_scorer(group, seen[group.reads], outputs, ()) for group in standard),
        *(_group_scorer(group, seen[group.reads], outputs, (PAPER_NOTE,)) for group in asked),
        *(_referee_scorers(shown, outputs) if sight.miniature else ()),
    ]


def _seen(
    sight: Sight, reads: str, targets: NDArray[np.uint8], outputs: Mapping[str, Outputs]
) -> dict[str, Seen]:
    """Read the pictures of all sources at once, so that each network is loaded once."""
    every = [sample for each in outputs.values() for sample in each.pictures]
    together = readers.seen(sight, reads, targets, every)
    found, start = {}, 0
    for source, each in outputs.items():
        found[source] = together.of_samples(slice(start, start + len(each.pictures)))
        start += len(each.pictures)
    return found


def _group_scorer(
    group: Group, seen: Mapping[str, Seen], outputs: Mapping[str, Outputs], notes: tuple[str, ...]
) -> Scorer:
    def score(source: str, order: Order) -> tuple[Score, ...]:
        if source not in seen:
            return ()
        own = outputs[source].order(order, len(seen[source].targets))
        scores = group.scores(replace(seen[source], order=own))
        return tuple(replace(each, notes=(*each.notes, *notes)) for each in scores)

    return Scorer("pictures", score)


def _over_samples(
    group: OutputGroup,
    outputs: Mapping[str, Outputs],
    n_images: int,
    score: Callable[[str, int, Order], Sequence[Score]],
) -> Scorer:
    """Average what `score(source, sample, order)` returns over a source's samples."""

    def averaged(source: str, order: Order) -> tuple[Score, ...]:
        if source not in outputs:
            return ()
        each = outputs[source]
        own, n_samples = each.order(order, n_images), len(each.pictures or each.captions)
        by_sample = [score(source, sample, own) for sample in range(n_samples)]
        return tuple(metrics.over_samples(scores) for scores in zip(*by_sample, strict=True))

    return Scorer(group, averaged)


def _referee_scorers(shown: Stimuli, outputs: Mapping[str, Outputs]) -> list[Scorer]:
    n_images = len(shown.images)
    pictures = {source: each.pictures for source, each in outputs.items()}
    if n_images < 2 or not all(referee.fits(one) for of in pictures.values() for one in of):
        return []
    scenes, truly = referee.scenes_of(shown.image_ids.tolist()), referee.verdicts(shown.images)
    seen = {source: [referee.verdicts(one) for one in of] for source, of in pictures.items()}

    def score(source: str, sample: int, order: Order) -> tuple[Score, ...]:
        return referee.picture_scores(scenes, taken(seen[source][sample], order), truly)

    return [_over_samples("pictures", outputs, n_images, score)]


def _caption_scorers(sight: Sight, shown: Stimuli, outputs: Mapping[str, Outputs]) -> list[Scorer]:
    n_images = len(shown.captions)
    captions = {source: replace(each, pictures=()) for source, each in outputs.items()}
    embedded = _embedded(sight, shown, captions)

    def score(source: str, sample: int, order: Order) -> tuple[Score, ...]:
        decoded = reordered(captions[source].captions[sample], order)
        seen = [each.ordered(order) for each in embedded[source][sample]]
        return metrics.caption_scores(decoded, shown.captions, embedded=seen)

    def unread(source: str, order: Order) -> tuple[Score, ...]:
        return readers.unread_texts(sight) if order is None and source in captions else ()

    scorers = [_over_samples("captions", captions, n_images, score), Scorer("captions", unread)]
    if sight.miniature:
        scenes = referee.scenes_of(shown.image_ids.tolist())

        def named(source: str, sample: int, order: Order) -> tuple[Score, ...]:
            decoded = reordered(captions[source].captions[sample], order)
            return referee.caption_scores(scenes, decoded)

        scorers.append(_over_samples("captions", captions, n_images, named))
    return scorers


def _embedded(
    sight: Sight, shown: Stimuli, outputs: Mapping[str, Outputs]
) -> dict[str, list[list[Embedded]]]:
    """Return the captions of each source and sample as each network sees them."""
    found: dict[str, list[list[Embedded]]] = {
        source: [[] for _ in each.captions] for source, each in outputs.items()
    }
    for reader in readers.text_readers(sight, shown.images):
        # The true captions of all images are read at once, and the decoded ones sample by sample.
        counts = np.cumsum([len(own) for own in shown.captions])[:-1]
        references = np.split(reader.read([one for own in shown.captions for one in own]), counts)
        for source, each in outputs.items():
            for sample, texts in enumerate(each.captions):
                rows = reader.read(texts)
                seen = Embedded(reader.name, rows, references, reader.images)
                found[source][sample].append(seen)
    return found


def feature_scorers(
    name: str,
    targets: NDArray[Any],
    decoded: NDArray[Any],
    *,
    direction: bool = False,
    noise: float | str = "",
    controls: Mapping[str, NDArray[Any]] | None = None,
) -> list[Scorer]:
    """Return what scores the predictions of one feature, before any generator.

    Their null is the mean over the images in place of every prediction, which explains no variance.

    Args:
        name: of the feature.
        targets: (images, dim), of the stimuli.
        decoded: (images, dim), predicted from the brain.
        direction: whether what follows reads the direction of the feature alone.
        noise: variance of a prediction by noise, see `metrics.without_noise`; or a sentence why
            it is not estimated, or nothing.
        controls: (images, dim) each, in place of `decoded`.
    """
    true, predicted, notes = metrics.without_gaps(targets, decoded)
    mean = np.broadcast_to(np.mean(true, axis=0, dtype=np.float32), np.shape(true))
    rows = {"brain": predicted, NULL: mean}
    for control, others in (controls or {}).items():
        # The units that count are those that are predicted from the brain.
        rows[control] = others if true is targets else metrics.without_gaps(others, decoded)[0]

    def scorer(metric: Callable[[Any, Any], tuple[Score, ...]]) -> Scorer:
        def score(source: str, order: Order) -> tuple[Score, ...]:
            if source not in rows:
                return ()
            scores = metric(true, taken(rows[source], order))
            return tuple(replace(each, notes=(*notes, *each.notes)) for each in scores)

        return Scorer("features", score)

    def explained(true: Any, decoded: Any) -> tuple[Score, ...]:
        score = metrics.variance_explained(true, decoded, feature=name)
        if isinstance(noise, float):
            score = metrics.without_noise(score, true, noise)
        elif noise:
            score = replace(score, notes=(*score.notes, f"noise ceiling {noise}"))
        scores = [score]
        if direction:
            scores.append(metrics.direction_explained(true, decoded, feature=name))
        return tuple(scores)

    def told_apart(true: Any, decoded: Any) -> tuple[Score, ...]:
        return (
            metrics.two_way_identification(true, decoded, network=name),
            *metrics.retrieval_scores(decoded, true, network=name),
        )

    return [scorer(explained), scorer(told_apart)]


def reordered(texts: Sequence[str], order: Order) -> list[str]:
    """Take texts in an order, or as they are."""
    return list(texts) if order is None else [texts[int(index)] for index in order]
