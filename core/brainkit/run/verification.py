"""Whether the files of runs are as they were written: every hash, whatever their recipes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from brainkit.errors import UsageError
from brainkit.run.artefact import read_recipe
from brainkit.run.journal import STATE
from brainkit.run.records import RECORDS, FileRecord, difference, records_in
from brainkit.run.structure import broken
from brainkit.schema import VerificationEntry
from brainkit.tables import Block


@dataclass(frozen=True)
class Verification:
    """What was found out about the files in a folder and below.

    Attributes:
        folder: that was looked through.
        sound: files whose content is that of their record.
        unrecorded: whole files without a record, as an earlier brainkit wrote them.
        damaged: others, and what is wrong with each, to follow its name.
    """

    folder: Path
    sound: Sequence[Path]
    unrecorded: Sequence[Path]
    damaged: Sequence[tuple[Path, str]]

    def blocks(self) -> list[Block]:
        """Return a line for each damaged file and one that counts."""
        lines = [f"{path} {what}" for path, what in self.damaged]
        counts = f"{len(self.sound)} files sound, {len(self.damaged)} damaged"
        if self.unrecorded:
            counts += f", {len(self.unrecorded)} without a record (the next run adds one)"
        advice = ["Delete the damaged files and run again what made them."] * bool(lines)
        return [*lines, counts, *advice]

    def json(self) -> VerificationEntry:
        """Return the same for programs."""
        return {
            "folder": str(self.folder),
            "sound": len(self.sound),
            "unrecorded": [str(path) for path in self.unrecorded],
            "damaged": [{"file": str(path), "what": what} for path, what in self.damaged],
        }


def verify(folder: Path) -> Verification:
    """Read every file of results in a folder and below, and compare it with its record.

    Raises:
        UsageError: there are no results.
    """
    found = [(path, _found(path)) for path in _results(folder)] if folder.is_dir() else []
    if not found:
        raise UsageError(f"{folder} holds no results; give the --work of a run, or a folder below")
    return Verification(
        folder=folder,
        sound=[path for path, what in found if what == ""],
        unrecorded=[path for path, what in found if what is None],
        damaged=[(path, what) for path, what in found if what],
    )


def _results(folder: Path) -> Iterator[Path]:
    """Find the files that have a record or a recipe; recorded ones that were deleted are none."""
    for parent in sorted({folder, *(path for path in folder.rglob("*") if path.is_dir())}):
        recorded = records_in(parent)
        for path in sorted(parent.iterdir()) if parent.is_dir() else ():
            if path.name in recorded or _has_recipe(path):
                yield path


def _has_recipe(path: Path) -> bool:
    hidden = path.name == RECORDS or path.name.endswith(STATE)
    return not hidden and path.is_file() and bool(read_recipe(path))


def _found(path: Path) -> str | None:
    """Return what is wrong with a file; "" if nothing is, None if it has no record."""
    records: Sequence[FileRecord] = records_in(path.parent).get(path.name, ())
    try:
        if path.is_dir():
            return "is a folder"
        if not path.exists():
            return "is a link to nothing"
        return difference(path, records) if records else broken(path) or None
    except OSError as error:
        return f"cannot be read ({error.strerror})"
