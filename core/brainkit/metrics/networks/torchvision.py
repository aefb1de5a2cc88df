"""What the networks of the standard scores give at the nodes that are read, in float32."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from brainkit.checkpoints import CheckpointStore
from brainkit.checkpoints.record import Record
from brainkit.data import Checkpoint
from brainkit.errors import CheckpointError
from brainkit.metrics.networks.released import CHECKPOINTS, headless, release_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    Nodes = Callable[[Tensor], tuple[Tensor, ...]]
    """From float32 (batch, 3, height, width) to a float32 (batch, dim) of each node."""

ALEXNET_NODES: Final = (4, 11)
"""Layers of AlexNet's `features`: the rectified second and fifth convolutions."""


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

    _check_variant(store, checkpoint)
    architecture = release_of(checkpoint).config["architecture"]
    network = headless(architecture)
    _fill(network, store, checkpoint)
    network.to(store.device).eval().requires_grad_(False)

    def read(pixels: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad():
            if architecture == "alexnet":
                return _alexnet(network.features, pixels)  # type: ignore[arg-type]
            return (network(pixels).flatten(1),)

    return read


def _alexnet(layers: nn.Sequential, pixels: Tensor) -> tuple[Tensor, ...]:
    found, before, x = [], 0, pixels
    for node in ALEXNET_NODES:
        x = layers[before : node + 1](x)
        found.append(x.flatten(1))
        before = node + 1
    return tuple(found)


def _fill(network: nn.Module, store: CheckpointStore, checkpoint: Checkpoint) -> None:
    """Load weights; those placed by hand may have the layers above the node too."""
    foreign = release_of(checkpoint).layouts[0].foreign
    weights = store.load(checkpoint)
    own = network.state_dict()
    missing = sorted(n for n in own.keys() - weights.keys() if not re.match(foreign, n))
    strange = sorted(n for n in weights.keys() - own.keys() if not re.match(foreign, n))
    misshapen = [
        name for name in own.keys() & weights.keys() if own[name].shape != weights[name].shape
    ]
    if missing or strange or misshapen:
        said = {"lacks": missing, "has": strange, "other shapes of": sorted(misshapen)}
        listed = ", ".join(f"{what} {names[:3]}" for what, names in said.items() if names)
        raise CheckpointError(
            f"checkpoint {checkpoint.name!r} does not fit its network ({listed}); delete its "
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
        made = any(digits and each.sha256.startswith(digits) for each in sources)
        if other != checkpoint and made:
            raise CheckpointError(
                f"{store.folder(checkpoint)} was made from the published file of {other.name!r} "
                f"(its SHA-256 begins with {digits}); delete the folder and run "
                f"`brainkit fetch {checkpoint.name}`"
            )
