"""The miniature: a small simulated NSD subject on disk, made on first use.

`docs/miniature.md` says what it is, what its scores mean, and what they do not.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from brainkit.checkpoints.home import home
from brainkit.console import to_stderr
from brainkit.disk import writing
from brainkit.errors import UsageError
from brainkit.locks import locked

if TYPE_CHECKING:
    from brainkit.miniature.brain import Difficulty

__all__ = ["MiniaturePaths", "is_made", "miniature"]

REMEDY = "with BRAINKIT_HOME, where 100 MB are free"
MADE_BY = ("brain.py", "download.py", "drawing.py", "scenes.py")


@dataclass(frozen=True)
class MiniaturePaths:
    """Where a miniature lies.

    Attributes:
        nsd: folder laid out as an NSD download, with subject 1.
    """

    nsd: Path


def miniature(
    cache: Path | None = None, difficulty: Difficulty | None = None, seed: int = 0
) -> MiniaturePaths:
    """Return the simulated subject, making it on first use (seconds, about 70 MB).

    The same difficulty, seed and brainkit give the same bytes; another brainkit whose miniature
    differs makes its own folder.

    Args:
        cache: folder to keep it in; `miniature` below `BRAINKIT_HOME` or the user's cache folder
            by default.
        difficulty: how hard the subject is to decode; `Difficulty()` by default.
        seed: another subject looking at other pictures, 0 to 99.

    Raises:
        UsageError: the seed is out of range.
        UnwritableError: the folder cannot be written.
        BusyError: another process makes it, for longer than one waits.
    """
    folder = _folder(cache, difficulty, seed)
    if folder.is_dir():
        return MiniaturePaths(folder)
    with (
        writing(folder, REMEDY),
        locked(Path(f"{folder}.lock"), str(folder), to_stderr, remedy=REMEDY),
    ):
        # Nobody else makes this folder now, so what is left of it is a killed process's.
        for left in folder.parent.glob(f"{folder.name}.*.part"):
            shutil.rmtree(left, ignore_errors=True)
        if not folder.is_dir():
            _make(folder, difficulty, seed)
    return MiniaturePaths(folder)


def is_made(cache: Path | None = None, difficulty: Difficulty | None = None, seed: int = 0) -> bool:
    """Say whether `miniature` with these arguments has nothing left to make."""
    return _folder(cache, difficulty, seed).is_dir()


def _folder(cache: Path | None, difficulty: Difficulty | None, seed: int) -> Path:
    from brainkit.miniature.brain import Difficulty

    if not 0 <= seed < 100:
        raise UsageError(f"the miniature's seed is {seed}; give a number from 0 to 99")
    digest = hashlib.sha256(f"{difficulty or Difficulty()} {seed}".encode())
    for name in MADE_BY:
        digest.update((Path(__file__).parent / name).read_bytes())
    return (cache or home() / "miniature") / f"nsd-{digest.hexdigest()[:12]}"


def _make(folder: Path, difficulty: Difficulty | None, seed: int) -> None:
    from brainkit.miniature.brain import Difficulty
    from brainkit.miniature.download import write_download

    aside = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", suffix=".part", dir=folder.parent))
    try:
        write_download(aside, difficulty or Difficulty(), seed)
        aside.chmod(0o755)
        aside.rename(folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
