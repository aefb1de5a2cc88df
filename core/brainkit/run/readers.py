"""Which networks scores read, on the miniature and on NSD, and what they lack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from brainkit.checkpoints import WEIGHTS
from brainkit.data import Checkpoint
from brainkit.errors import CheckpointError
from brainkit.networks.clip import CLIP_L14

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from brainkit.metrics import Score
    from brainkit.metrics.networks.torchvision import Network, Nodes
    from brainkit.metrics.profiles import Profile
    from brainkit.metrics.standard import Standard
    from brainkit.run.shared import Run

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
    """
    if run.networks == "random":
        return _random(group)
    return _referee(group, side) if run.networks == "miniature" else _released(run, group)


def stamps(run: Run) -> list[str]:
    """Give what the scores depend on besides the reconstructions: the networks' fingerprints."""
    if run.networks != "released":
        return []
    needed = [CLIP_L14, *(_checkpoint(group) for group in GROUPS if group in run.method.scores)]
    if "image" in run.method.decoders:
        needed += [one for name in profiles(run.method.scores) for one in _networks(name)]
    return [run.store.fingerprint(each) if run.store.has(each) else "absent" for each in needed]


def profiles(groups: Sequence[str]) -> tuple[str, ...]:
    """Give the profiles of the standard scores: the default one, and those among the groups."""
    from brainkit.metrics.profiles import DEFAULT, PROFILES

    return (DEFAULT, *(group for group in groups if group in PROFILES and group != DEFAULT))


def standard(
    run: Run, profile: str, shown: NDArray[np.uint8], samples: Sequence[NDArray[np.uint8]]
) -> Standard:
    """Read stimuli and reconstructions by the released networks of the standard scores.

    Args:
        run: says where weights lie; networks that are not there are told in the scores.
        profile: a name in `brainkit.metrics.profiles.PROFILES`.
        shown: uint8 (images, height, width, 3), stimuli.
        samples: for each sample the reconstructions.
    """
    from brainkit.metrics.networks.torchvision import load_nodes
    from brainkit.metrics.profiles import PROFILES
    from brainkit.metrics.standard import Read, compared, reader

    chosen = PROFILES[profile]

    def load(network: str) -> Read:
        checkpoint = CLIP_L14 if network == "clip" else chosen.checkpoint(network)
        if not run.store.has(checkpoint):
            raise CheckpointError(_missing(run, checkpoint))
        nodes = _clip_nodes(run, chosen) if network == "clip" else load_nodes(run.store, checkpoint)
        return reader(nodes, chosen, network, run.store.device)

    return compared(shown, samples, load, profile=profile)


def _networks(profile: str) -> list[Checkpoint]:
    from brainkit.metrics.profiles import PROFILES

    chosen = PROFILES[profile]
    return [chosen.checkpoint(network) for network in chosen.sides if network != "clip"]


def _clip_nodes(run: Run, profile: Profile) -> Nodes:
    """Give CLIP's projected embedding, not normalised, of pictures prepared by a profile.

    Raises:
        CheckpointError: the CLIP that is there reads pictures of another size.
    """
    import torch

    from brainkit.networks.clip.network import load_network

    network = load_network(run.store, CLIP_L14, "vision")
    side, wanted = network.config.image_size, profile.sides["clip"]
    if side != wanted:
        raise CheckpointError(
            f"checkpoint {CLIP_L14.name!r} reads pictures of {side} pixels, but the score is "
            f"defined by CLIP ViT-L/14 at {wanted}"
        )

    def read(pixels: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad():
            return (network(pixels).image_embeds,)

    return read


def _referee(group: str, side: tuple[int, ...]) -> Judge:
    from brainkit.miniature import referee
    from brainkit.miniature.scenes import KINDS, SIDE

    name = f"{referee.REFEREE} (miniature)"
    read: Network = referee.features
    n_classes = 0
    if group != UNPAIRED:
        n_classes, read = len(KINDS), referee.kind_verdicts
    if tuple(side) != (SIDE, SIDE, 3):
        lacks = f"the referee reads pictures of {SIDE} pixels, these have {side[0]} x {side[1]}"
        return Judge(group, name, n_classes, lacks=lacks)
    return Judge(group, name, n_classes, read)


def _random(group: str) -> Judge:
    name, n_classes = ("Inception 2015", 0) if group == UNPAIRED else ("ImageNet classifier", 1000)
    return Judge(group, name, n_classes, lacks="pictures by random weights are not judged")


def _released(run: Run, group: str) -> Judge:
    from brainkit.metrics.networks import torchvision as networks

    checkpoint = _checkpoint(group)
    name, n_classes = ("Inception 2015", 0)
    if group != UNPAIRED:
        name, n_classes = "ImageNet classifier", 1000
    if not run.store.has(checkpoint):
        return Judge(group, name, n_classes, lacks=_missing(run, checkpoint))
    try:
        if group == UNPAIRED:
            return Judge(group, name, n_classes, networks.load_inception(run.store))
        name = str(run.store.config(checkpoint).get("architecture", name))
        return Judge(group, name, n_classes, networks.load_classifier(run.store))
    except CheckpointError as error:
        return Judge(group, name, n_classes, lacks=str(error))


def _missing(run: Run, checkpoint: Checkpoint) -> str:
    path = run.store.root / checkpoint.name / WEIGHTS
    return f"{path} is missing, run `brainkit fetch {checkpoint.name}`"


def _checkpoint(group: str) -> Checkpoint:
    from brainkit.metrics.networks.torchvision import CLASSIFIER, INCEPTION

    return INCEPTION if group == UNPAIRED else CLASSIFIER
