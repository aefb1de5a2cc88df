"""Files that no run's recipes reach, and runs that are not wanted any more: found and removed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from brainkit.console import Say, human_size
from brainkit.disk import writing
from brainkit.errors import BrainkitError
from brainkit.plugins import Registry
from brainkit.run.artefact import STAMPED
from brainkit.run.finished import opened
from brainkit.run.folder import LOCKS, Folder, found_runs
from brainkit.run.line import run as walk
from brainkit.run.orphans import made_of
from brainkit.run.presence import removing
from brainkit.run.records import RECORDS


@dataclass(frozen=True)
class Spare:
    """What one subject's folder has that no run reaches.

    Attributes:
        subject: the folder.
        files: to be removed.
        refused: why nothing is, else empty.
    """

    subject: Path
    files: tuple[Path, ...] = ()
    refused: str = ""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(path.lstat().st_size for path in self.files)

    def lines(self) -> list[str]:
        """Return a line for each group of files: those of a folder of latents are one."""
        if self.refused:
            return [f"{self.subject}: nothing is removed, since {self.refused}"]
        groups: dict[Path, int] = {}
        for path in self.files:
            place = path.parent if STAMPED.search(path.parent.name) else path
            groups[place] = groups.get(place, 0) + path.lstat().st_size
        return [f"{place}  {human_size(size)}" for place, size in groups.items()]


def spare(path: Path, registry: Registry) -> list[Spare]:
    """Return what the subjects in a folder have that none of their runs reaches.

    Args:
        path: a work folder, one of data, of a subject, or of a run.
        registry: the parts and methods there are.
    """
    subjects = dict.fromkeys(run.subject for run in found_runs(path)[0])
    return [_spare(subject, registry) for subject in subjects]


def _spare(subject: Path, registry: Registry) -> Spare:
    reached: set[Path] = set()
    for root in sorted(path for path in Folder.of(subject, "any").root.parent.iterdir()):
        if not root.is_dir() or root.name.startswith("."):
            continue
        try:
            run = opened(Folder(root), registry, lambda line: None)
            looking = run.looking()
            walk(looking)
        except BrainkitError as error:
            return Spare(subject, refused=f"what {root.name} needs cannot be told: {error}")
        # To know its test images a run may have read files already.
        reached |= run.work.reached | looking.work.reached
    # Of a folder of latents all images stay: a run may have been asked for fewer than it has.
    folders = {path.parent for path in reached if STAMPED.search(path.parent.name)}
    spare = (path for path in _shared(subject) if path.parent not in folders)
    return Spare(subject, tuple(path for path in spare if not _needed(path, reached)))


def _shared(subject: Path) -> Iterator[Path]:
    """Return the files of a subject that runs share, with what grows beside them."""
    for path in sorted(subject.iterdir()):
        if path.is_file() and STAMPED.search(made_of(path).stem):
            yield path
    for folder in Folder.of(subject, "any").shared:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.name != RECORDS and LOCKS not in path.parts:
                yield path


def _needed(path: Path, reached: set[Path]) -> bool:
    made = made_of(path)
    return made in reached or made.with_suffix(".safetensors") in reached


def prune(found: Sequence[Spare], registry: Registry, say: Say) -> int:
    """Remove what no run reaches, if that is still so; return the bytes that are free.

    Raises:
        BusyError: a process is at work on a subject.
    """
    freed = 0
    for before in found:
        with removing(before.subject, say), writing(before.subject):
            now = set(_spare(before.subject, registry).files)
            for path in (path for path in before.files if path in now):
                freed += path.lstat().st_size
                path.unlink()
            _tidy(before.files)
    return freed


def _tidy(files: Sequence[Path]) -> None:
    """Remove the folders of latents that are empty now."""
    for folder in {path.parent for path in files if STAMPED.search(path.parent.name)}:
        with suppress(OSError):
            if {path.name for path in folder.iterdir()} <= {RECORDS, LOCKS}:
                shutil.rmtree(folder)


def remove_run(folder: Folder, say: Say) -> None:
    """Remove a run's folder; what it shares with others stays until it is pruned.

    Raises:
        BusyError: a process is at work on the subject.
    """
    with removing(folder.subject, say), writing(folder.root):
        shutil.rmtree(folder.root)
