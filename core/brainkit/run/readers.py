"""Which network a group of scores reads here: the miniature's referee, a released one, or none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from brainkit.checkpoints import CheckpointStore
from brainkit.data import Checkpoint
from brainkit.errors import CheckpointError
from brainkit.metrics.groups import CLIP, GROUPS, STANDARD, Reader, Seen
from brainkit.metrics.networks.torchvision import CLASSIFIER, INCEPTION, NETWORKS
from brainkit.metrics.networks.torchvision import missing as missing_from
from brainkit.metrics.profiles import PROFILES
from brainkit.metrics.score import Score, not_computed
from brainkit.metrics.sentences import PROMPT
from brainkit.metrics.standard import read_by
from brainkit.networks.clip import CLIP_B32, CLIP_L14
from brainkit.networks.clip.network import load_image_embedding, load_text_embedding
from brainkit.networks.minilm import MINILM
from brainkit.networks.minilm.network import load_sentence_embedding
from brainkit.run.shared import Run

TEXTS_AT_ONCE: Final = 64
OF_CAPTIONS: Final = (CLIP_B32, MINILM)
"""Released networks that captions are read by beside the run's CLIP."""
SENTENCES: Final = "sentence similarity, all-MiniLM-L6-v2"
Pictures = NDArray[np.uint8]
"""uint8 (images, height, width, 3)."""


@dataclass(frozen=True)
class Sight:
    """What scores may read.

    Attributes:
        store: where weights lie.
        networks: whose, "miniature", "released" or "random".
        scores: names of groups that are asked for beside the standard scores.
        miniature: whether the stimuli are the miniature's, of which is known what they show.
        batch_size: images read at once.
    """

    store: CheckpointStore
    networks: str
    scores: tuple[str, ...] = ()
    miniature: bool = False
    batch_size: int = 20


def sight_of(run: Run) -> Sight:
    """Return what scores of a run may read."""
    size = run.config.batch_size
    return Sight(run.store, run.networks, run.method.scores, run.miniature, size)


def seen(sight: Sight, reads: str, targets: Pictures, samples: Sequence[Pictures]) -> Seen:
    """Read stimuli and reconstructions by a group's network, if it is there.

    Args:
        sight: says which networks are to be read, and where weights lie.
        reads: `Group.reads` of the group.
        targets: stimuli.
        samples: for each sample the reconstructions of all stimuli, or one that stands for all.
    """
    if not reads:
        return Seen(targets, samples)
    if reads in PROFILES:
        released = sight.networks == "released"
        standard = read_by(sight.store, targets, samples, profile=reads) if released else None
        return Seen(targets, samples, standard=standard)
    network = reader_of(sight, reads, side=samples[0].shape[1:])
    if len(targets) < 2:
        network = replace(network, read=None, lacks="it takes 2 images or more")
    if network.read is None:
        return Seen(targets, samples, network)
    features = network.read(targets), [network.read(recons) for recons in samples]
    # The scores need its features and name only: its memory is the next network's.
    return Seen(targets, samples, replace(network, read=None), features)


def reader_of(sight: Sight, reads: str, *, side: tuple[int, ...]) -> Reader:
    """Return the network that a group reads: the miniature's referee, or a released one.

    Args:
        sight: says which of the two, and where weights lie.
        reads: `Group.reads` of a group with one network.
        side: (height, width, 3) of the reconstructions.
    """
    if reads == CLIP:
        return Reader(clip_name(sight), read=_clip(sight, CLIP_L14) if sees(sight) else None)
    if sight.networks == "miniature":
        return _referee(reads, side)
    network = NETWORKS[reads]
    if sight.networks == "random":
        lacks = "pictures by random weights are not judged"
        return Reader(network.title, network.n_classes, lacks=lacks)
    return _released(sight, reads)


def stamps(sight: Sight, *, pictures: bool, captions: bool = False) -> list[str]:
    """Return what the scores depend on besides the reconstructions: the networks' fingerprints.

    Args:
        sight: where weights lie, and which groups are asked for.
        pictures: whether there are pictures to score.
        captions: whether there are captions to score.
    """
    if sight.networks != "released":
        return []
    needed = [CLIP_L14]
    if pictures:
        asked = [group for name, group in GROUPS.items() if name in sight.scores]
        # A recipe holds their order: first those that read one network.
        for group in sorted([STANDARD, *asked], key=lambda group: group.reads in PROFILES):
            needed += group.networks
    if captions:
        needed += OF_CAPTIONS
    return [sight.store.fingerprint(each) if sight.store.has(each) else "absent" for each in needed]


