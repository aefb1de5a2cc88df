"""Which image, and which of its samples, something is of: by its name, its id or a list of ids."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, TypeVar

from brainkit.errors import DataError, enumerated

T = TypeVar("T")
OWN = re.compile(r"nsd(\d+)(?:-(\d+))?")
"""How a run names pictures: nsd00012, and nsd00012-2 for the second sample."""
SAMPLED = re.compile(r"(.*\w)[-_](\d+)")
"""A name whose second part counts the samples."""


class ImageSample(NamedTuple):
    """Whose an output is: the image's id or name, and the sample's number."""

    image: str
    sample: int


def normal(text: object) -> str:
    """Return an id or name as it is compared: numbers without leading zeros.

    >>> normal("0012"), normal(12), normal(" cat ")
    ('12', '12', 'cat')
    """
    plain = str(text).strip()
    return str(int(plain)) if plain.isascii() and plain.isdecimal() else plain


def item_of(stem: str, *, numbered: bool, several: bool = False) -> ImageSample:
    """Return whose a file is, by its name without ending.

    >>> item_of("nsd00012-2", numbered=True)
    ImageSample(image='12', sample=2)
    >>> item_of("subj01_recon_0012", numbered=True)
    ImageSample(image='12', sample=1)
    >>> item_of("cat_3", numbered=False, several=True)
    ImageSample(image='cat', sample=3)

    Args:
        stem: the name.
        numbered: whether images are told by numbers; then the last one in the name is the id.
        several: whether a name may end in the number of a sample, after "-" or "_".

    Raises:
        DataError: the name has no number where one is needed.
    """
    if own := OWN.fullmatch(stem):
        return ImageSample(str(int(own[1])), int(own[2] or 1))
    sample = 1
    if several and (parted := SAMPLED.fullmatch(stem)):
        stem, sample = parted[1], int(parted[2])
    if not numbered:
        return ImageSample(normal(stem), sample)
    numbers = re.findall(r"[0-9]+", stem)
    if not numbers:
        raise DataError(
            f"{stem!r} has no number in its name, expected the image's 0-based id, e.g. "
            "nsd00012.png; rename it, or give the ids in order with --ids"
        )
    return ImageSample(str(int(numbers[-1])), sample)


def added(given: dict[ImageSample, T], item: ImageSample, value: T, where: str) -> None:
    """Add what is of an item.

    Raises:
        DataError: there is something of it already.
    """
    if item in given:
        which = f", sample {item.sample}" if item.sample > 1 else ""
        raise DataError(
            f"{where} is the second one of image {item.image}{which}; remove one, or give "
            "--samples if there are several of each image, named ID-1, ID-2 and so on"
        )
    given[item] = value


def in_order(
    given: Mapping[ImageSample, T],
    images: Sequence[str],
    *,
    known: Collection[str],
    what: str,
    samples: int | None,
) -> list[list[T]]:
    """Return for each sample what is of the images, in their order.

    Args:
        given: by item; what is of other known images is passed over.
        images: that are scored.
        known: images that may be given.
        what: names the outputs and their file, for messages, e.g. "pictures in out".
        samples: of each image; None for as many as the first has.

    Raises:
        DataError: an image is unknown, or lacks outputs, or has another number of them.
    """
    by_image: dict[str, list[int]] = {}
    for image, sample in sorted(given):
        by_image.setdefault(image, []).append(sample)
    unknown = sorted({*by_image} - {*known}, key=_as_number)
    if unknown:
        raise DataError(
            f"{what}: {_named(unknown)} not among the {len(known)} images that can be scored (ids "
            f"such as {', '.join(sorted(known, key=_as_number)[:3])}; NSD's count from 0); remove "
            "what is of other images, or correct the ids"
        )
    missing = [image for image in images if image not in by_image]
    if missing:
        raise DataError(
            f"{what}: there is none of {_named(missing)} to be scored, {len(missing)} of "
            f"{len(images)}; add what is missing, or say with --images which are to be scored "
            "(--images given for those that are there)"
        )
    wanted = samples or len(by_image[images[0]])
    for image in images:
        if len(by_image[image]) != wanted:
            raise DataError(
                f"{what}: image {image} has {len(by_image[image])}, expected {wanted} of each "
                "image; complete them, or give another --samples"
            )
    return [
        [given[ImageSample(image, by_image[image][row])] for image in images]
        for row in range(wanted)
    ]


def _named(images: Sequence[str]) -> str:
    verb = "which is" if len(images) == 1 else "which are"
    return f"image{'s' * (len(images) > 1)} {enumerated(images)}, {verb}"


def _as_number(image: str) -> tuple[int, str]:
    return (int(image), "") if image.isascii() and image.isdecimal() else (-1, image)
