"""Which networks the scores beyond CLIP read, on the miniature and on NSD, and what they lack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from brainkit.data import Checkpoint

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from brainkit.metrics import Score
    from brainkit.metrics.networks import Network
    from brainkit.run import Run

UNPAIRED: Final = "fid"
"""The group that compares sets: what reconstructions belong to does not matter to it."""
GROUPS: Final = (UNPAIRED, "n_way")
"""Groups of scores that have a network of their own."""


@dataclass(frozen=True)
class Judge:
    """A network that a group of scores reads, or what keeps it from being there.

    Attributes:
        group: of scores.
        name: becomes part of the scores' names.
        n_classes: it tells apart; 0 when it gives features.
        read: the network; None when it cannot be had.
        lacks: why not.
    """

    group: str
    name: str
    n_classes: int = 0
    read: Network | None = None
    lacks: str = ""

    def features(
        self, shown: NDArray[np.uint8], samples: Sequence[NDArray[np.uint8]]
    ) -> tuple[Any, list[Any]] | None:
        """Give what it reads in the stimuli and in each sample of reconstructions."""
        if self.read is None:
            return None
        return self.read(shown), [self.read(each) for each in samples]

    def absent(self) -> tuple[Score, ...]:
        """Give the scores that cannot be computed, each saying why."""
        from brainkit import metrics

        names: tuple[str, ...]
        if self.group == UNPAIRED:
            names = metrics.frechet_name(self.name), metrics.kernel_name(self.name)
        else:
            names = tuple(
                metrics.n_way_name(n, 1, self.name) for n in metrics.n_ways(self.n_classes)
            )
        better = self.group != UNPAIRED
        return tuple(
            metrics.not_computed(name, self.lacks, higher_is_better=better) for name in names
        )


def judge(run: Run, group: str, *, side: tuple[int, ...]) -> Judge:
    """Give the network that a group reads: the miniature's referee, or a released one.

    Args:
        run: says which of the two, and where weights lie.
        group: one of `GROUPS`.
        side: (height, width, 3) of the reconstructions.

    Raises:
        CheckpointError: there are weights, but other ones than the network's.
    """
    return _referee(group, side) if run.miniature else _released(run, group)


def stamps(run: Run) -> list[str]:
    """Give what the scores depend on besides the reconstructions: the networks' fingerprints."""
    if run.miniature:
        return []
    needed = [_checkpoint(group) for group in GROUPS if group in run.method.scores]
    return [run.store.fingerprint(each) if run.store.has(each) else "absent" for each in needed]


def _referee(group: str, side: tuple[int, ...]) -> Judge:
    from brainkit.miniature import judge as referee
    from brainkit.miniature.scenes import KINDS, SIDE

    name = f"{referee.REFEREE} (miniature)"
    n_classes, read = (0, referee.features)
    if group != UNPAIRED:
        n_classes, read = len(KINDS), referee.kind_verdicts
    if tuple(side) != (SIDE, SIDE, 3):
        lacks = f"the referee reads pictures of {SIDE} pixels, these have {side[0]} x {side[1]}"
        return Judge(group, name, n_classes, lacks=lacks)
    return Judge(group, name, n_classes, read)


def _released(run: Run, group: str) -> Judge:
    from brainkit.metrics import networks

    checkpoint = _checkpoint(group)
    name, n_classes = ("Inception 2015", 0)
    if group != UNPAIRED:
        name, n_classes = "ImageNet classifier", 1000
    if not run.store.has(checkpoint):
        path = run.store.root / checkpoint.name / "model.safetensors"
        lacks = f"{path} is missing, place there: {checkpoint.source}"
        return Judge(group, name, n_classes, lacks=lacks)
    if group == UNPAIRED:
        return Judge(group, name, n_classes, networks.load_inception(run.store))
    architecture = run.store.config(checkpoint).get("architecture", "ImageNet classifier")
    return Judge(group, str(architecture), n_classes, networks.load_classifier(run.store))


def _checkpoint(group: str) -> Checkpoint:
    from brainkit.metrics.networks import CLASSIFIER, INCEPTION

    return INCEPTION if group == UNPAIRED else CLASSIFIER
