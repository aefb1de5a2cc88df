"""The scores a report shows, computed together, and what they are worth by chance."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainkit.data import EXTRA_SCORES
from brainkit.errors import BrainkitWarning, DataError
from brainkit.metrics.distribution import frechet_distance, kernel_distance
from brainkit.metrics.features import feature_correlation, feature_cosine
from brainkit.metrics.identification import (
    identification_by_target,
    n_way_top_k,
    n_ways,
    two_way_identification,
)
from brainkit.metrics.images import Images, pixel_correlation, ssim, ssim_one_window, ssim_uniform
from brainkit.metrics.score import Score, over_samples

Integers = NDArray[np.intp]
Features = tuple[Any, Sequence[Any]]


@dataclass(frozen=True)
class Chance:
    """Mean and spread (standard deviation) of a metric over shuffles of the pairs."""

    mean: float
    sd: float
    n_shuffles: int


def image_scores(
    targets: Images, recons: Images, *, features: tuple[Any, Any], network: str
) -> tuple[Score, ...]:
    """Score reconstructions against their stimuli.

    Args:
        targets: stimuli, see `brainkit.metrics.images`.
        recons: reconstructions in the same order.
        features: (items, dim) of the stimuli and of the reconstructions from the run's CLIP.
        network: names that CLIP, e.g. "CLIP (miniature)".
    """
    return (
        pixel_correlation(targets, recons),
        ssim(targets, recons),
        two_way_identification(*features, network=network),
        feature_cosine(*features, network=network),
    )


def extra_scores(
    group: str,
    targets: Images,
    samples: Sequence[Images],
    *,
    features: Features | None = None,
    network: str = "",
) -> tuple[Score, ...]:
    """Score reconstructions, one or several of each stimulus, as some papers do.

    Args:
        group: "ssim_variants" (one window; uniform 7 px, RGB), "clip_similarity" (correlation of
            the embeddings; their cosine is among the standard scores), "target_identification",
            "fid" (Fréchet and kernel distance of the sets) or "n_way" (2-, 5-, 10-way or, of more
            than 100 classes, 2-, 10-, 50-, 100-way top-1).
        targets: stimuli.
        samples: first, second, ... reconstruction of all stimuli.
        features: (items, dim) of the stimuli and, for each sample, of the reconstructions, from
            the network that the group reads: CLIP, FID's Inception, a classifier's logits; without
            them the groups that need them are empty.
        network: names what the features come from.

    Raises:
        DataError: there is no such group.
    """
    if group not in EXTRA_SCORES:
        raise DataError(f"no group of scores named {group!r}; expected one of {EXTRA_SCORES}")
    if group == "ssim_variants":
        return tuple(
            over_samples([metric(targets, recons) for recons in samples])
            for metric in (ssim_one_window, ssim_uniform)
        )
    if features is None:
        return ()
    shown, decoded = features
    if group == "clip_similarity":
        found = [feature_correlation(shown, each, network=network) for each in decoded]
        return (over_samples(found),)
    if group == "n_way":
        return _n_way(shown, decoded, network)
    if len(shown) < 2:
        return ()
    if group == "fid":
        return tuple(
            over_samples([metric(shown, each, network=network) for each in decoded])
            for metric in (frechet_distance, kernel_distance)
        )
    return (identification_by_target(shown, decoded, network=network),)


def _n_way(shown: Any, decoded: Sequence[Any], network: str) -> tuple[Score, ...]:
    classes = np.argmax(shown, axis=1)
    note = "the class of a stimulus is the one the classifier finds likeliest in it."
    found = [
        over_samples([n_way_top_k(each, classes, n=n, k=1, network=network) for each in decoded])
        for n in n_ways(np.shape(shown)[1])
    ]
    return tuple(replace(each, notes=(note, *each.notes)) for each in found)


def derangements(n: int, *, count: int, seed: int = 0) -> Integers:
    """Draw permutations in which no item keeps its place, int (count, n).

    Raises:
        DataError: one item alone cannot change places.
    """
    if n < 2:
        raise DataError(f"{n} items cannot be shuffled; chance needs at least 2 images")
    generator = np.random.default_rng(seed)
    drawn: list[Integers] = []
    while len(drawn) < count:
        order = generator.permutation(n)
        if not np.any(order == np.arange(n)):
            drawn.append(order)
    return np.stack(drawn)


def chance_levels(
    score: Callable[[Integers], Sequence[Score]], n: int, *, n_shuffles: int = 5, seed: int = 0
) -> dict[str, Chance]:
    """Score pairs that do not belong together.

    Args:
        score: gives the scores when item j is taken for item `order[j]`.
        n: items.
        n_shuffles: how many derangements to score.

    Returns:
        For each score's name its mean and spread over the shuffles.
    """
    values: dict[str, list[float]] = {}
    for order in derangements(n, count=n_shuffles, seed=seed):
        with warnings.catch_warnings():
            # The run itself has already said what is undefined.
            warnings.simplefilter("ignore", BrainkitWarning)
            for one in score(order):
                values.setdefault(one.name, []).append(one.mean)
    return {
        name: Chance(
            float(np.mean(means)),
            float(np.std(means, ddof=1)) if len(means) > 1 else float("nan"),
            len(means),
        )
        for name, means in values.items()
    }
