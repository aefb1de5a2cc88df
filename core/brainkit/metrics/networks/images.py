"""The networks that some scores are defined by, from the checkpoint store; nothing is fetched."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from brainkit.checkpoints import CheckpointStore
from brainkit.errors import CheckpointError
from brainkit.metrics.networks.released import built, checkpoint

if TYPE_CHECKING:
    from torch import Tensor, nn

Network = Callable[[NDArray[np.uint8]], NDArray[Any]]
"""From uint8 (images, height, width, 3) to float32 (images, dim)."""

INCEPTION: Final = checkpoint("inception-2015")
CLASSIFIER: Final = checkpoint("imagenet-classifier")
AT_ONCE: Final = 16
_MEAN: Final = (0.485, 0.456, 0.406)
_STD: Final = (0.229, 0.224, 0.225)


def load_inception(store: CheckpointStore) -> Network:
    """Load FID's Inception: a function to float32 (images, 2048).

    Raises:
        CheckpointError: the weights are missing, or they are another network's.
    """
    from brainkit.metrics.networks.inception import Inception

    network = Inception()
    found = network.load_state_dict(store.load(INCEPTION), strict=False)
    # What counts batches in training, and the classes above the features, are nobody's loss.
    missing = [name for name in found.missing_keys if not name.endswith("num_batches_tracked")]
    strange = [name for name in found.unexpected_keys if not name.startswith("fc.")]
    if missing or strange:
        raise CheckpointError(
            f"checkpoint {INCEPTION.name!r} is not FID's Inception (lacks {missing[:3]}, has "
            f"{strange[:3]}); delete its folder and run `brainkit fetch {INCEPTION.name}`"
        )
    return _over_batches(network, store)


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

    return _over_batches(network, store, prepare)


def _over_batches(
    network: nn.Module, store: CheckpointStore, prepare: Callable[[Tensor], Tensor] | None = None
) -> Network:
    import torch

    network.to(store.device).eval().requires_grad_(False)

    def read(images: NDArray[np.uint8]) -> NDArray[Any]:
        parts = []
        with torch.no_grad():
            for start in range(0, len(images), AT_ONCE):
                batch = np.ascontiguousarray(images[start : start + AT_ONCE])
                pixels = torch.from_numpy(batch).to(store.device).permute(0, 3, 1, 2).float()
                parts.append(network(prepare(pixels) if prepare else pixels).cpu())
        found: NDArray[Any] = torch.cat(parts).numpy()
        return found

    return read
