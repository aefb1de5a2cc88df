"""Check a zip archive of torch's: only what torch writes, as torch writes it.

torch's own reader finds records by name and trusts their sizes. Here every member is named, lies
within the file, uncompressed and apart from the others.
"""

from __future__ import annotations

import re
import stat
import struct
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import BinaryIO, NamedTuple

from brainkit.checkpoints.safetensors import quoted
from brainkit.weights.archive_end import TWO_TABLES, check_end
from brainkit.weights.opcodes import DamagedError, RefusedError, Span

MAX_PICKLE = 1 << 26
"""Bytes of what is pickled beside the numbers; with all of an optimiser's state it has under 10 MB.
"""
MAX_NOTE = 4096
"""Bytes of torch's own small members, such as its version."""
PICKLE = "data.pkl"
STORAGE = re.compile(r"data/([0-9]{1,20})")
ORDER = "byteorder"
NOTES = ("version", ORDER, ".format_version", ".storage_alignment", ".data/serialization_id")
PROGRAM = re.compile(r"code/|constants(\.pkl|/)|attributes\.pkl$|model\.json$|bytecode\.pkl$")
"""Members of TorchScript archives."""
LOCAL = struct.Struct("<4s5H3L2H")
"""Header before a member's bytes."""


class Archive(NamedTuple):
    """A checked archive.

    Attributes:
        pickle: the content of its pickle.
        storages: the place of each storage's bytes in the file, by its key.
        big_endian: whether numbers begin with their most significant byte.
    """

    pickle: bytes
    storages: Mapping[str, Span]
    big_endian: bool


def read_archive(file: BinaryIO) -> Archive:
    """Return an archive's pickle and the places of its storages after checking every member.

    Raises:
        DamagedError: it is no whole archive.
        RefusedError: it has members that torch does not write, or in a way torch does not.
    """
    try:
        table = check_end(file)
        with zipfile.ZipFile(file) as opened:
            if (opened.start_dir, len(opened.infolist())) != (table.begin, table.members):
                raise RefusedError(TWO_TABLES)
            _check_names(opened)
            places = _places(opened, file)
            members = {_inner(each): each for each in opened.infolist()}
            order = opened.read(members[ORDER]) if ORDER in members else b"little"
            if order not in (b"little", b"big"):
                raise RefusedError(f"the byte order {quoted(order)}")
            pickle = opened.read(members[PICKLE])
            return Archive(pickle, _storages(members, places), order == b"big")
    except (DamagedError, RefusedError):
        raise
    except NotImplementedError as error:
        raise RefusedError(f"a member packed in an unusual way ({error})") from error
    except (zipfile.BadZipFile, struct.error, EOFError, ValueError, OSError) as error:
        why = quoted(str(error) or type(error).__name__)[1:-1]
        raise DamagedError(f"its archive is damaged: {why}") from error


def _inner(member: zipfile.ZipInfo) -> str:
    """Return a member's name below the one folder that torch puts all into."""
    return member.orig_filename.partition("/")[2]


def _storages(
    members: Mapping[str, zipfile.ZipInfo], places: Mapping[str, Span]
) -> dict[str, Span]:
    matches = ((STORAGE.fullmatch(name), each.orig_filename) for name, each in members.items())
    return {match[1]: places[name] for match, name in matches if match}


def _check_names(opened: zipfile.ZipFile) -> None:
    members = opened.infolist()
    names = [member.orig_filename for member in members]
    for name in names:
        _check_path(name)
    if program := sorted(name for name in names if PROGRAM.match(name.partition("/")[2])):
        raise RefusedError(
            "a program (TorchScript, as OpenAI's own files of CLIP are; its member "
            f"{quoted(program[0])})"
        )
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise RefusedError(f"the member {quoted(twice[0])} twice")
    if extra := sorted(name for name in names if not _known(name.partition("/")[2])):
        raise RefusedError(f"the member {quoted(extra[0])}, which torch does not write")
    if len({name.partition("/")[0] for name in names}) > 1:
        raise RefusedError("members in several folders, where torch writes one")
    for member in members:
        _check_kind(member)
    if PICKLE not in map(_inner, members):
        raise DamagedError(f"its archive has no {PICKLE}")
    if opened.comment:
        raise RefusedError(f"the comment {quoted(opened.comment[:100])} behind its archive")


def _known(name: str) -> bool:
    return name in (PICKLE, *NOTES) or STORAGE.fullmatch(name) is not None


def _check_path(name: str) -> None:
    """Refuse names that would lead out of a folder if they were unpacked, on any system."""
    parts = name.split("/")
    odd = any(part in {"", ".", ".."} for part in parts[:-1]) or parts[-1] in {".", ".."}
    if odd or re.search(r"[\\\x00-\x1f\x7f]|^[A-Za-z]:", name):
        raise RefusedError(f"the member {quoted(name)}, whose name leads elsewhere")


def _check_kind(member: zipfile.ZipInfo) -> None:
    """Refuse links, locked or packed members, and unlikely sizes."""
    who = f"the member {quoted(member.orig_filename)}"
    mode = member.external_attr >> 16
    if mode and not stat.S_ISREG(mode) and stat.S_IFMT(mode):
        raise RefusedError(f"{who}, which is a link or no file")
    if member.flag_bits & 0x2041:
        raise RefusedError(f"{who}, which is encrypted")
    if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
        raise RefusedError(
            f"{who} packed from {member.file_size} into {member.compress_size} bytes, where torch "
            "packs nothing"
        )
    inner = _inner(member)
    most = MAX_PICKLE if inner == PICKLE else MAX_NOTE
    if not STORAGE.fullmatch(inner) and member.file_size > most:
        raise RefusedError(f"{who} with {member.file_size} bytes, at most {most} are usual")


def _places(opened: zipfile.ZipFile, file: BinaryIO) -> dict[str, Span]:
    """Return where each member's bytes lie.

    Members lie one behind the other, from the first byte to the table of members.
    """
    members = list(_located(opened, file))
    if members[0].begin != 0:
        raise RefusedError(f"{members[0].begin} bytes before its archive")
    behind = _Located("its end", opened.start_dir, Span(opened.start_dir, opened.start_dir))
    for one, other in pairwise([*members, behind]):
        if one.content.end > other.begin:
            raise DamagedError(
                f"its archive is damaged: member {quoted(one.name)} ends at byte "
                f"{one.content.end}, within {quoted(other.name)} at {other.begin}"
            )
    return {each.name: each.content for each in members}


class _Located(NamedTuple):
    """A member by its name, the first byte of its local header, and the place of its content."""

    name: str
    begin: int
    content: Span


def _located(opened: zipfile.ZipFile, file: BinaryIO) -> Iterator[_Located]:
    """Return all members in the order in which they lie."""
    for member in sorted(opened.infolist(), key=lambda each: each.header_offset):
        file.seek(member.header_offset)
        magic, _, flags, method, *_, length, more = LOCAL.unpack(file.read(LOCAL.size))
        name = file.read(length).decode("utf-8" if flags & 0x800 else "cp437")
        if magic != b"PK\x03\x04" or method != zipfile.ZIP_STORED:
            raise DamagedError(
                f"its archive is damaged: no member begins at byte {member.header_offset}"
            )
        if name != member.orig_filename:
            raise RefusedError(
                f"the member {quoted(member.orig_filename)} that is {quoted(name)} where it lies"
            )
        begin = member.header_offset + LOCAL.size + length + more
        content = Span(begin, begin + member.file_size)
        yield _Located(name, member.header_offset, content)
