"""The eight scores that papers on NSD report, in their customary order.

Six of them compare features. Each follows from the correlations of all stimuli with all
reconstructions in one network's node, (items, items): the pairs are its diagonal, and pairs that do
not belong together are the same numbers in another order. So pictures are read once, in blocks, and
features never have to be in memory together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from brainkit.checkpoints import CheckpointStore
from brainkit.errors import CheckpointError, DataError
from brainkit.metrics.correlation import correlation_matrix
from brainkit.metrics.features import distance_of
from brainkit.metrics.identification import identified
from brainkit.metrics.images import pixel_correlation, ssim
from brainkit.metrics.networks.torchvision import load_clip, load_nodes, missing
from brainkit.metrics.profiles import DEFAULT, PROFILES, Profile
from brainkit.metrics.score import Order, Score, Values, not_computed, taken

if TYPE_CHECKING:
    from brainkit.metrics.networks.torchvision import Nodes

AT_ONCE: Final = 32
"""Pictures a network reads at once."""
BUDGET: Final = 1 << 28
"""Bytes of features of either side that are in memory at once."""

Read = Callable[[NDArray[np.uint8]], tuple[NDArray[np.float32], ...]]
"""From uint8 (images, height, width, 3) to a float32 (images, dim) of each node."""


@dataclass(frozen=True)
class Column:
    """A score of features.

    Attributes:
        label: as papers write it.
        network: short name, a key of `Profile.sides`.
        node: which of the network's nodes.
        distance: whether it is the correlation distance, otherwise two-way identification.
    """

    label: str
    network: str
    node: int = 0
    distance: bool = False

    def name(self, profile: Profile) -> str:
        """Return the score's name."""
        what = "{} correlation distance" if self.distance else "two-way identification, {}"
        return what.format(self.label) + profile.suffix

    def score(self, correlations: Values, profile: Profile) -> Score:
        """Score pairs by the correlations (items, items) of stimuli with reconstructions."""
        by = distance_of if self.distance else identified
        score = by(correlations, network=self.label)
        return _noted(replace(score, name=self.name(profile)), profile)

    def absent(self, profile: Profile, reason: str) -> Score:
        """Stand in for the score where it cannot be had."""
        better = not self.distance
        return not_computed(self.name(profile), reason, higher_is_better=better)


COLUMNS: Final = (
    Column("AlexNet(2)", "alexnet", 0),
    Column("AlexNet(5)", "alexnet", 1),
    Column("Inception", "inception"),
    Column("CLIP ViT-L/14", "clip"),
    Column("EffNet-B", "efficientnet", distance=True),
    Column("SwAV", "swav", distance=True),
)
"""The scores of features in the order in which papers print them, after PixCorr and SSIM."""


def low_level_scores(
    targets: NDArray[np.uint8], recons: NDArray[np.uint8], profile: Profile
) -> tuple[Score, Score]:
    """Return pixel correlation and SSIM as a profile compares pictures.

    SSIM is the two-dimensional one under every profile; the code of Brain-Diffuser took each column
    of pixels by itself, see `ssim_columns_legacy`.
    """
    pair = profile.pairs(targets, recons)
    scores = (pixel_correlation(*pair), ssim(*pair))
    first, second = (replace(each, name=f"{each.name}{profile.suffix}") for each in scores)
    return _noted(first, profile), _noted(second, profile)


def _noted(score: Score, profile: Profile) -> Score:
    return replace(score, notes=(*score.notes, profile.note))


