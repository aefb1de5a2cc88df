"""Networks that scores read, from the checkpoint store: torchvision's, CLIP, FID's Inception.

Networks of the standard scores are read at nodes, of pictures that a profile prepares; the others
read pictures as they are. Nothing is fetched.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from brainkit.checkpoints import WEIGHTS, CheckpointStore
from brainkit.checkpoints.record import Record
from brainkit.data import Checkpoint
from brainkit.errors import CheckpointError, enumerated
from brainkit.metrics.networks.released import (
    CHECKPOINTS,
    COUNTERS,
    built,
    checkpoint,
    headless,
    release_of,
)
from brainkit.networks.clip import CLIP_L14

if TYPE_CHECKING:
    from torch import Tensor, nn

    Nodes = Callable[[Tensor], tuple[Tensor, ...]]
    """From float32 (batch, 3, height, width) to a float32 (batch, dim) of each node."""

Network = Callable[[NDArray[np.uint8]], NDArray[Any]]
"""From uint8 (images, height, width, 3) to float32 (images, dim)."""

ALEXNET_NODES: Final = (4, 11)
"""Layers of AlexNet's `features`: the rectified second and fifth convolutions."""
INCEPTION: Final = checkpoint("inception-2015")
CLASSIFIER: Final = checkpoint("imagenet-classifier")
AT_ONCE: Final = 16
"""Pictures that FID's Inception or a classifier reads at once."""
_MEAN: Final = (0.485, 0.456, 0.406)
_STD: Final = (0.229, 0.224, 0.225)


def missing(store: CheckpointStore, checkpoint: Checkpoint) -> str:
    """Return the sentence for a network whose weights are not in a store; empty when they are."""
    if store.has(checkpoint):
        return ""
    path = store.root / checkpoint.name / WEIGHTS
    return f"{path} is missing, run `brainkit fetch {checkpoint.name}`"


