"""Every group of scores as a value: what it reads, how it scores, what its scores are called.

A new group is a metric's function in this package and a `Group` here. Methods and `--scores` name
those in `GROUPS`; the others are what every method gets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from brainkit.data import Checkpoint
from brainkit.errors import UsageError, did_you_mean
from brainkit.metrics.distribution import (
    frechet_distance,
    frechet_name,
    kernel_distance,
    kernel_name,
)
from brainkit.metrics.features import feature_correlation, feature_cosine
from brainkit.metrics.identification import (
    identification_by_target,
    n_way_name,
    n_way_top_k,
    n_ways,
    two_way_identification,
)
from brainkit.metrics.images import Images, pixel_correlation, ssim, ssim_one_window, ssim_uniform
from brainkit.metrics.networks.torchvision import CLASSIFIER, INCEPTION, NETWORKS, Network
from brainkit.metrics.profiles import DEFAULT, PROFILES
from brainkit.metrics.score import Order, Score, not_computed, over_samples, taken
from brainkit.metrics.standard import Standard
from brainkit.networks.clip import CLIP_L14

Metric = Callable[..., Score]


@dataclass(frozen=True)
class Reader:
    """A network that a group of scores reads, or what keeps it from being there.

    Attributes:
        name: becomes part of the scores' names.
        n_classes: it tells apart; 0 when it gives features.
        read: the network; None when it cannot be had.
        lacks: why not.
    """

    name: str
    n_classes: int = 0
    read: Network | None = None
    lacks: str = ""


@dataclass(frozen=True, eq=False)
class Seen:
    """Stimuli and their reconstructions, and what a group's network reads in them.

    Attributes:
        targets: stimuli, see `brainkit.metrics.images`.
        samples: first, second, ... reconstruction of all stimuli.
        reader: the network; one without a name for groups that compare pixels.
        features: (items, dim) of the stimuli and, for each sample, of the reconstructions; None
            where the network is not there.
        standard: in their place what the networks of a profile read; else None.
        order: of the reconstructions.
    """

    targets: Images
    samples: Sequence[Images]
    reader: Reader = Reader("")
    features: tuple[Any, Sequence[Any]] | None = None
    standard: Standard | None = None
    order: Order = None

    def of_samples(self, samples: slice) -> Seen:
        """Return the same of some of the samples only."""
        features = self.features and (self.features[0], self.features[1][samples])
        standard = self.standard and self.standard.of_samples(samples)
        chosen = self.samples[samples]
        return replace(self, samples=chosen, features=features, standard=standard)

    def pictures(self) -> list[tuple[Any, Any]]:
        """Return stimuli and reconstructions, a pair for each sample."""
        return [(self.targets, self._ordered(recons)) for recons in self.samples]

    def read(self) -> list[tuple[Any, Any]]:
        """Return the features of stimuli and reconstructions, a pair for each sample; or []."""
        of_targets, of_samples = self.features or (None, ())
        return [(of_targets, self._ordered(of_recons)) for of_recons in of_samples]

    def _ordered(self, rows: Any) -> Any:
        return taken(rows, self.order)


@dataclass(frozen=True)
class Group:
    """Scores computed together.

    Attributes:
        name: what methods and `--scores` call it.
        reads: the network whose features it compares, by its checkpoint's name; of several the
            name of their profile; empty for pixels.
        score: the scores, the mean over the samples of each item.
        names: of its scores, for when the network is not there; empty to leave them out then.
        paired: whether it matters which picture belongs to which stimulus; others have no chance
            level.
        higher_is_better: of all its scores.
    """

    name: str
    reads: str
    score: Callable[[Seen], tuple[Score, ...]]
    names: Callable[[Reader], tuple[str, ...]] = lambda reader: ()
    paired: bool = True
    higher_is_better: bool = True

    @property
    def networks(self) -> tuple[Checkpoint, ...]:
        """The released networks that it reads beside the run's CLIP."""
        if self.reads in PROFILES:
            return PROFILES[self.reads].checkpoints
        return (NETWORKS[self.reads].checkpoint,) if self.reads in NETWORKS else ()

    def scores(self, seen: Seen) -> tuple[Score, ...]:
        """Return the scores, or without the network their names and why they are not computed.

        Nothing is returned of another order where that makes no difference.
        """
        absent = bool(self.reads) and seen.features is None and seen.standard is None
        if seen.order is not None and (absent or not self.paired):
            return ()
        return self._absent(seen.reader) if absent else self.score(seen)

    def _absent(self, reader: Reader) -> tuple[Score, ...]:
        better = self.higher_is_better
        names = self.names(reader)
        return tuple(not_computed(name, reader.lacks, higher_is_better=better) for name in names)


