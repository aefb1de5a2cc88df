"""What files hold, remembered on this machine, so that large ones are read once."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from brainkit.checkpoints.home import home

NOTE = "contents.jsonl"
"""The name of the file in brainkit's home that remembers."""
WHOLE = 1 << 32
"""Bytes up to which a file is read whole; of a larger one, `BLOCKS` evenly spaced blocks."""
BLOCKS, BLOCK = 4096, 4096


class Identity(NamedTuple):
    """What the system says of a file; whoever replaces or writes it changes the time of change.

    Unlike the time of modification that cannot be set, by `rsync -a` or `touch` say.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> Identity:
        """Ask the system."""
        status = path.stat()
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def identity(path: Path) -> Identity | None:
    """Return what the system says of a file; None where there is none, or it may not be asked."""
    try:
        return Identity.of(path)
    except OSError:
        return None


def content(path: Path) -> str:
    """Return a hash of what a file holds, 64 hex digits; it is read once for each state of it.

    Where nothing can be remembered, as in a home that is read-only, it is "" of a file not known.
    """
    key = f"{path.resolve()} {list(Identity.of(path))}"
    return _known().get(key) or _remembered(key, path)


def revision(key: str, path: Path) -> str:
    """Return "" while a file holds what was first known under a key, else a hash of what it holds.

    Args:
        key: what usually tells one content from another, e.g. name, size and some blocks.
        path: of the file.
    """
    found = content(path)
    first = _known().get(key)
    if first is None and found:
        _remember(key, found)
    return "" if first in (None, found) else found


def _remembered(key: str, path: Path) -> str:
    # Asked before the reading, which may take minutes.
    if not _remember(key, ""):
        return ""
    found = _read(path)
    _remember(key, found)
    return found


def _read(path: Path) -> str:
    digest, size = sha256(), path.stat().st_size
    with path.open("rb") as file:
        if size <= WHOLE:
            while block := file.read(1 << 22):
                digest.update(block)
        else:
            for index in range(BLOCKS):
                file.seek((size - BLOCK) * index // (BLOCKS - 1))
                digest.update(file.read(BLOCK))
    return digest.hexdigest()


def _remember(key: str, found: str) -> bool:
    """Add a line; say whether that was possible."""
    note = home() / NOTE
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        with note.open("ab") as file:
            # One write: lines of several processes do not mix.
            file.write((json.dumps([key, found]) + "\n").encode() if found else b"")
    except OSError:
        return False
    return True


def _known() -> Mapping[str, str]:
    note = home() / NOTE
    try:
        status = os.stat(note)
    except OSError:
        return {}
    return _lines(note, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4)
def _lines(note: Path, size: int, mtime_ns: int) -> Mapping[str, str]:
    known: dict[str, str] = {}
    for line in note.read_bytes().split(b"\n"):
        try:
            key, found = json.loads(line)
        except (ValueError, TypeError, RecursionError):
            continue
        if isinstance(key, str) and isinstance(found, str):
            known.setdefault(key, found)
    return known
