"""The file of captions: a line of JSON a draw, each with the stamp of what made it."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from brainkit.disk import UnwritableError, written_aside
from brainkit.run import records
from brainkit.run.artefact import Artefact
from brainkit.run.folder import lock_of
from brainkit.run.records import unharmed
from brainkit.run.shared import Draw

SURROGATE = re.compile("[\ud800-\udfff]")
WHOLE = "captions"
"""Stands for a stamp in records of the file, whose lines have one each."""
GROWING = ".part"
"""Ends the name of a file that grows beside it."""
CHECK = "check"
"""What a line of a file that grows calls its own hash."""


class CaptionLines(Mapping[Draw, Mapping[str, Any]]):
    """The lines of the file and of what grows beside it, read again when another process adds some.

    Attributes:
        growing: a file of the lines that are not in the file yet.
        damage: how the file differs from what was written, "" if not; then its lines do not count.
    """

    def __init__(self, path: Path) -> None:
        """Begin with what is there."""
        self._path, self.growing = path, path.with_name(path.name + GROWING)
        self.damage = captions_damage(path)
        self._damaged = _state(path) if self.damage else None
        self._states: tuple[object, ...] = ()
        self._lines: Mapping[Draw, Mapping[str, Any]] = {}

    def __getitem__(self, draw: Draw) -> Mapping[str, Any]:
        """Return the line of a draw."""
        return self._now()[draw]

    def __iter__(self) -> Iterator[Draw]:
        """Go through the draws."""
        return iter(self._now())

    def __len__(self) -> int:
        """Return how many draws there are."""
        return len(self._now())

    def _now(self) -> Mapping[Draw, Mapping[str, Any]]:
        states = (_state(self._path), _state(self.growing))
        if states != self._states:
            whole = states[0] != self._damaged
            self._lines = {
                **(read_captions(self._path) if whole else {}),
                **read_captions(self.growing),
            }
            self._states = states
        return self._lines


def _state(path: Path) -> object:
    """Return what changes with a file; None while there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino


@dataclass(frozen=True)
class CaptionLine(Artefact):
    """One line of the file.

    Attributes:
        draw: whose caption it is.
        lines: what the file holds, by draw.
    """

    draw: Draw
    lines: Mapping[Draw, Mapping[str, Any]]

    @property
    def lock(self) -> Path:
        """The lock of this line alone: processes may decode those of different images at once."""
        return lock_of(self.path.with_name(f"{self.path.name}-{self.draw.name}"))

    @property
    def current(self) -> bool:
        """Whether the file has the line with its stamp."""
        return bool(self.lines.get(self.draw, {}).get("stamp") == self.stamp)

    def damage(self) -> str:
        """Return nothing: lines that a damaged file lost are not among its lines."""
        return ""

    def intact(self) -> Path:
        """Return the path of the file, once all of it is known to be as it was written.

        Raises:
            DataError: it went or was changed after the run had looked at it.
        """
        return unharmed(self.path, captions_damage(self.path))

    def confirm(self) -> None:
        """Do nothing: what is recorded is the whole file."""

    def why(self, reached: Collection[Path] = ()) -> str:
        """Say why the line is not current."""
        return "its latent or the decoder changed" if self.lines else "new"

    def entry(self, caption: str) -> dict[str, Any]:
        """Return the line with a caption, ready for JSON."""
        which = {"sample": self.draw.sample} if self.draw.sample > 1 else {}
        return {
            "image_id": self.draw.image,
            **which,
            "caption": caption,
            "stamp": self.stamp,
        }


def caption_line(entry: Mapping[str, Any], *, checked: bool = False) -> str:
    """Return an entry as one line of JSON with its newline.

    Args:
        entry: of one draw.
        checked: whether the line carries its own hash, as one does that no record speaks of yet.
    """
    checks = {CHECK: _digest(entry)} if checked else {}
    text = json.dumps({**entry, **checks}, ensure_ascii=False)
    # Some readers break lines at U+2028 or U+0085 too, and lone surrogates are not UTF-8.
    plain = len(text.splitlines()) == 1 and not SURROGATE.search(text)
    return (text if plain else json.dumps({**entry, **checks})) + "\n"


def read_captions(path: Path) -> dict[Draw, dict[str, Any]]:
    """Read the file as draw -> line; lines that are cut off or of another shape are left out."""
    try:
        content = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        return {}
    entries = [entry for line in content.split(b"\n") if (entry := _entry(line))]
    return {Draw(entry["image_id"], entry.get("sample", 1)): entry for entry in entries}


def _entry(line: bytes) -> dict[str, Any]:
    """Return what a line says; {} when it is not whole or not a caption."""
    try:
        entry = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(entry, dict):
        return {}
    check = entry.pop(CHECK, None)
    numbers = (entry.get("image_id"), entry.get("sample", 1))
    texts = (entry.get("caption"), entry.get("stamp"))
    whole = all(type(each) is int for each in numbers) and all(type(each) is str for each in texts)
    return entry if whole and check in (None, _digest(entry)) else {}


def _digest(entry: Mapping[str, Any]) -> str:
    return sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()[:16]


def captions_damage(path: Path) -> str:
    """Return how the file differs from what was written, to follow its name; "" if not."""
    return (records.damage(path, WHOLE) or "") if path.is_file() else ""


def write_captions(path: Path, lines: Mapping[Draw, Mapping[str, Any]]) -> None:
    """Write the file and its record, sorted by draw, whole or not at all."""
    with written_aside(path) as aside:
        aside.write_text("".join(caption_line(lines[draw]) for draw in sorted(lines)), "utf-8")
        # Before the file has its name: the record of the one before still holds for that one.
        records.record(aside, WHOLE, path.name)


def confirm_captions(path: Path) -> None:
    """Record a file that has no record, or was copied, where its folder allows it."""
    with suppress(OSError, UnwritableError):
        if path.is_file() and not records.is_recorded(path, WHOLE):
            records.record(path, WHOLE)


def printable_caption(text: str) -> str:
    """Return a caption without lone surrogates, which neither pages nor tokenizers can hold."""
    return SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)