def at_nodes(nodes: Nodes, profile: Profile, network: str, device: str = "cpu") -> Read:
    """Return a function that reads pictures in batches, prepared as the profile says.

    Args:
        nodes: the network.
        profile: prepares pictures.
        network: its short name, a key of `Profile.sides`.
        device: where the network is.
    """

    def read(images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        features: list[NDArray[np.float32]] = []
        for start in range(0, len(images), AT_ONCE):
            rows = slice(start, start + AT_ONCE)
            pixels = profile.prepared(images[rows], network)
            batch = [each.float().cpu().numpy() for each in nodes(pixels.to(device))]
            # Filled in place: joining batches afterwards would hold all features twice.
            if not features:
                features = [np.empty((len(images), each.shape[1]), np.float32) for each in batch]
            for whole, part in zip(features, batch, strict=True):
                whole[rows] = part
        return tuple(features)

    return read


def similarities(
    read: Read,
    targets: NDArray[np.uint8],
    samples: Sequence[NDArray[np.uint8]],
    *,
    budget: int = BUDGET,
) -> list[tuple[Values, ...]]:
    """Correlate the features of every stimulus with those of every reconstruction.

    Pictures are read in blocks whose features stay below the budget; where the stimuli are several
    blocks, reconstructions are read again for each.

    Args:
        read: from pictures to features.
        targets: uint8 (items, height, width, 3), stimuli.
        samples: for each sample the reconstructions of all items, or one that stands for all.
        budget: bytes of one side's features that may be in memory.

    Returns:
        for each sample and node float64 (items, reconstructions), row a stimulus.

    Raises:
        DataError: the numbers of pictures differ.
    """
    n = len(targets)
    if any(len(each) not in (1, n) for each in samples):
        counts = [len(each) for each in samples]
        raise DataError(f"{n} stimuli cannot be compared with {counts} reconstructions")
    one = read(targets[:1])
    blocks = list(_blocks(n, max(1, budget // sum(each[0].nbytes for each in one))))
    correlations = [tuple(np.empty((n, len(each))) for _ in one) for each in samples]
    for rows in blocks:
        of_targets = read(targets[rows])
        for recons, nodes in zip(samples, correlations, strict=True):
            for columns in (block for block in blocks if block.start < len(recons)):
                block = _correlations(read, of_targets, recons[columns])
                for whole, part in zip(nodes, block, strict=True):
                    whole[rows, columns] = part
    return correlations


def _correlations(
    read: Read, of_targets: Sequence[NDArray[np.float32]], recons: NDArray[np.uint8]
) -> list[Values]:
    """Correlate a block of stimuli with one of reconstructions, whose features end here."""
    pairs = zip(of_targets, read(recons), strict=True)
    return [correlation_matrix(*pair) for pair in pairs]


def _blocks(n: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


@dataclass(frozen=True, eq=False)
class Standard:
    """Reconstructions of one set of stimuli, read by all networks that are there.

    Attributes:
        profile: how pictures were prepared.
        targets: uint8 (items, height, width, 3), stimuli.
        samples: for each sample the reconstructions of all items.
        correlations: of each network that is there, see `similarities`.
        lacks: why the other networks are not.
    """

    profile: Profile
    targets: NDArray[np.uint8]
    samples: Sequence[NDArray[np.uint8]]
    correlations: Mapping[str, Sequence[tuple[Values, ...]]]
    lacks: Mapping[str, str]

    def of_samples(self, samples: slice) -> Standard:
        """Return the same of some of the samples only."""
        correlations = {name: of[samples] for name, of in self.correlations.items()}
        return replace(self, samples=self.samples[samples], correlations=correlations)

    def scores(self, sample: int, order: Order = None) -> tuple[Score, ...]:
        """Return the scores of one sample, in their customary order.

        Args:
            sample: from 0.
            order: takes reconstruction `order[j]` for that of item j; what cannot be computed is
                then left out.
        """
        recons = taken(self.samples[sample], order)
        first = low_level_scores(self.targets, recons, self.profile)
        columns = [each for each in COLUMNS if order is None or not self._lack(each)]
        return (*first, *(self._score(each, sample, order) for each in columns))

    def _score(self, column: Column, sample: int, order: Order) -> Score:
        if lack := self._lack(column):
            return column.absent(self.profile, lack)
        pairs = self.correlations[column.network][sample][column.node]
        pairs = pairs if order is None else taken(pairs.T, order).T
        return column.score(pairs, self.profile)

    def _lack(self, column: Column) -> str:
        if not column.distance and len(self.targets) < 2:
            return "it takes 2 images or more"
        return self.lacks.get(column.network, "")


def compared(
    targets: NDArray[np.uint8],
    samples: Sequence[NDArray[np.uint8]],
    load: Callable[[str], Read],
    *,
    profile: str = DEFAULT,
) -> Standard:
    """Read stimuli and reconstructions by one network after the other.

    Args:
        targets: uint8 (items, height, width, 3).
        samples: for each sample the reconstructions of all items.
        load: from a network's short name, a key of `Profile.sides`, to what reads pictures. The
            sentence of a `CheckpointError` becomes what the report says instead of the scores.
        profile: a name in `PROFILES`.
    """
    correlations, lacks = {}, {}
    for network in dict.fromkeys(each.network for each in COLUMNS):
        try:
            correlations[network] = similarities(load(network), targets, samples)
        except CheckpointError as error:
            lacks[network] = str(error)
    return Standard(PROFILES[profile], targets, samples, correlations, lacks)


def read_by(
    store: CheckpointStore,
    targets: NDArray[np.uint8],
    samples: Sequence[NDArray[np.uint8]],
    *,
    profile: str = DEFAULT,
) -> Standard:
    """Read stimuli and reconstructions by the networks that a store has, as `compared` does."""
    chosen = PROFILES[profile]

    def load(network: str) -> Read:
        checkpoint = chosen.checkpoint(network)
        if lack := missing(store, checkpoint):
            raise CheckpointError(lack)
        if network == "clip":
            return at_nodes(load_clip(store, chosen.sides[network]), chosen, network, store.device)
        return at_nodes(load_nodes(store, checkpoint), chosen, network, store.device)

    return compared(targets, samples, load, profile=profile)


def standard_scores(
    stimuli: NDArray[np.uint8],
    reconstructions: NDArray[np.uint8],
    store: CheckpointStore,
    *,
    profile: str = DEFAULT,
) -> tuple[Score, ...]:
    """Return the eight scores that papers print, in their customary order.

    Args:
        stimuli: uint8 (images, height, width, 3).
        reconstructions: uint8 (images, other height, other width, 3), in the same order.
        store: has the networks' weights. A score whose network it lacks is NaN, and its note says
            which command fetches it.
        profile: how pictures are brought to the networks, a name in
            `brainkit.metrics.profiles.PROFILES`.

    Raises:
        DataError: there are not as many reconstructions as stimuli.
    """
    return read_by(store, stimuli, [reconstructions], profile=profile).scores(0)
