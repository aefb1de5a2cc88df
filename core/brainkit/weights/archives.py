"""Check a zip archive of torch's before torch opens it: only what torch writes, as torch writes it.

torch's own reader finds records by name and trusts their sizes. Here every member is named, lies
within the file, uncompressed and apart from the others, so that both readers see the same bytes.
"""

from __future__ import annotations

import re
import stat
import struct
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple

from brainkit.checkpoints.safetensors import shown

MAX_PICKLE = 1 << 26
"""Bytes of what is pickled beside the numbers; with all of an optimiser's state it has under 10 MB.
"""
MAX_NOTE = 4096
"""Bytes of torch's own small members, such as its version."""
PICKLE = "data.pkl"
STORAGE = re.compile(r"data/([0-9]{1,20})")
NOTES = ("version", "byteorder", ".format_version", ".storage_alignment", ".data/serialization_id")
PROGRAM = re.compile(r"code/|constants(\.pkl|/)|attributes\.pkl$|model\.json$|bytecode\.pkl$")
"""Members of TorchScript archives."""
LOCAL = struct.Struct("<4s5H3L2H")
"""Header before a member's bytes."""


class DamagedError(ValueError):
    """The file is no whole archive of torch's."""


class RefusedError(ValueError):
    """The file has something that no file with weights has; the message names it."""


class Archive(NamedTuple):
    """A checked archive.

    Attributes:
        pickle: the content of its pickle.
        storages: bytes of each storage by its key.
    """

    pickle: bytes
    storages: Mapping[str, int]


def read_archive(path: Path) -> Archive:
    """Give an archive's pickle and the sizes of its storages after checking every member.

    Raises:
        DamagedError: it is no whole archive.
        RefusedError: it has members that torch does not write, or in a way torch does not.
    """
    try:
        with zipfile.ZipFile(path) as opened, open(path, "rb") as file:
            _check_names(opened)
            _check_places(opened, file)
            members = {_inner(each): each for each in opened.infolist()}
            return Archive(opened.read(members[PICKLE]), _storages(members))
    except (DamagedError, RefusedError):
        raise
    except NotImplementedError as error:
        raise RefusedError(f"a member packed in an unusual way ({error})") from error
    except (zipfile.BadZipFile, struct.error, EOFError, ValueError, OSError) as error:
        why = shown(str(error) or type(error).__name__)[1:-1]
        raise DamagedError(f"its archive is damaged: {why}") from error


def _inner(member: zipfile.ZipInfo) -> str:
    """Give a member's name below the one folder that torch puts all into."""
    return member.orig_filename.partition("/")[2]


def _storages(members: Mapping[str, zipfile.ZipInfo]) -> dict[str, int]:
    found = ((STORAGE.fullmatch(name), each) for name, each in members.items())
    return {match[1]: each.file_size for match, each in found if match}


def _check_names(opened: zipfile.ZipFile) -> None:
    members = opened.infolist()
    names = [member.orig_filename for member in members]
    for name in names:
        _check_path(name)
    if program := sorted(name for name in names if PROGRAM.match(name.partition("/")[2])):
        raise RefusedError(
            "a program (TorchScript, as OpenAI's own files of CLIP are; its member "
            f"{shown(program[0])})"
        )
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise RefusedError(f"the member {shown(twice[0])} twice")
    if extra := sorted(name for name in names if not _known(name.partition("/")[2])):
        raise RefusedError(f"the member {shown(extra[0])}, which torch does not write")
    if len({name.partition("/")[0] for name in names}) > 1:
        raise RefusedError("members in several folders, where torch writes one")
    for member in members:
        _check_kind(member)
    if PICKLE not in map(_inner, members):
        raise DamagedError(f"its archive has no {PICKLE}")
    if opened.comment:
        raise RefusedError(f"the comment {shown(opened.comment[:100])} behind its archive")


def _known(name: str) -> bool:
    return name in (PICKLE, *NOTES) or STORAGE.fullmatch(name) is not None


def _check_path(name: str) -> None:
    """Refuse names that would lead out of a folder if they were unpacked, on any system."""
    parts = name.split("/")
    odd = any(part in {"", ".", ".."} for part in parts[:-1]) or parts[-1] in {".", ".."}
    if odd or re.search(r"[\\\x00-\x1f\x7f]|^[A-Za-z]:", name):
        raise RefusedError(f"the member {shown(name)}, whose name leads elsewhere")


def _check_kind(member: zipfile.ZipInfo) -> None:
    """Refuse links, locked or packed members, and unlikely sizes."""
    who = f"the member {shown(member.orig_filename)}"
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


def _check_places(opened: zipfile.ZipFile, file: BinaryIO) -> None:
    """Check that members lie one behind the other, from the first byte to the table of members."""
    spans = list(_spans(opened, file))
    if spans[0][0] != 0:
        raise RefusedError(f"{spans[0][0]} bytes before its archive")
    for (_, end, name), (begin, _, other) in pairwise([*spans, (opened.start_dir, 0, "its end")]):
        if end > begin:
            raise DamagedError(
                f"its archive is damaged: member {shown(name)} ends at byte {end}, within "
                f"{shown(other)} at {begin}"
            )


def _spans(opened: zipfile.ZipFile, file: BinaryIO) -> Iterator[tuple[int, int, str]]:
    """Give each member's first byte with its local header, its end and its name, in order."""
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
                f"the member {shown(member.orig_filename)} that is {shown(name)} where it lies"
            )
        begin = member.header_offset + LOCAL.size + length + more
        yield member.header_offset, begin + member.file_size, member.orig_filename
