"""Ask whether a reconstruction can be told to belong to its stimulus."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from math import comb
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from brainkit.errors import BrainkitWarning, DataError
from brainkit.metrics.correlation import correlation_matrix
from brainkit.metrics.score import SHARE, Score, Values, check_paired, scored

SET_SIZE = 300
"""Items of a set that is searched, as MindEye draws them."""
IMAGE_NOTE = "MindEye 2's code prints this one as brain retrieval (backward)"
BRAIN_NOTE = "MindEye 2's code prints this one as image retrieval (forward)"
TIE = 1e-6
"""Similarities closer than this are equal, so that equal features do not win by rounding, which in
products of wide features is that of float32."""


def two_way_identification(
    targets: Any, recons: Any, *, network: str, direction: Literal["recon", "target"] = "recon"
) -> Score:
    """Count how often a pair correlates more than a wrong pair.

    Reconstruction j wins against stimulus i when r(i, j) < r(j, j); ties and undefined correlations
    lose. An item's value is its share of wins against all others.

    Args:
        targets: (items, *shape), features of the stimuli.
        recons: (items, *shape), features of the reconstructions.
        network: becomes part of the name, e.g. "CLIP (miniature)".
        direction: "recon" holds a reconstruction against all stimuli (Brain-Diffuser, MindEye 2);
            "target" a stimulus against all reconstructions (Takagi).
    """
    if direction == "target":
        return identification_by_target(targets, [recons], network=network)
    check_paired(targets, recons, ("targets", "reconstructions"), at_least=2)
    return identified(correlation_matrix(targets, recons), network=network)


def identified(correlations: Values, *, network: str) -> Score:
    """Return `two_way_identification` from the correlations it compares.

    Args:
        correlations: (items, items), of every stimulus (row) with every reconstruction (column).
        network: becomes part of the name.

    Raises:
        DataError: there is one item only.
    """
    check_paired(correlations, correlations.T, ("targets", "reconstructions"), at_least=2)
    return _won(correlations.T, f"two-way identification, {network}", ())


def identification_by_target(
    targets: Any, samples: Sequence[Any] | NDArray[Any], *, network: str
) -> Score:
    """Count how often a stimulus correlates more with its own reconstructions than with another's.

    r(i, j) is the correlation of stimulus i with reconstruction j, averaged over the samples of j
    before anything is compared. An item's value is the share of all others j with
    r(i, i) > r(i, j); ties and undefined correlations lose. The other direction than
    `two_way_identification`, where a reconstruction is held against all stimuli.

    Args:
        targets: (items, *shape), features of the stimuli.
        samples: for each sample (items, *shape), features of that reconstruction of every item.
        network: becomes part of the name.

    Source: the evaluation of Takagi and Nishimoto 2023, CVPR, section 4.
    """
    for recons in samples:
        check_paired(targets, recons, ("targets", "reconstructions"), at_least=2)
    r = np.mean([correlation_matrix(targets, recons) for recons in samples], axis=0)
    note = "each stimulus is held against all reconstructions"
    if len(samples) > 1:
        note += f", by the mean of their {len(samples)} samples' correlations"
    return _won(r, f"two-way identification, {network}, by target", (note,))


def _won(r: Values, name: str, notes: tuple[str, ...]) -> Score:
    """Score each row of similarities by the share of others that its own entry exceeds."""
    own = np.diagonal(r)
    undefined = int(np.isnan(own).sum())
    if undefined:
        reason = f"{undefined} of {len(r)} pairs have constant features and lose every comparison"
        notes = (*notes, reason)
        warnings.warn(f"{name}: {reason}", BrainkitWarning, stacklevel=3)
    won = r < own[:, None] - TIE
    shares = won.sum(axis=1) / (len(r) - 1)
    score = scored(name, shares, chance=0.5, notes=notes, **SHARE)
    return replace(score, resample=partial(_share_of_pairs, won.astype(np.float32)))


def _share_of_pairs(won: NDArray[np.float32], counts: Values) -> Values:
    """Return the share won of all pairs of different items, for sets told by their counts."""
    held = counts.astype(np.float32)
    wins = np.einsum("si,si->s", held @ won.T, held, dtype=np.float64)
    pairs = counts.sum(axis=1) ** 2 - np.square(counts).sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.asarray(wins / pairs)


def n_way_top_k(
    logits: NDArray[Any], classes: NDArray[Any], *, n: int, k: int, network: str
) -> Score:
    """Return the chance that the true class is in the top k among it and n - 1 random others.

    The expectation over the random others, so no draw and no seed. With g classes not scoring below
    the true one among K:

        P = sum over x < k of C(g, x) C(K - 1 - g, n - 1 - x) / C(K - 1, n - 1)

    Args:
        logits: (items, classes), the classifier's scores of the reconstructions.
        classes: int (items,), the classifier's best class of each stimulus.
        n: classes compared, the true one included.
        k: places that count as right; a class that scores as the true one does, or is NaN, is
            ahead of it.
        network: becomes part of the name.

    Raises:
        DataError: n exceeds the number of classes, or is not larger than k.
    """
    check_paired(logits, classes, ("rows of logits", "classes"))
    scores = np.asarray(logits, dtype=np.float64)
    n_classes = scores.shape[1]
    if not 0 < k < n <= n_classes:
        raise DataError(f"{n}-way top-{k} is impossible with {n_classes} classes; take k < n <= it")
    true = np.take_along_axis(scores, np.asarray(classes)[:, None], axis=1)
    # Equal and undefined scores never win: all of them but the true class's own are above it.
    above = (~(scores < true)).sum(axis=1) - 1
    values = [_top_k_chance(int(g), n_classes, n, k) for g in above]
    return scored(n_way_name(n, k, network), values, **SHARE)


def n_ways(n_classes: int) -> tuple[int, ...]:
    """Return how many classes the usual n-way scores compare: 2, 10, 50, 100 of ImageNet's."""
    return tuple(n for n in ((2, 10, 50, 100) if n_classes > 100 else (2, 5, 10)) if n <= n_classes)