def _of_pictures(*metrics: Metric) -> Callable[[Seen], tuple[Score, ...]]:
    """Score by metrics of stimuli and reconstructions."""

    def score(seen: Seen) -> tuple[Score, ...]:
        pairs = seen.pictures()
        return tuple(over_samples([metric(*pair) for pair in pairs]) for metric in metrics)

    return score


def _of_features(*metrics: Metric) -> Callable[[Seen], tuple[Score, ...]]:
    """Score by metrics of both sides' features."""

    def score(seen: Seen) -> tuple[Score, ...]:
        pairs, network = seen.read(), seen.reader.name
        return tuple(
            over_samples([metric(*pair, network=network) for pair in pairs]) for metric in metrics
        )

    return score


def _by_target(seen: Seen) -> tuple[Score, ...]:
    pairs = seen.read()
    recons = [of_recons for _, of_recons in pairs]
    return (identification_by_target(pairs[0][0], recons, network=seen.reader.name),)


def _n_way(seen: Seen) -> tuple[Score, ...]:
    pairs, network = seen.read(), seen.reader.name
    classes = np.argmax(pairs[0][0], axis=1)
    note = "the class of a stimulus is the one the classifier finds likeliest in it."
    scores = [
        over_samples([n_way_top_k(each, classes, n=n, k=1, network=network) for _, each in pairs])
        for n in n_ways(np.shape(pairs[0][0])[1])
    ]
    return tuple(replace(each, notes=(note, *each.notes)) for each in scores)


def _eight(seen: Seen) -> tuple[Score, ...]:
    if seen.standard is None:
        return ()
    by_sample = [seen.standard.scores(row, seen.order) for row in range(len(seen.samples))]
    return tuple(over_samples(scores) for scores in zip(*by_sample, strict=True))


CLIP: Final = CLIP_L14.name
PIXELS: Final = Group("pixels", "", _of_pictures(pixel_correlation, ssim))
CLIP_IDENTIFICATION: Final = Group(
    "clip_identification", CLIP, _of_features(two_way_identification, feature_cosine)
)
CLIP_COSINE: Final = Group("clip_cosine", CLIP, _of_features(feature_cosine))
STANDARD: Final = Group("standard", DEFAULT, _eight)
"""The eight of papers, as the default profile brings pictures to their networks."""

SSIM_VARIANTS: Final = Group("ssim_variants", "", _of_pictures(ssim_one_window, ssim_uniform))
CLIP_SIMILARITY: Final = Group("clip_similarity", CLIP, _of_features(feature_correlation))
TARGET_IDENTIFICATION: Final = Group("target_identification", CLIP, _by_target)
FID: Final = Group(
    "fid",
    INCEPTION.name,
    _of_features(frechet_distance, kernel_distance),
    lambda reader: (frechet_name(reader.name), kernel_name(reader.name)),
    paired=False,
    higher_is_better=False,
)
N_WAY: Final = Group(
    "n_way",
    CLASSIFIER.name,
    _n_way,
    lambda reader: tuple(n_way_name(n, 1, reader.name) for n in n_ways(reader.n_classes)),
)
MINDEYE2: Final = Group("mindeye2", "mindeye2", _eight)

GROUPS: Final = {
    each.name: each
    for each in (SSIM_VARIANTS, CLIP_SIMILARITY, TARGET_IDENTIFICATION, FID, N_WAY, MINDEYE2)
}
"""By name: what some papers report beside the standard scores."""


def groups_named(names: Iterable[str], who: str) -> tuple[Group, ...]:
    """Return groups in the order of reports: those of profiles come first.

    Args:
        names: of groups.
        who: asks for them, for the error, e.g. "--scores".

    Raises:
        UsageError: there is no such group.
    """
    chosen = []
    for name in names:
        if name not in GROUPS:
            hint = did_you_mean(name, GROUPS)
            raise UsageError(f"{who} has {name!r}, expected one of {', '.join(GROUPS)}.{hint}")
        chosen.append(GROUPS[name])
    return tuple(sorted(chosen, key=lambda group: group.reads not in PROFILES))
