"""Read a pickle's opcodes one by one; of bytes that are many only the place in the file is kept."""

from __future__ import annotations

import pickletools
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

COPIED = 4096
"""Bytes up to which a piece of a file is read; of longer ones the place is kept."""


MAX_LINE = 1 << 16
"""Bytes up to which a line is read; names and numbers of pickles have under 200."""


class DamagedError(ValueError):
    """The file is not whole, or not of the expected kind."""


class RefusedError(ValueError):
    """The file has something that no file with weights has; the message names it."""


class Span(NamedTuple):
    """Bytes that a pickle holds, by their place in the file: the first, and the one behind them."""

    begin: int
    end: int


class Window:
    """A part of an open file that is read as files are, never beyond its end.

    Several windows may share a file, as each keeps its own place.

    Args:
        file: open for reading bytes.
        begin: first byte, counted in the file.
        end: behind the last byte; None for the file's own end.
    """

    def __init__(self, file: BinaryIO, begin: int = 0, end: int | None = None) -> None:
        self.file, self.place = file, begin
        self.end = file.seek(0, 2) if end is None else end
        self._ahead, self._begin = b"", begin

    def read(self, count: int) -> bytes:
        """Return the next bytes, as many as there are."""
        count = max(min(count, self.end - self.place), 0)
        start = self.place - self._begin
        if count > COPIED:
            self.file.seek(self.place)
            content = self.file.read(count)
        else:
            # Opcodes have few bytes each, so a block of them is read at once.
            if start < 0 or start + count > len(self._ahead):
                self.file.seek(self.place)
                self._ahead, self._begin, start = self.file.read(COPIED), self.place, 0
            content = self._ahead[start : start + count]
        self.place += len(content)
        return content

    def readline(self) -> bytes:
        """Return the bytes up to the next line's end, with it."""
        self.file.seek(self.place)
        line = self.file.readline(max(min(self.end - self.place, MAX_LINE), 0))
        self.place += len(line)
        return line

    def skip(self, count: int) -> Span:
        """Return the place of the next bytes without reading them; all of them have to be there."""
        if count > self.end - self.place:
            raise DamagedError(f"{count} bytes are announced where {self.end - self.place} follow")
        span = Span(self.place, self.place + count)
        self.place = span.end
        return span


PLAIN_OPCODES = frozenset(
    {
        *("PROTO", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2"),
        *("LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING", "EMPTY_LIST", "EMPTY_DICT"),
        *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "APPEND", "APPENDS", "SETITEM"),
        *("SETITEMS", "GET", "BINGET", "LONG_BINGET", "PUT", "BINPUT", "LONG_BINPUT", "GLOBAL"),
        *("REDUCE", "BUILD", "BINPERSID"),
    }
)
"""Opcodes of protocol 2, as torch writes it."""
CODES = {each.code: each for each in pickletools.opcodes}
MAX_TEXT = 1 << 26
"""Bytes of all texts of a pickle together; with all of an optimiser's state under 10 million."""
TEXTS = {"SHORT_BINUNICODE": 1, "BINUNICODE": 4, "BINUNICODE8": 8, "BINSTRING": 4, "LONG4": 4}
"""Bytes of the length before the bytes of an opcode's text or number."""
LENGTHS = {"SHORT_BINBYTES": 1, "BINBYTES": 4, "BINBYTES8": 8, "BYTEARRAY8": 8}
"""Bytes of the length before the bytes of such an opcode."""


def opcodes(window: Window) -> Iterator[tuple[str, Any]]:
    """Return each opcode's name with its argument; bytes that are many are passed over."""
    opcode, texts = None, 0
    while opcode is None or opcode.name != "STOP":
        opcode = CODES.get(window.read(1).decode("latin-1"))
        if opcode is None:
            raise DamagedError("its pickle is damaged")
        argument: Any = None
        if opcode.name in LENGTHS:
            argument = _bytes(window, LENGTHS[opcode.name])
        elif opcode.arg is not None:
            texts += _announced(window, TEXTS.get(opcode.name, 0))
            if texts > MAX_TEXT:
                raise RefusedError(f"more than {MAX_TEXT} bytes of texts in its pickle")
            argument = opcode.arg.reader(window)  # type: ignore[arg-type]  # reads as files do
        yield opcode.name, argument


def _announced(window: Window, width: int) -> int:
    """Return the bytes of a text whose length lies ahead, as far as they are there."""
    place = window.place
    length = int.from_bytes(window.read(width), "little")
    behind = window.end - window.place
    window.place = place
    return min(length, behind)


def _bytes(window: Window, width: int) -> bytes | Span:
    length = window.read(width)
    if len(length) < width:
        raise DamagedError("its pickle is damaged")
    span = window.skip(int.from_bytes(length, "little"))
    if span.end - span.begin > COPIED:
        return span
    window.place = span.begin
    return window.read(span.end - span.begin)
