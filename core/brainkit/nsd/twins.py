"""Find what is there twice: session files with one content, photographs under two ids."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from brainkit.nsd.files import told

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
