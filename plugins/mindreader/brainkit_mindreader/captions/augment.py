"""Augmented copies of a picture, as Mind Reader trained its image mapper on.

In order: the shorter edge to 256 pixels; a random crop resized to 256 x 256; mirrored with
probability 0.5; with 0.4 brightness, contrast, saturation and hue changed in random order; with 0.2
grey; with 0.5 blurred by a kernel of 23 pixels; always one square of side 0.3 cut out. CLIP's own
preparation follows. Resizing is bilinear without antialiasing, as torchvision did then.

What differs from the paper: there every access to a picture draws anew, inside training and
validation alike; here a fixed number of copies is drawn once, each from the picture's id and its
own number, so that features are files and the whole picture is left for validation.

Source: Lin et al. 2022, arXiv 2210.01769, and its code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor
from torchvision.transforms.v2 import functional as transforms

from brainkit.seeds import seed_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SIDE = 256
CROP_AREA = (0.8, 1.0)
CROP_RATIO = (3 / 4, 4 / 3)
FLIP, JITTER, GREY, BLUR = 0.5, 0.4, 0.2, 0.5
CHANGES = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1}
BLUR_KERNEL, BLUR_SPREAD = 23, (0.1, 2.0)
HOLE = 0.3


@dataclass(frozen=True)
class Choices:
    """What is drawn for one copy.

    Attributes:
        crop: top, left, height and width of the part that is kept, in pixels.
        mirrored: left and right exchanged.
        changes: colour changes in their order, each a name of `CHANGES` and its factor (around 1;
            for hue a shift in turns, around 0).
        grey: colours taken away.
        blur: standard deviation in pixels of the copy, 0 for none.
        hole: top, left, height and width of the square cut out, in pixels of the copy.
    """

    crop: tuple[int, int, int, int]
    mirrored: bool
    changes: tuple[tuple[str, float], ...]
    grey: bool
    blur: float
    hole: tuple[int, int, int, int]


def copies(image: NDArray[np.uint8], image_id: int, count: int) -> NDArray[np.uint8]:
    """Make augmented copies of a picture; the k-th depends on picture, id and k alone.

    Args:
        image: uint8 (height, width, 3).
        image_id: 0-based.
        count: how many.

    Returns:
        uint8 (count, 256, 256, 3).
    """
    pixels = resized(image)
    height, width = pixels.shape[-2:]
    copies = torch.zeros(count, SIDE, SIDE, 3, dtype=torch.uint8)
    for number in range(count):
        choices = drawn(seeded(image_id, number), height, width)
        copy = augmented(pixels, choices)
        copies[number] = (copy * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0)
    copied: NDArray[np.uint8] = copies.numpy()
    return copied


def resized(image: NDArray[np.uint8]) -> Tensor:
    """Bring the shorter edge of uint8 (height, width, 3) to 256: float32 (3, ...) in [0, 1]."""
    pixels = torch.as_tensor(image).permute(2, 0, 1).float() / 255
    brought: Tensor = transforms.resize(pixels, [SIDE], antialias=False)
    return brought


def seeded(image_id: int, number: int) -> Generator:
    """Return the source of randomness of one copy of one picture."""
    return Generator().manual_seed(seed_of(f"{image_id} {number}"))


def drawn(generator: Generator, height: int = SIDE, width: int = SIDE) -> Choices:
    """Draw what happens to one copy of a picture of so many pixels."""
    chance = torch.rand(4, generator=generator).tolist()
    spread = _uniform(generator, *BLUR_SPREAD)
    changes = _drawn_changes(generator)
    return Choices(
        crop=_drawn_crop(generator, height, width),
        mirrored=chance[0] < FLIP,
        changes=changes if chance[1] < JITTER else (),
        grey=chance[2] < GREY,
        blur=spread if chance[3] < BLUR else 0.0,
        hole=_drawn_hole(generator),
    )


def augmented(pixels: Tensor, choices: Choices) -> Tensor:
    """Apply choices to a picture.

    Args:
        pixels: float32 (3, height, width) in [0, 1].
        choices: what happens to it.

    Returns:
        float32 (3, 256, 256) in [0, 1], 0 within the hole.
    """
    copy = transforms.resized_crop(pixels, *choices.crop, [SIDE, SIDE], antialias=False)
    if choices.mirrored:
        copy = transforms.horizontal_flip(copy)
    for name, factor in choices.changes:
        copy = getattr(transforms, f"adjust_{name}")(copy, factor)
    if choices.grey:
        copy = transforms.rgb_to_grayscale(copy, num_output_channels=3)
    if choices.blur:
        # A Gaussian kernel is the product of its row and its column.
        for kernel in ([BLUR_KERNEL, 1], [1, BLUR_KERNEL]):
            copy = transforms.gaussian_blur(copy, kernel, [choices.blur, choices.blur])
    erased: Tensor = transforms.erase(copy, *choices.hole, torch.zeros(3, 1, 1))
    return erased


def _drawn_crop(generator: Generator, height: int, width: int) -> tuple[int, int, int, int]:
    """Draw area and aspect until they fit; a picture no crop fits in stays whole."""
    for _ in range(10):
        area = height * width * _uniform(generator, *CROP_AREA)
        ratio = math.exp(_uniform(generator, *(math.log(each) for each in CROP_RATIO)))
        high, wide = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
        if 0 < high <= height and 0 < wide <= width:
            top, left = _below(generator, height - high + 1), _below(generator, width - wide + 1)
            return top, left, high, wide
    return 0, 0, height, width


def _drawn_changes(generator: Generator) -> tuple[tuple[str, float], ...]:
    factors = {
        name: _uniform(generator, -size, size) + (name != "hue") for name, size in CHANGES.items()
    }
    order = torch.randperm(len(CHANGES), generator=generator).tolist()
    names = list(CHANGES)
    return tuple((names[each], factors[names[each]]) for each in order)


def _drawn_hole(generator: Generator) -> tuple[int, int, int, int]:
    """Draw a square centred anywhere; what lies beyond the last row and column is cut off."""
    half = int(HOLE * SIDE) // 2
    centre = (_below(generator, SIDE), _below(generator, SIDE))
    top, left = (max(each - half, 0) for each in centre)
    bottom, right = (min(each + half, SIDE - 1) for each in centre)
    return top, left, bottom - top, right - left


def _uniform(generator: Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))


def _below(generator: Generator, limit: int) -> int:
    return int(torch.randint(limit, (), generator=generator))
