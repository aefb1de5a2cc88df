"""Which session files are wanted, which are there, and in which format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from brainkit.errors import DataError, UsageError, did_you_mean
from brainkit.nsd.files import exists, flaw, left_overs

FORMATS = {"auto": (".hdf5", ".nii.gz"), "hdf5": (".hdf5",), "nifti": (".nii.gz",)}


@dataclass(frozen=True)
class SessionFile:
    """One session's betas on disk: its 1-based number and its file."""

    session: int
    path: Path


def session_path(folder: Path, session: int, suffix: str) -> Path:
    """Return the path of a session's betas.

    >>> session_path(Path("b"), 7, ".hdf5").as_posix()
    'b/betas_session07.hdf5'
    """
    return folder / f"betas_session{session:02d}{suffix}"


def present_sessions(folder: Path, total: int, suffixes: Sequence[str]) -> list[int]:
    """Return the sessions that have a file, usable or not; names are built, never listed."""
    return [session for session in range(1, total + 1) if _pick(folder, session, suffixes)]


def find_sessions(
    folder: Path, wanted: str | int | Sequence[int], *, total: int, beta_format: str
) -> tuple[SessionFile, ...]:
    """Return the files of the wanted sessions in ascending order.

    Args:
        folder: folder of one preparation.
        wanted: "available", a number n (the first n sessions), or 1-based sessions.
        total: sessions the subject did in all.
        beta_format: "auto" (HDF5 where it is there, else NIfTI), "hdf5" or "nifti".

    Raises:
        UsageError: the sessions or the format asked for do not exist.
        DataError: files are missing (all are named at once), empty, or mere pointers.
    """
    if beta_format not in FORMATS:
        hint = did_you_mean(beta_format, FORMATS)
        raise UsageError(f"beta_format is {beta_format!r}, expected auto, hdf5 or nifti.{hint}")
    suffixes = FORMATS[beta_format]
    present = present_sessions(folder, total, suffixes)
    sessions = _numbers(wanted, total) or present
    missing = [session for session in sessions if session not in present]
    if missing or not sessions:
        raise DataError(_missing(folder, missing or [1], present, suffixes))
    files = tuple(
        SessionFile(session, path)
        for session in sessions
        if (path := _pick(folder, session, suffixes)) is not None
    )
    _require_usable(files)
    return files


def left_over_sessions(folder: Path, total: int) -> list[int]:
    """Return the sessions of which only a partial download is there."""
    whole = present_sessions(folder, total, FORMATS["auto"])
    return [
        session
        for session in range(1, total + 1)
        if session not in whole and _parts(folder, session, FORMATS["auto"])
    ]


def session_notes(folder: Path, files: Sequence[SessionFile], total: int) -> list[str]:
    """Return sentences on the sessions of a subject that did so many, but has not all."""
    notes = []
    partial = left_over_sessions(folder, total)
    if partial:
        names = ", ".join(f"{session:02d}" for session in partial)
        notes.append(f"{folder} has only partial downloads of sessions {names}; they are left out")
    if len(files) < total:
        notes.append(
            f"{len(files)} of {total} sessions are there, so scores are not comparable with those "
            "of all sessions: other training and test images"
        )
    return notes


def _numbers(wanted: str | int | Sequence[int], total: int) -> list[int]:
    """Return the sessions asked for; an empty list stands for those available."""
    if isinstance(wanted, str):
        if wanted != "available":
            raise UsageError(
                f"selection.sessions is {wanted!r}, expected 'available', a number or a list"
            )
        return []
    asked = list(range(1, wanted + 1)) if isinstance(wanted, int) else sorted(set(wanted))
    wrong = [session for session in asked if not 1 <= session <= total]
    if wrong or not asked:
        raise UsageError(
            f"selection.sessions is {wanted!r}, but this subject has sessions 1 to {total}"
        )
    return asked


def _pick(folder: Path, session: int, suffixes: Sequence[str]) -> Path | None:
    """Return a session's file: the first usable one, else the first that is at least there."""
    paths = [session_path(folder, session, suffix) for suffix in suffixes]
    there = [path for path in paths if exists(path) or path.is_symlink()]
    usable = [path for path in there if flaw(path) is None]
    return next(iter(usable or there), None)


def _require_usable(files: Sequence[SessionFile]) -> None:
    flaws = [(file, said) for file in files if (said := flaw(file.path)) is not None]
    if not flaws:
        return
    first, said = flaws[0]
    others = ", ".join(f"{file.session:02d}" for file, _ in flaws[1:])
    more = f" (likewise sessions {others})" if others else ""
    raise DataError(f"{first.path} {said}{more}")


def _missing(
    folder: Path, missing: Sequence[int], present: Sequence[int], suffixes: Sequence[str]
) -> str:
    names = ", ".join(f"{session:02d}" for session in missing)
    has = ", ".join(f"{session:02d}" for session in present) or "none"
    first = session_path(folder, missing[0], "").name
    sentence = (
        f"missing session {names}: {folder} has no {first}{' or '.join(suffixes)}"
        f"{_hint(folder, missing, suffixes)}; present: {has}; download the missing sessions or "
        "choose others with selection.sessions"
    )
    return sentence


def _hint(folder: Path, missing: Sequence[int], suffixes: Sequence[str]) -> str:
    parts = [part for session in missing for part in _parts(folder, session, suffixes)]
    if parts:
        return f", only a partial download {parts[0].name} of {parts[0].stat().st_size} bytes"
    unpacked = session_path(folder, missing[0], ".nii")
    if ".nii.gz" in suffixes and exists(unpacked):
        return (
            f"; there is {unpacked.name}, not packed: pack such files with `gzip {unpacked.name}`"
        )
    other = session_path(folder, missing[0], "").name
    stems = (other, other.replace("session0", "session"))
    names = [folder / f"{stem}{suffix}" for stem in stems for suffix in (".hdf5", ".nii.gz")]
    near = [path.name for path in names if exists(path)]
    return f" (there is {near[0]})" if near else ""


def _parts(folder: Path, session: int, suffixes: Sequence[str]) -> list[Path]:
    paths = [session_path(folder, session, suffix) for suffix in suffixes]
    return [part for path in paths for part in left_overs(path)]
