"""The miniature: a small simulated NSD on disk, made on first use.

`docs/miniature.md` says what it is, what its scores mean, and what they do not.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from brainkit.checkpoints.home import home
from brainkit.console import to_stderr
from brainkit.disk import writing
from brainkit.errors import UsageError
from brainkit.locks import locked

if TYPE_CHECKING:
    from brainkit.miniature.difficulty import Difficulty

__all__ = ["MiniaturePaths", "is_made", "miniature"]

REMEDY = "with BRAINKIT_HOME, where 100 MB are free"
MADE_BY = (
    *("brain.py", "design.py", "difficulty.py", "download.py", "drawing.py", "people.py"),
    *("regions.py", "scenes.py"),
)


@dataclass(frozen=True)
class MiniaturePaths:
    """Where a miniature lies.

    Attributes:
        nsd: folder laid out as an NSD download, with the subjects asked for.
    """

    nsd: Path


def miniature(
    cache: Path | None = None,
    difficulty: Difficulty | None = None,
    seed: int = 0,
    *,
    subjects: Sequence[int] = (1,),
) -> MiniaturePaths:
    """Return simulated subjects, making those that are not there yet (seconds, 49 MB each).

    The same difficulty, seed and brainkit give the same bytes; another brainkit whose miniature
    differs makes its own folder. Subject 1 alone has a folder without the other subjects' pictures.
    All else shares one folder with the pictures of all, to which subjects are added when asked for;
    there subject 1 has the same betas, regions, image ids, pictures and captions.

    Args:
        cache: folder to keep it in; `miniature` below `BRAINKIT_HOME` or the user's cache folder
            by default.
        difficulty: how hard subject 1 is to decode; `Difficulty()` by default.
        seed: other people looking at other pictures, 0 to 99.
        subjects: among 1, 2, 5 and 7.

    Raises:
        UsageError: the seed or a subject is out of range.
        UnwritableError: the folder cannot be written.
        BusyError: another process makes it, for longer than one waits.
    """
    folder = _folder(cache, difficulty, seed, subjects)
    if _lacking(folder, subjects):
        with (
            writing(folder, REMEDY),
            locked(Path(f"{folder}.lock"), str(folder), to_stderr, remedy=REMEDY),
        ):
            # Nobody else makes this folder now, so what is left of it is a killed process's.
            for left in folder.parent.glob(f"{folder.name}.*.part"):
                shutil.rmtree(left, ignore_errors=True)
            _make(folder, difficulty, seed, subjects)
    return MiniaturePaths(folder)


def is_made(
    cache: Path | None = None,
    difficulty: Difficulty | None = None,
    seed: int = 0,
    *,
    subjects: Sequence[int] = (1,),
) -> bool:
    """Say whether `miniature` with these arguments has nothing left to make."""
    return not _lacking(_folder(cache, difficulty, seed, subjects), subjects)


def _folder(
    cache: Path | None, difficulty: Difficulty | None, seed: int, subjects: Sequence[int]
) -> Path:
    from brainkit.miniature.difficulty import Difficulty
    from brainkit.miniature.people import SEEDS, require_subjects

    require_subjects(subjects)
    if not 0 <= seed < SEEDS:
        raise UsageError(f"the miniature's seed is {seed}; give a number from 0 to {SEEDS - 1}")
    digest = hashlib.sha256(f"{difficulty or Difficulty()} {seed}".encode())
    for name in MADE_BY:
        digest.update((Path(__file__).parent / name).read_bytes())
    several = "" if _first_alone(subjects) else "-subjects"
    return (cache or home() / "miniature") / f"nsd-{digest.hexdigest()[:12]}{several}"


def _first_alone(subjects: Sequence[int]) -> bool:
    return set(subjects) == {1}


def _lacking(folder: Path, subjects: Sequence[int]) -> list[int]:
    """Return the subjects that are still to be made; of each the betas appear last."""
    from brainkit.nsd.files import subject_name

    betas = folder / "nsddata_betas" / "ppdata"
    return [each for each in sorted({*subjects}) if not (betas / subject_name(each)).is_dir()]


def _make(folder: Path, difficulty: Difficulty | None, seed: int, subjects: Sequence[int]) -> None:
    from brainkit.miniature.difficulty import Difficulty
    from brainkit.miniature.download import World, write_common, write_download, write_subject
    from brainkit.miniature.people import VOXELS

    difficulty = difficulty or Difficulty()
    world = World(difficulty, seed, tuple(VOXELS))
    if not folder.is_dir():
        with _aside(folder) as aside:
            if _first_alone(subjects):
                write_download(aside, difficulty, seed)
            else:
                write_common(aside, world)
            aside.chmod(0o755)
            aside.rename(folder)
    for subject in _lacking(folder, subjects):
        with _aside(folder) as aside:
            write_subject(folder, world, subject, aside)
            _add(folder, aside, subject)


def _add(folder: Path, aside: Path, subject: int) -> None:
    """Move a subject's folders to their places, the betas last."""
    from brainkit.nsd.files import subject_name

    for part in ("nsddata/freesurfer", "nsddata/ppdata", "nsddata_betas/ppdata"):
        place = folder / part / subject_name(subject)
        shutil.rmtree(place, ignore_errors=True)  # a killed process may have come so far
        place.parent.mkdir(parents=True, exist_ok=True)
        (aside / part / subject_name(subject)).rename(place)


@contextmanager
def _aside(folder: Path) -> Iterator[Path]:
    """Make a folder beside another, to be renamed; it is gone afterwards."""
    aside = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", suffix=".part", dir=folder.parent))
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)
