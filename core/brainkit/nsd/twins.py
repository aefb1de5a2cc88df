"""Find what is there twice: session files with one content, photographs under two ids."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainkit.nsd.files import exists, stimuli_path, stimulus_table_path, told
from brainkit.nsd.stimuli import picture_array
from brainkit.nsd.tables import coco_ids_of, require_rows

BLOCK = 4096
COMPARED_AT_ONCE = 1 << 20


def same_files(paths: Sequence[Path]) -> list[list[Path]]:
    """Return groups of files, two or more each, that hold the same bytes.

    Files of one size are compared by a few blocks first, and as a whole only where these agree.

    Raises:
        DataError: the system refuses to read one.
    """
    alike: dict[tuple[int, bytes], list[Path]] = defaultdict(list)
    for path in paths:
        with told(path):
            alike[_glance(path)].append(path)
    return [group for suspects in alike.values() for group in _equal(suspects)]


def _glance(path: Path) -> tuple[int, bytes]:
    """Return size and a hash of three blocks: the middle, three quarters, the end."""
    size = path.stat().st_size
    digest = sha256()
    with path.open("rb") as file:
        for place in (size // 2, size * 3 // 4, max(0, size - BLOCK)):
            file.seek(place)
            digest.update(file.read(BLOCK))
    return size, digest.digest()


def _equal(suspects: list[Path]) -> list[list[Path]]:
    groups: list[list[Path]] = []
    for path in suspects:
        home = next((group for group in groups if _same(group[0], path)), None)
        if home is None:
            groups.append([path])
        else:
            home.append(path)
    return [group for group in groups if len(group) > 1]


def _same(first: Path, second: Path) -> bool:
    with told(second):
        if first.samefile(second):
            return True
        with first.open("rb") as one, second.open("rb") as other:
            while block := one.read(COMPARED_AT_ONCE):
                if block != other.read(COMPARED_AT_ONCE):
                    return False
        return True


@dataclass(frozen=True)
class Photograph:
    """One photograph that is there under several ids.

    Attributes:
        ids: 0-based ids of its images, two or more, ascending.
        how: what they share, for people.
    """

    ids: tuple[int, ...]
    how: str


def repeated_photographs(root: Path, image_ids: NDArray[Any]) -> list[Photograph]:
    """Find photographs that are there under several ids.

    By COCO id where the stimulus table is there, and by their pixels where the pictures are: of
    each picture one row is read, and all of it where another image has the same row.

    Args:
        root: the download.
        image_ids: int (images,), 0-based ids.

    Raises:
        DataError: the table or the pictures are damaged or too short.
    """
    ids = np.unique(image_ids)
    found: dict[tuple[int, ...], str] = {}
    if exists(stimulus_table_path(root)):
        for coco_id, group in _of_coco_ids(root, ids).items():
            found[tuple(group)] = f"COCO id {coco_id}"
    if exists(stimuli_path(root)):
        for group in _of_pixels(root, ids):
            found.setdefault(tuple(group), "the same pixels")
    return [Photograph(*each) for each in sorted(found.items())]


def leak(photographs: Sequence[Photograph], split: str, *sides: NDArray[Any]) -> str | None:
    """Return one sentence on the photographs that lie on both sides of a split, or None.

    Args:
        photographs: as `repeated_photographs` gives them.
        split: its name.
        sides: int (images,) each, 0-based ids of the training and of the test images.
    """
    train, test = (set(side.tolist()) for side in sides)
    parted = [each for each in photographs if train & {*each.ids} and test & {*each.ids}]
    if not parted:
        return None
    first = parted[0]
    trained = next(number for number in first.ids if number in train)
    tested = next(number for number in first.ids if number in test)
    count = len(test.intersection(number for each in parted for number in each.ids))
    images = "1 test image is" if count == 1 else f"{count} test images are"
    return (
        f"images {trained} (training) and {tested} (test) are one photograph under two ids, with "
        f"{first.how}; with split {split} {images} among the training images, so their scores are "
        "too good"
    )


def _of_coco_ids(root: Path, ids: NDArray[Any]) -> dict[int, list[int]]:
    coco_ids = coco_ids_of(root, ids)
    distinct, counts = np.unique(coco_ids, return_counts=True)
    return {int(each): ids[coco_ids == each].tolist() for each in distinct[counts > 1]}


def _of_pixels(root: Path, ids: NDArray[Any]) -> list[list[int]]:
    with picture_array(stimuli_path(root), cached=0) as pictures:
        require_rows(stimuli_path(root), ids, len(pictures))
        middle = pictures.shape[1] // 2
        suspects = _groups(ids.tolist(), lambda number: pictures[number, middle])
        return [
            same for group in suspects for same in _groups(group, lambda number: pictures[number])
        ]


def _groups(ids: Sequence[int], read: Callable[[int], NDArray[np.uint8]]) -> list[list[int]]:
    """Return the ids, two or more each, for which the same bytes are read."""
    alike: dict[bytes, list[int]] = defaultdict(list)
    for number in ids:
        alike[sha256(read(number).tobytes()).digest()].append(number)
    return [group for group in alike.values() if len(group) > 1]