def n_way_name(n: int, k: int, network: str) -> str:
    """Name an n-way score."""
    return f"{n}-way top-{k}, {network}"


def image_from_brain(
    brain: Any, images: Any, *, network: str, size: int = SET_SIZE, k: int = 1
) -> Score:
    """Retrieve the seen image among images by the feature predicted from the brain.

    An item's value is the chance that in a random set of `size` items, its own among them, fewer
    than k are strictly more similar (cosine) to its prediction than its own image: the mean over
    all such sets in closed form, so no set is drawn.

    Args:
        brain: (items, *shape), predicted features.
        images: (items, *shape), features of the images.
        network: whose features; becomes part of the name.
        size: of the sets, all items where there are fewer.
        k: places that count as right.
    """
    similarity = _cosines(brain, images)
    return _retrieved(similarity, f"image from brain, {network}", size, k, IMAGE_NOTE)


def brain_from_image(
    brain: Any, images: Any, *, network: str, size: int = SET_SIZE, k: int = 1
) -> Score:
    """Retrieve the brain response among responses by the image's feature.

    As `image_from_brain` with the roles exchanged.
    """
    similarity = _cosines(brain, images).T
    return _retrieved(similarity, f"brain from image, {network}", size, k, BRAIN_NOTE)


def retrieval_scores(brain: Any, images: Any, *, network: str) -> tuple[Score, ...]:
    """Return retrieval in both directions, top-1 and, of more than 5 items, top-5."""
    similarity, found = _cosines(brain, images), []
    for name, rows, note in (
        ("image from brain", similarity, IMAGE_NOTE),
        ("brain from image", similarity.T, BRAIN_NOTE),
    ):
        for k in (1, 5) if len(similarity) > 5 else (1,):
            found.append(_retrieved(rows, f"{name}, {network}", SET_SIZE, k, note))
    return tuple(found)


def _cosines(brain: Any, images: Any) -> Values:
    check_paired(brain, images, ("predictions", "images"), at_least=2)
    return correlation_matrix(brain, images, centred=False)


def _retrieved(similarity: Values, name: str, size: int, k: int, note: str) -> Score:
    n_items = len(similarity)
    size = min(size, n_items)
    if not 0 < k < size:
        raise DataError(f"top-{k} of {size} is no retrieval; take k from 1 to {size - 1}")
    own = np.diagonal(similarity)
    # What is undefined is never farther than the right one, and its own never right.
    closer = (~(similarity <= own[:, None] + TIE)).sum(axis=1)
    values = [
        0.0 if np.isnan(mine) else _top_k_chance(int(count), n_items, size, k)
        for mine, count in zip(own, closer, strict=True)
    ]
    sets = f"all {n_items} items" if size == n_items else f"the mean over all sets of {size} items"
    return scored(
        f"{name}, top-{k} of {size}",
        values,
        chance=k / size,
        notes=(f"among {sets}", note),
        **SHARE,
    )


@cache
def _top_k_chance(above: int, n_classes: int, n: int, k: int) -> float:
    # Fewer than k of the n - 1 others may be among those that score above the true class.
    ways = sum(comb(above, x) * comb(n_classes - 1 - above, n - 1 - x) for x in range(min(k, n)))
    return ways / comb(n_classes - 1, n - 1)
