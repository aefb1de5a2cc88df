"""What is wrong with the numbers of sessions, noted while they are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainkit.errors import DataError

COMPARED_BYTES = 1 << 20
INT16 = np.iinfo(np.int16)


@dataclass
class Flaws:
    """Counts of voxels with flaws, gathered over sessions.

    Attributes:
        dead: int64 (voxels,), sessions in which a voxel is constant.
        not_finite: bool (voxels,), whether NaN or infinity was met.
        saturated: bool (voxels,), whether the smallest or largest int16 was met.
        n_not_finite: values that are NaN or infinite.
        n_saturated: values at either end of int16.
        paths: the file of each session met, by a hash of its trials.
    """

    dead: NDArray[np.int64]
    not_finite: NDArray[np.bool_]
    saturated: NDArray[np.bool_]
    n_not_finite: int = 0
    n_saturated: int = 0
    paths: dict[bytes, Path] = field(default_factory=dict)

    @classmethod
    def of(cls, n_voxels: int) -> Flaws:
        """Return the counts before any session is read."""
        none = np.zeros(n_voxels, dtype=np.bool_)
        return cls(np.zeros(n_voxels, dtype=np.int64), none.copy(), none.copy())

    def note(self, raw: NDArray[Any], path: Path, nan_policy: str) -> None:
        """Note what is wrong with a session's trials (trials, voxels); NaN becomes 0 in place.

        Raises:
            DataError: NaN or infinity with nan_policy "error", no signal in any voxel, or the
                trials of another session.
        """
        if raw.dtype.kind == "f":
            self._note_not_finite(raw, path, nan_policy)
        lowest, highest = raw.min(axis=0), raw.max(axis=0)
        constant = lowest == highest
        if constant.all():
            raise DataError(_no_signal(path, lowest, len(raw)))
        self.dead += constant
        if raw.dtype == np.int16:
            self._note_saturated(raw, (lowest == INT16.min) | (highest == INT16.max))
        self._note_copy(raw, path)

    def sentences(self, n_sessions: int, roi: str, nan_policy: str) -> list[str]:
        """Return what was noted of voxels in so many sessions, a sentence a kind."""
        told = []
        always = int((self.dead == n_sessions).sum())
        sometimes = int((self.dead > 0).sum()) - always
        if always or sometimes:
            told.append(
                f"ROI {roi}: {_voxels(always)} without signal in all sessions and "
                f"{sometimes} more in some; their values are constant there, standardised ones 0"
            )
        if self.n_not_finite:
            done = "left out" if nan_policy == "drop" else "set to 0"
            told.append(
                f"ROI {roi}: {_voxels(int(self.not_finite.sum()))} with {self.n_not_finite} values "
                f"that are NaN or infinite, {done}"
            )
        if self.n_saturated:
            told.append(
                f"ROI {roi}: {_voxels(int(self.saturated.sum()))} with {self.n_saturated} values "
                "at the smallest or largest number that int16 holds, so they were cut off there"
            )
        return told

    def _note_not_finite(self, raw: NDArray[Any], path: Path, nan_policy: str) -> None:
        bad = ~np.isfinite(raw)
        voxels, values = int(bad.any(axis=0).sum()), int(bad.sum())
        if voxels and nan_policy == "error":
            raise DataError(
                f"{path} holds NaN or infinity in {_voxels(voxels)} ({values} values), expected "
                "finite numbers; give nan_policy='drop' or 'zero', or use released files"
            )
        raw[bad] = 0
        self.not_finite |= bad.any(axis=0)
        self.n_not_finite += values

    def _note_saturated(self, raw: NDArray[Any], voxels: NDArray[np.bool_]) -> None:
        if voxels.any():
            extreme = raw[:, voxels]
            self.n_saturated += int(((extreme == INT16.min) | (extreme == INT16.max)).sum())
            self.saturated |= voxels

    def _note_copy(self, raw: NDArray[Any], path: Path) -> None:
        """Hash trials spread over the session: about a megabyte, which no other session repeats."""
        step = max(1, raw.nbytes // COMPARED_BYTES)
        digest = sha256(raw[::step].tobytes()).digest()
        twin = self.paths.setdefault(digest, path)
        if twin != path:
            raise DataError(
                f"{path} holds the same betas as {twin.name}; one of them is a copy under another "
                "name, download both again"
            )


def _no_signal(path: Path, values: NDArray[Any], n_trials: int) -> str:
    constant = len(np.unique(values)) == 1
    held = f"{values[0]}" if constant else "one number a voxel"
    return (
        f"{path} holds {held} in all {n_trials} trials of all {len(values)} voxels, so it was "
        "never filled or these voxels have no signal; download it again, or choose another ROI"
    )


def _voxels(count: int) -> str:
    return f"{count} voxel" if count == 1 else f"{count} voxels"
