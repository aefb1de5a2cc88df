"""What outputs are held against: NSD's test images, the miniature's, or pictures of one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainkit.data import Stimuli
from brainkit.errors import DataError, UsageError, enumerated
from brainkit.evaluate.items import ImageSample
from brainkit.evaluate.pictures import read_pictures
from brainkit.evaluate.texts import read_references
from brainkit.names import Subject
from brainkit.report import Finding
from brainkit.run.leaks import duplicates, photographs

Pictures = NDArray[np.uint8]
"""uint8 (images, height, width, 3)."""
Captions = tuple[tuple[str, ...], ...]
Ids = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Truth:
    """The images that may be scored, and what was shown and written of each.

    Attributes:
        data: their name, "nsd", "miniature" or that of the user's own.
        images: ids or names, in order.
        about: which images they are, for reports.
        fingerprint: hex digits of the pictures' content.
        pictures: from some of the images to their pictures.
        captions: from some of the images to their true captions.
        findings: what is known to make scores too good.
        n_train: training images beside them; 0 if that is not known.
    """

    data: str
    images: tuple[str, ...]
    about: str
    fingerprint: str
    pictures: Callable[[Sequence[str]], Pictures]
    captions: Callable[[Sequence[str]], Captions]
    findings: Callable[[Sequence[str]], tuple[Finding, ...]] = lambda images: ()
    n_train: int = 0

    def ids(self, images: Sequence[str]) -> list[int]:
        """Return a number for each image: its id, or without one its place among all from 0."""
        if all(image.isascii() and image.isdecimal() for image in self.images):
            return [int(image) for image in images]
        places = {image: place for place, image in enumerate(self.images)}
        return [places[image] for image in images]

    def stimuli(self, images: Sequence[str], *, captions: bool) -> Stimuli:
        """Return what was shown; without `captions` these stay empty."""
        ids = np.asarray(self.ids(images), np.int32)
        return Stimuli(self.pictures(images), self.captions(images) if captions else (), ids)


@dataclass(frozen=True)
class Parting:
    """Which of a subject's images are test images.

    Attributes:
        split: one that follows from the design.
        sessions: the first so many; None for all that the subject did.
        named: their ids where the split is another one; None otherwise.
        whence: where those ids are from.
    """

    split: str = "shared"
    sessions: int | None = None
    named: tuple[str, ...] | None = None
    whence: str = ""


def of_nsd(root: Path, subject: Subject, *, data: str, tests: Parting) -> Truth:
    """Return the test images of a subject, told by the design alone: no betas are read.

    Args:
        root: an NSD download, or the miniature's.
        subject: its number or name.
        data: "nsd" or "miniature".
        tests: which images may be scored.

    Raises:
        UsageError: there is no such split, or there are not as many sessions.
        DataError: the design is damaged, or an image that is named was not shown.
    """
    from brainkit.nsd import load_captions, load_stimuli
    from brainkit.nsd.fingerprint import images_fingerprint

    train, test, about = _parted(root, subject, tests)
    return Truth(
        data=data,
        images=tuple(map(str, test.tolist())),
        about=about,
        fingerprint=images_fingerprint(root),
        pictures=lambda images: load_stimuli(root, [int(each) for each in images]),
        captions=lambda images: load_captions(root, [int(each) for each in images]),
        findings=lambda images: _copies(root, tests.split, train, images),
        n_train=len(train),
    )


def _parted(root: Path, subject: Subject, tests: Parting) -> tuple[Ids, Ids, str]:
    """Return training and test images, ascending, and which the latter are."""
    from brainkit.nsd import load_design, read_layout
    from brainkit.nsd.design import which_tested

    layout = read_layout(root)
    total = layout.subject(subject).sessions
    sessions = total if tests.sessions is None else tests.sessions
    if not 1 <= sessions <= total:
        raise UsageError(f"--sessions is {sessions}, but the subject did {total}")
    design, wanted = load_design(root, subject), range(1, sessions + 1)
    train, test = (
        np.sort(design.presented(wanted, test=side, split=tests.split)) for side in (False, True)
    )
    seen = np.union1d(train, test)
    if tests.named is not None:
        unknown = sorted({*tests.named} - {*map(str, seen.tolist())})
        if unknown:
            raise DataError(
                f"{tests.whence} names {enumerated(unknown)}, which the subject was not shown in "
                f"these {sessions} sessions; give 0-based ids of images"
            )
        chosen = np.isin(seen, [int(each) for each in tests.named])
        about = f"{int(chosen.sum())} of {len(seen)} seen, named in {tests.whence}"
        return seen[~chosen], seen[chosen], about
    about = which_tested(
        tests.split, len(test), len(seen), n_shared=layout.n_shared, n_sessions=sessions
    )
    return train, test, about


def _copies(
    root: Path, split: str, train: NDArray[np.int32], images: Sequence[str]
) -> tuple[Finding, ...]:
    """Tell of scored images that are training images under another id."""
    scored = np.asarray([int(each) for each in images], np.int32)
    return duplicates(photographs(root, np.concatenate([train, scored])), split, train, scored)


def of_own(stimuli: Path, *, ids: Sequence[str] | None, array: str | None) -> Truth:
    """Return pictures of one's own, all of which are to be scored.

    Args:
        stimuli: a folder of pictures, or a file of arrays.
        ids: of the pictures in their order; None to find them in names or the file.
        array: name of the array in a file that has several.

    Raises:
        DataError: the pictures cannot be read, or there are several of one image.
    """
    shown = read_pictures(stimuli, numbered=False, ids=ids, array=array)
    several = [item.image for item in shown if item.sample > 1]
    if several:
        raise DataError(f"{stimuli} has several pictures of {enumerated(several)}, expected one")
    images = tuple(item.image for item in shown)
    digest = sha256("\n".join(images).encode())
    for each in shown.values():
        digest.update(np.ascontiguousarray(each).tobytes())
    return Truth(
        data=stimuli.stem or "own",
        images=images,
        about=f"all {len(images)} of {stimuli.name}",
        fingerprint=digest.hexdigest()[:16],
        pictures=lambda some: np.stack([shown[ImageSample(each, 1)] for each in some]),
        captions=_no_references,
    )


def _no_references(images: Sequence[str]) -> Captions:
    raise UsageError(
        "captions are scored against true ones, and these data have none; give them with --captions"
    )


def references(path: Path, *, numbered: bool) -> Callable[[Sequence[str]], Captions]:
    """Return a function from images to the true captions that a file has of them.

    Raises:
        DataError: the file cannot be read; on call, an image has none in it.
    """
    known: Mapping[str, tuple[str, ...]] = read_references(path, numbered=numbered)

    def of(images: Sequence[str]) -> Captions:
        missing = [image for image in images if image not in known]
        if missing:
            raise DataError(
                f"{path} has no true caption of {enumerated(missing)} ({len(missing)} of "
                f"{len(images)} images that are scored); add a line for each"
            )
        return tuple(known[image] for image in images)

    return of