def clip_name(sight: Sight) -> str:
    """Name the CLIP there is, as part of a score's name."""
    return "CLIP (miniature)" if sight.networks == "miniature" else "CLIP ViT-L/14"


def sees(sight: Sight) -> bool:
    """Say whether CLIP can score: it is there, and its weights are not random."""
    return sight.networks != "random" and sight.store.has(CLIP_L14)


def _clip(sight: Sight, clip: Checkpoint) -> Callable[[Pictures], NDArray[Any]]:
    network = load_image_embedding(sight.store, clip)
    size = sight.batch_size

    def read(images: Pictures) -> NDArray[Any]:
        starts = range(0, len(images), size)
        with torch.no_grad():
            parts = [network(images[start : start + size]) for start in starts]
        return np.asarray(torch.cat(parts).cpu().numpy())

    return read


@dataclass(frozen=True, eq=False)
class TextReader:
    """A network that scores read captions by.

    Attributes:
        name: becomes part of the scores' names.
        read: from texts to float32 (texts, dim).
        images: float32 (images, dim) of the stimuli, where it sees these too.
    """

    name: str
    read: Callable[[Sequence[str]], NDArray[Any]]
    images: NDArray[Any] | None = None


def text_readers(sight: Sight, stimuli: Pictures) -> Iterator[TextReader]:
    """Return the networks that captions are read by, one after the other, if they are there."""
    if sight.networks == "released" and sight.store.has(MINILM):
        yield TextReader(SENTENCES, _in_batches(load_sentence_embedding(sight.store)))
    if not sees(sight):
        return
    name = clip_name(sight)
    yield TextReader(f"{name} text-text", _texts(sight, CLIP_L14))
    if len(stimuli):
        # Published values of CLIP-S are of the smaller network.
        small = sight.networks == "released" and sight.store.has(CLIP_B32)
        clip, name = (CLIP_B32, "CLIP ViT-B/32") if small else (CLIP_L14, name)
        texts = _texts(sight, clip)
        yield TextReader(
            name, lambda given: texts([PROMPT + one for one in given]), _clip(sight, clip)(stimuli)
        )


def unread_texts(sight: Sight) -> tuple[Score, ...]:
    """Return the scores of captions that lack a released network, and why."""
    lacks = missing_from(sight.store, MINILM) if sight.networks == "released" else ""
    names = [f"{SENTENCES}@{of}" for of in ("allref", "1ref")]
    return tuple(not_computed(name, lacks) for name in names if lacks)


def _texts(sight: Sight, clip: Checkpoint) -> Callable[[Sequence[str]], NDArray[Any]]:
    """Load CLIP for texts: a function to float32 (texts, dim)."""
    return _in_batches(load_text_embedding(sight.store, clip))


def _in_batches(
    network: Callable[[Sequence[str]], torch.Tensor],
) -> Callable[[Sequence[str]], NDArray[Any]]:
    def read(texts: Sequence[str]) -> NDArray[Any]:
        starts = range(0, max(len(texts), 1), TEXTS_AT_ONCE)
        with torch.no_grad():
            parts = [network(list(texts[start : start + TEXTS_AT_ONCE])) for start in starts]
        return np.asarray(torch.cat(parts).cpu().numpy())

    return read


def _referee(reads: str, side: tuple[int, ...]) -> Reader:
    from brainkit.miniature import referee
    from brainkit.miniature.scenes import KINDS, SIDE

    name = f"{referee.REFEREE} (miniature)"
    readers = {
        INCEPTION.name: Reader(name, read=referee.features),
        CLASSIFIER.name: Reader(name, len(KINDS), referee.kind_verdicts),
    }
    if reads not in readers:
        network = NETWORKS[reads]
        lacks = f"the miniature has no network in place of {network.title}"
        return Reader(network.title, network.n_classes, lacks=lacks)
    if tuple(side) != (SIDE, SIDE, 3):
        lacks = f"the referee reads pictures of {SIDE} pixels, these have {side[0]} x {side[1]}"
        return replace(readers[reads], read=None, lacks=lacks)
    return readers[reads]


def _released(sight: Sight, reads: str) -> Reader:
    network = NETWORKS[reads]
    here = Reader(network.title, network.n_classes)
    if lack := missing_from(sight.store, network.checkpoint):
        return replace(here, lacks=lack)
    try:
        here = replace(here, name=network.title_in(sight.store))
        return replace(here, read=network.load(sight.store))
    except CheckpointError as error:
        return replace(here, lacks=str(error))
