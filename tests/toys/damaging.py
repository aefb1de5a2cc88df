"""Ways to damage a file, which the suite and the battery share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

Damage = Callable[[Path], object]


def flipped(share: float) -> Damage:
    """Return what flips a bit at a share of a file's length."""

    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[int(share * (len(content) - 1))] ^= 1
        path.write_bytes(content)

    return flip


def cut(share: float) -> Damage:
    """Return what cuts a file off at a share of its length."""
    return lambda path: os.truncate(path, int(share * path.stat().st_size))


def dangling(path: Path) -> None:
    """Put a link to nowhere in a file's place."""
    path.unlink()
    path.symlink_to(path.parent / "nowhere")


EVERYWHERE: dict[str, Damage] = {
    "flipped at the start": flipped(0.001),
    "flipped in the middle": flipped(0.5),
    "flipped at the end": flipped(1),
    "cut in the header": cut(0.01),
    "cut in the middle": cut(0.5),
    "cut at the end": cut(0.999),
    "emptied": cut(0),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0more"),
    "not UTF-8": lambda path: path.write_bytes(b"\xff\xfe\0" * 9),
}
