"""How pictures are brought to the networks of the standard scores; evaluations differ in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from brainkit.data import Checkpoint
from brainkit.metrics.images import Images, resized
from brainkit.metrics.networks.released import checkpoint
from brainkit.networks.clip import CLIP_L14

if TYPE_CHECKING:
    from torch import Tensor

IMAGENET: Final = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP: Final = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
"""Mean and spread of the colours, in [0, 1], that the networks were trained with."""
STORED: Final = {"alexnet": "alexnet", "inception": "inception-v3", "swav": "swav-resnet50"}
"""Names in the store of the networks that all profiles share."""
SQUARE: Final = 256
"""Pixels to which MindEye 2 reduces both pictures before any metric."""
STIMULUS: Final = 425
"""Pixels of NSD's stimuli."""

Resize = Callable[[NDArray[np.uint8], int], "Tensor"]


@dataclass(frozen=True)
class Profile:
    """One evaluation's way with pictures.

    Attributes:
        name: becomes part of the scores' notes, and of their names unless it is the default's.
        sides: pixels that each network reads, by its short name.
        efficientnet: which of the two published EfficientNet-B1.
        resize: from uint8 pictures to float32 (batch, 3, side, side) in [0, 1].
        pairs: stimuli and reconstructions as pixel correlation and SSIM compare them.
        note: for the scores.
    """

    name: str
    sides: Mapping[str, int]
    efficientnet: Checkpoint
    resize: Resize
    pairs: Callable[[NDArray[np.uint8], NDArray[np.uint8]], tuple[Images, Images]]
    note: str

    def checkpoint(self, network: str) -> Checkpoint:
        """Return a network's weights by its short name, a key of `sides`."""
        if network == "clip":
            return CLIP_L14
        return self.efficientnet if network == "efficientnet" else checkpoint(STORED[network])

    @property
    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """Weights of its networks but CLIP, which are a run's own."""
        return tuple(self.checkpoint(network) for network in self.sides if network != "clip")

    @property
    def suffix(self) -> str:
        """What a score's name ends with."""
        return "" if self.name == DEFAULT else f" ({self.name})"

    def prepared(self, images: NDArray[np.uint8], network: str) -> Tensor:
        """Resize and normalise pictures for a network.

        Args:
            images: uint8 (batch, height, width, 3).
            network: its short name, a key of `sides`.

        Returns:
            float32 (batch, 3, side, side).
        """
        import torch

        mean, spread = CLIP if network == "clip" else IMAGENET
        pixels = self.resize(images, self.sides[network])
        centre, scale = (torch.tensor(each).view(1, 3, 1, 1) for each in (mean, spread))
        return (pixels - centre) / scale


def by_pillow(images: NDArray[np.uint8], side: int) -> Tensor:
    """Resize bilinearly with Pillow, which smooths what it shrinks and rounds to 8 bits."""
    import torch

    small = np.stack([_pillow(each, (side, side), "BILINEAR") for each in images])
    return torch.from_numpy(small).permute(0, 3, 1, 2).float() / 255


def by_tensor(images: NDArray[np.uint8], side: int) -> Tensor:
    """Resize to 256 pixels and then to `side`, bilinear without smoothing, as floats."""
    import torch
    from torch.nn.functional import interpolate

    pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255
    for size in (SQUARE, side):
        if pixels.shape[2:] != (size, size):
            pixels = interpolate(pixels, (size, size), mode="bilinear", align_corners=False)
    return pixels


class LazyPictures(Sequence[NDArray[Any]]):
    """Pictures that are made when they are looked at, so that never all of them are in memory."""

    def __init__(
        self, images: NDArray[np.uint8], make: Callable[[NDArray[np.uint8]], NDArray[Any]]
    ) -> None:
        self.images, self.make = images, make

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.images)

    def __getitem__(self, index: Any) -> Any:
        """Make one picture."""
        return self.make(self.images[index])


def _pillow(image: NDArray[np.uint8], size: tuple[int, int], kind: str) -> NDArray[np.uint8]:
    """Resize one picture to (width, height)."""
    from PIL import Image

    small = Image.fromarray(image).resize(size, getattr(Image.Resampling, kind))
    return np.asarray(small)


def _sized_alike(targets: NDArray[np.uint8], recons: NDArray[np.uint8]) -> tuple[Images, Images]:
    """Leave stimuli as they are and resize reconstructions to them, bicubic, with Pillow."""
    height, width = targets.shape[1:3]
    if recons.shape[1:3] == (height, width):
        return targets, recons
    return targets, LazyPictures(recons, lambda image: _pillow(image, (width, height), "BICUBIC"))


def _reduced(targets: NDArray[np.uint8], recons: NDArray[np.uint8]) -> tuple[Images, Images]:
    """Reduce both to 256 pixels and enlarge them to 425."""

    def twice(image: NDArray[np.uint8]) -> NDArray[Any]:
        reduced = resized([image], SQUARE, antialias=False)
        return resized(reduced, STIMULUS, antialias=False)[0]

    return LazyPictures(targets, twice), LazyPictures(recons, twice)


DEFAULT: Final = "brain-diffuser"
PROFILES: Final = {
    each.name: each
    for each in (
        Profile(
            DEFAULT,
            dict.fromkeys(("alexnet", "inception", "clip", "efficientnet", "swav"), 224),
            checkpoint("efficientnet-b1-v1"),
            by_pillow,
            _sized_alike,
            "profile brain-diffuser: pictures resized by Pillow straight to 224 px for every "
            "network, EfficientNet-B1 of IMAGENET1K_V1.",
        ),
        Profile(
            "mindeye2",
            {"alexnet": 256, "inception": 342, "clip": 224, "efficientnet": 255, "swav": 224},
            checkpoint("efficientnet-b1-v2"),
            by_tensor,
            _reduced,
            "profile mindeye2: pictures reduced to 256 px and then resized as tensors, without "
            "smoothing, EfficientNet-B1 of IMAGENET1K_V2.",
        ),
    )
}
"""By name: the evaluations of Brain-Diffuser (Ozcelik and VanRullen 2023) and of MindEye 2 (Scotti
et al. 2024)."""
