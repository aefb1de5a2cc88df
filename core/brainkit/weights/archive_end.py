"""Check the end of a zip archive: one table of members, told in one way.

An archive may tell its table twice, in the record at its end and in the ZIP64 record that a locator
points to. Readers differ in which they follow, so that one sees other members than another.
"""

from __future__ import annotations

import struct
from typing import BinaryIO, NamedTuple

from brainkit.checkpoints.safetensors import quoted
from brainkit.weights.opcodes import DamagedError, RefusedError

END = struct.Struct("<4s4H2LH")
LOCATOR = struct.Struct("<4sLQL")
END64 = struct.Struct("<4sQ2H2L4Q")
MAX_MEMBERS = 100_000
MAX_TABLE = 25_000_000
"""Bytes of the table of members; 3000 members take about 250,000."""
LONGEST = END.size + 0xFFFF
"""Bytes of the record at the end with the longest comment."""
TWO_TABLES = "two tables of members, or one in another place than its end tells"


class Table(NamedTuple):
    """The table of members.

    Attributes:
        members: how many.
        size: its bytes.
        begin: its first byte in the file.
    """

    members: int
    size: int
    begin: int


def check_end(file: BinaryIO) -> Table:
    """Return the table of members, after checking that there is one and no more.

    Raises:
        DamagedError: the file does not end as an archive does.
        RefusedError: there is more than one table, or one with too many members.
    """
    place = file.seek(0, 2) - END.size
    magic, disk, first, here, count, size, begin, _ = END.unpack(_at(file, place, END.size))
    if magic != b"PK\x05\x06":
        raise _no_end(file)
    short = Table(count, size, begin)
    table, end = _wide(file, place - LOCATOR.size) or (short, place)
    limits = (0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)
    agree = all(a in (b, most) for a, b, most in zip(short, table, limits, strict=True))
    if not agree or (disk, first) != (0, 0) or here != count or table.begin + table.size != end:
        raise RefusedError(TWO_TABLES)
    if table.members > MAX_MEMBERS or table.size > MAX_TABLE:
        raise RefusedError(
            f"{table.members} members with a table of {table.size} bytes, at most {MAX_MEMBERS} "
            f"and {MAX_TABLE} are usual"
        )
    return table


def _no_end(file: BinaryIO) -> Exception:
    """Return what is wrong with an archive that does not end in the record of its end."""
    tail = _at(file, max(file.seek(0, 2) - LONGEST, 0), LONGEST)
    _, end, behind = tail.rpartition(b"PK\x05\x06")
    if not end or len(behind) <= END.size - 4:
        return DamagedError("its archive is damaged: it has no end; it was cut off")
    comment = behind[END.size - 4 :]
    return RefusedError(f"the comment {quoted(comment[:100])} behind its archive")


def _wide(file: BinaryIO, place: int) -> tuple[Table, int] | None:
    """Return what the ZIP64 record tells, and where it lies: directly before its locator."""
    if place < 0 or _at(file, place, 4) != b"PK\x06\x07":
        return None
    _, disk, there, disks = LOCATOR.unpack(_at(file, place, LOCATOR.size))
    at = place - END64.size
    if (disk, there, disks) != (0, at, 1) or at < 0:
        raise RefusedError(TWO_TABLES)
    magic, size, _, _, here, first, count, total, *rest = END64.unpack(_at(file, at, END64.size))
    odd = magic != b"PK\x06\x06" or size != END64.size - 12 or (here, first) != (0, 0)
    if odd or count != total:
        raise RefusedError(TWO_TABLES)
    return Table(total, rest[0], rest[1]), at


def _at(file: BinaryIO, place: int, count: int) -> bytes:
    if place < 0:
        raise DamagedError("its archive has no end; it was cut off")
    file.seek(place)
    return file.read(count)
