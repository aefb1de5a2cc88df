"""One subject's responses as somebody has them, checked and brought to trials by voxels."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainkit.errors import DataError, UsageError
from brainkit.names import Subject, unfit_subject
from brainkit.nsd.layout import Volume

NAME_OF_REGION = re.compile(r"(?!lh\.|rh\.)[A-Za-z0-9][A-Za-z0-9_.+-]{0,59}")
ALL_VOXELS = "nsdgeneral"
NUMBERS = 8
Series = Any
"""Betas of a session that NumPy can read: (trials, voxels), or (X, Y, Z, trials)."""


@dataclass(frozen=True)
class Recording:
    """One subject's responses to pictures.

    Attributes:
        subject: a name such as "sub-CSI1", or a number.
        sessions: betas of each session, floats or integers: arrays or memory maps (trials, voxels),
            or (X, Y, Z, trials).
        images: for each session the picture of each trial, by name or 0-based number.
        mask: bool (X, Y, Z), which voxels to take; columns of (trials, voxels) are `volume[mask]`.
            Without one all columns are taken, or of volumes what is finite and varies in each
            session.
        regions: labels, whole numbers above 0 in a region, (X, Y, Z) or (voxels,), by name.
        labels: for a name of `regions`, label number to name; "1" and so on by default.
        affine: float (4, 4), voxel to millimetre; voxels of 1 mm by default.
        source: what each session comes from, for messages; its number by default.
    """

    subject: Subject
    sessions: Sequence[Series]
    images: Sequence[Sequence[str | int]]
    mask: NDArray[Any] | None = None
    regions: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    labels: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    affine: NDArray[Any] | None = None
    source: Sequence[str] = ()

    def check(self) -> Recording:
        """Check names, shapes and counts, and return the recording.

        Raises:
            UsageError: the subject or a region has a name that cannot be.
            DataError: shapes or counts contradict each other.
        """
        if isinstance(self.subject, str) and unfit_subject(self.subject):
            raise UsageError(f"the name of a subject is {unfit_subject(self.subject)}")
        if isinstance(self.subject, int) and not 1 <= self.subject <= NUMBERS:
            raise UsageError(
                f"the subject is {self.subject}, expected a number from 1 to {NUMBERS} or a name "
                "such as sub-01"
            )
        if not self.sessions or len(self.sessions) != len(self.images):
            raise DataError(
                f"{self._who} has {len(self.sessions)} sessions of betas and {len(self.images)} of "
                "trials, expected one list of trials for each session"
            )
        for place, (betas, images) in enumerate(zip(self.sessions, self.images, strict=True)):
            self._check_session(place, betas.shape, len(images))
        for name, labels in self.regions.items():
            self._check_region(name, np.asarray(labels))
        return self

    @property
    def volume(self) -> Volume:
        """Size of the grid; (voxels, 1, 1) of betas that lie on none."""
        if self.mask is not None:
            x, y, z = self.mask.shape
        elif len(self.sessions[0].shape) == 4:
            x, y, z = self.sessions[0].shape[:3]
        else:
            x, y, z = self.sessions[0].shape[1], 1, 1
        return int(x), int(y), int(z)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Trials of each session."""
        return tuple(len(images) for images in self.images)

    @cached_property
    def inside(self) -> NDArray[np.bool_]:
        """Which voxels are taken, bool (X, Y, Z).

        Raises:
            DataError: there are none.
        """
        if self.mask is not None:
            inside = np.asarray(self.mask) > 0
        elif len(self.sessions[0].shape) == 4:
            inside = np.logical_and.reduce([_varies(betas) for betas in self.sessions])
        else:
            inside = np.ones(self.volume, np.bool_)
        if not inside.any():
            raise DataError(f"{self._who}: no voxel is left; give a mask with voxels above 0")
        return inside

    def betas(self) -> Iterator[NDArray[np.float32]]:
        """Return each session's betas of the voxels taken, float32 (trials, voxels), one by one.

        Raises:
            DataError: a number is NaN or infinite, or a session has no signal.
        """
        for place, betas in enumerate(self.sessions):
            chosen = np.asarray(betas)
            chosen = chosen[self.inside].T if chosen.ndim == 4 else chosen
            trials: NDArray[np.float32] = chosen.astype(np.float32)
            self._check_numbers(place, trials)
            yield trials

    def region(self, name: str) -> NDArray[np.int16]:
        """Return a region's labels, int16 (X, Y, Z), -1 where no voxel is taken."""
        labels = np.asarray(self.regions[name])
        volume = np.full(self.volume, -1, np.int16)
        volume[self.inside] = labels if labels.ndim == 1 else labels[self.inside]
        return volume

    def names(self, name: str) -> dict[int, str]:
        """Return the names of a region's labels by number."""
        numbers = np.unique(np.asarray(self.regions[name]))
        named = {int(each): str(int(each)) for each in numbers if each > 0}
        only = dict.fromkeys(named, name) if len(named) == 1 else named
        return only | {int(n): text for n, text in self.labels.get(name, {}).items()}

    @property
    def _who(self) -> str:
        return f"subject {self.subject}"

    def _session(self, place: int) -> str:
        source = f" ({self.source[place]})" if place < len(self.source) else ""
        return f"{self._who}, session {place + 1}{source}"

    def _check_session(self, place: int, shape: tuple[int, ...], n_images: int) -> None:
        if len(shape) not in (2, 4):
            raise DataError(
                f"{self._session(place)}: betas have the shape {shape}, expected (trials, voxels) "
                "or (X, Y, Z, trials); give the axes, or another file"
            )
        first = self.sessions[0].shape
        of_all = shape[:3] if len(shape) == 4 else shape[1:]
        if len(shape) != len(first) or of_all != (first[:3] if len(first) == 4 else first[1:]):
            raise DataError(
                f"{self._session(place)}: betas have the shape {shape}, those of session 1 "
                f"{first}; all sessions of a subject need the same voxels"
            )
        trials = shape[3] if len(shape) == 4 else shape[0]
        if trials != n_images or not trials:
            raise DataError(
                f"{self._session(place)}: there are betas of {trials} trials, but {n_images} "
                "pictures are named; give one picture a trial, in the order of the betas"
            )
        if self.mask is not None and place == 0:
            self._check_mask(np.asarray(self.mask), shape)

    def _check_mask(self, mask: NDArray[Any], shape: tuple[int, ...]) -> None:
        count = int((mask > 0).sum())
        fits = mask.shape == shape[:3] if len(shape) == 4 else count == shape[1]
        if mask.ndim != 3 or not fits:
            expected = shape[:3] if len(shape) == 4 else f"(X, Y, Z) with {shape[1]} above 0"
            raise DataError(
                f"{self._who}: the mask is {mask.shape} with {count} voxels above 0, expected "
                f"{expected}; give the mask that these betas were taken with"
            )

    def _check_region(self, name: str, labels: NDArray[Any]) -> None:
        if not NAME_OF_REGION.fullmatch(name) or name == ALL_VOXELS:
            raise UsageError(
                f"a region is called {name!r:.60}, expected letters, digits, _, ., + and -; "
                f"{ALL_VOXELS} stands for all voxels"
            )
        taken = int(self.inside.sum())
        if labels.shape not in (self.volume, (taken,)):
            raise DataError(
                f"{self._who}: region {name} has the shape {labels.shape}, expected {self.volume} "
                f"or ({taken},); give it on the grid of the betas"
            )
        whole = labels.dtype.kind in "biu" or np.array_equal(labels, np.rint(labels))
        if not whole or np.abs(labels).max(initial=0) > np.iinfo(np.int16).max:
            raise DataError(
                f"{self._who}: region {name} holds values that are no labels, expected whole "
                f"numbers up to {np.iinfo(np.int16).max}"
            )
        unfit = [text for text in self.labels.get(name, {}).values() if len(text.split()) != 1]
        if unfit:
            raise UsageError(
                f"a label of region {name} is called {unfit[0]!r:.60}, expected a name without "
                "spaces"
            )

    def _check_numbers(self, place: int, trials: NDArray[np.float32]) -> None:
        wrong = ~np.isfinite(trials)
        if wrong.any():
            raise DataError(
                f"{self._session(place)} holds NaN or infinity in {int(wrong.any(0).sum())} of "
                f"{trials.shape[1]} voxels ({int(wrong.sum())} values); leave these voxels out "
                "by a mask"
            )
        if (trials.min(0) == trials.max(0)).all():
            raise DataError(
                f"{self._session(place)} holds the same numbers in all {len(trials)} trials; it "
                "has no signal, or was never filled"
            )


def _varies(betas: Series) -> NDArray[np.bool_]:
    """Say which voxels of (X, Y, Z, trials) are finite and not constant."""
    values = np.asarray(betas)
    with np.errstate(invalid="ignore"):
        lowest, highest = values.min(-1), values.max(-1)
    varies: NDArray[np.bool_] = np.isfinite(lowest) & np.isfinite(highest) & (lowest < highest)
    return varies