def load_nodes(store: CheckpointStore, checkpoint: Checkpoint) -> Nodes:
    """Load one of torchvision's networks, frozen, on the store's device.

    AlexNet gives `features.4` and `features.11`, flattened; the others give `avgpool`.

    Args:
        store: where the weights are.
        checkpoint: one of `brainkit.metrics.networks.released.CHECKPOINTS` with an architecture.

    Returns:
        a function that does not keep gradients.

    Raises:
        CheckpointError: the weights are missing, another network's, or by their recorded hash
            another variant's.
    """
    import torch

    from brainkit.networks.assemble import frozen

    _check_variant(store, checkpoint)
    architecture = release_of(checkpoint).config["architecture"]
    network = headless(architecture)
    _fill(network, store.load(checkpoint), checkpoint)
    frozen(network, store.device)

    def read(pixels: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad():
            if architecture == "alexnet":
                return _alexnet(network.features, pixels)  # type: ignore[arg-type]
            return (network(pixels).flatten(1),)

    return read


def _alexnet(layers: nn.Sequential, pixels: Tensor) -> tuple[Tensor, ...]:
    nodes, before, x = [], 0, pixels
    for node in ALEXNET_NODES:
        x = layers[before : node + 1](x)
        nodes.append(x.flatten(1))
        before = node + 1
    return tuple(nodes)


def _fill(network: nn.Module, weights: Mapping[str, Tensor], checkpoint: Checkpoint) -> None:
    """Load weights; those placed by hand may have the layers above the node too."""
    foreign = release_of(checkpoint).layouts[0].foreign
    own = network.state_dict()
    differences = {
        "lacks": [n for n in own.keys() - weights.keys() if not re.match(foreign, n)],
        "has besides": [n for n in weights.keys() - own.keys() if not re.match(foreign, n)],
        "has in another shape": [
            n for n in own.keys() & weights.keys() if own[n].shape != weights[n].shape
        ],
    }
    if any(differences.values()):
        listed = ", ".join(f"it {k} {enumerated(sorted(n))}" for k, n in differences.items() if n)
        raise CheckpointError(
            f"checkpoint {checkpoint.name!r} does not fit its network: {listed}; delete its "
            f"folder and run `brainkit fetch {checkpoint.name}`"
        )
    network.load_state_dict({name: weights[name] for name in own.keys() & weights.keys()}, False)


def _check_variant(store: CheckpointStore, checkpoint: Checkpoint) -> None:
    """Refuse weights that were made from another network's published file.

    Variants of equal shapes differ in nothing but their numbers; the file's hash tells them apart.
    """
    record = Record.read(store.folder(checkpoint))
    sources = record.sources.values() if record else ()
    for other in CHECKPOINTS:
        digits = release_of(other).origins[0].files[0].sha256
        theirs = any(digits and each.sha256.startswith(digits) for each in sources)
        if other != checkpoint and theirs:
            raise CheckpointError(
                f"{store.folder(checkpoint)} was made from the published file of {other.name!r} "
                f"(its SHA-256 begins with {digits}); delete the folder and run "
                f"`brainkit fetch {checkpoint.name}`"
            )


def load_clip(store: CheckpointStore, side: int) -> Nodes:
    """Load CLIP ViT-L/14's projected embedding, not normalised, of pictures of `side` pixels.

    Raises:
        CheckpointError: the weights are missing, or read pictures of another size.
    """
    import torch

    from brainkit.networks.clip.network import load_network

    network = load_network(store, CLIP_L14, "vision")
    if network.config.image_size != side:
        raise CheckpointError(
            f"checkpoint {CLIP_L14.name!r} reads pictures of {network.config.image_size} pixels, "
            f"but the score is defined by CLIP ViT-L/14 at {side}"
        )

    def read(pixels: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad():
            return (network(pixels).image_embeds,)

    return read


@dataclass(frozen=True)
class PictureNetwork:
    """A released network that scores read, of pictures as they are.

    Attributes:
        checkpoint: its weights.
        title: names it in scores while its weights are not there.
        load: from a store to a function of pictures; raises CheckpointError.
        n_classes: it usually tells apart; 0 when it gives features.
    """

    checkpoint: Checkpoint
    title: str
    load: Callable[[CheckpointStore], Network]
    n_classes: int = 0

    def title_in(self, store: CheckpointStore) -> str:
        """Return its name in scores; of a classifier, which may be any, its architecture.

        Raises:
            CheckpointError: its configuration is not there.
        """
        if not self.n_classes:
            return self.title
        return str(store.config(self.checkpoint).get("architecture", self.title))


def load_inception(store: CheckpointStore) -> Network:
    """Load FID's Inception: a function to float32 (images, 2048).

    Raises:
        CheckpointError: the weights are missing, or they are another network's.
    """
    from brainkit.metrics.networks.inception import Inception

    network = Inception()
    differences = network.load_state_dict(store.load(INCEPTION), strict=False)
    # What counts batches in training, and the classes above the features, are nobody's loss.
    lacking = [name for name in differences.missing_keys if not name.endswith(COUNTERS)]
    strange = [name for name in differences.unexpected_keys if not name.startswith("fc.")]
    if lacking or strange:
        raise CheckpointError(
            f"checkpoint {INCEPTION.name!r} is not FID's Inception (lacks {lacking[:3]}, has "
            f"{strange[:3]}); delete its folder and run `brainkit fetch {INCEPTION.name}`"
        )
    return _in_batches(network, store)


def load_classifier(store: CheckpointStore) -> Network:
    """Load a torchvision classifier: a function to float32 logits (images, classes).

    Its config.json has `architecture` (torchvision's name), `side` (pixels it reads) and perhaps
    `options` for its constructor. Pictures are resized straight to side by side, bicubic with
    antialiasing, and normalised with ImageNet's mean and spread.

    Raises:
        CheckpointError: weights or configuration are missing or do not fit together.
    """
    from torchvision.transforms.v2 import functional

    config = store.config(CLASSIFIER)
    try:
        side = int(config["side"])
        network = built(config["architecture"], config.get("options"))
        network.load_state_dict(store.load(CLASSIFIER))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(
            f"checkpoint {CLASSIFIER.name!r} does not make a classifier ({reason}); expected "
            "config.json with 'architecture' and 'side', and that torchvision model's weights"
        ) from error

    def prepare(pixels: Tensor) -> Tensor:
        mode = functional.InterpolationMode.BICUBIC
        small = functional.resize(pixels, [side, side], interpolation=mode, antialias=True)
        ready: Tensor = functional.normalize(small.clamp(0, 255) / 255, _MEAN, _STD)
        return ready

    return _in_batches(network, store, prepare)


def _in_batches(
    network: nn.Module, store: CheckpointStore, prepare: Callable[[Tensor], Tensor] | None = None
) -> Network:
    import torch

    from brainkit.networks.assemble import frozen

    frozen(network, store.device)

    def read(images: NDArray[np.uint8]) -> NDArray[Any]:
        parts = []
        with torch.no_grad():
            for start in range(0, len(images), AT_ONCE):
                batch = np.ascontiguousarray(images[start : start + AT_ONCE])
                pixels = torch.from_numpy(batch).to(store.device).permute(0, 3, 1, 2).float()
                parts.append(network(prepare(pixels) if prepare else pixels).cpu())
        return np.asarray(torch.cat(parts).numpy())

    return read


NETWORKS: Final = {
    each.checkpoint.name: each
    for each in (
        PictureNetwork(INCEPTION, "Inception 2015", load_inception),
        PictureNetwork(CLASSIFIER, "ImageNet classifier", load_classifier, n_classes=1000),
    )
}
"""By the name of their checkpoints: what a group of scores may read besides the run's CLIP."""
