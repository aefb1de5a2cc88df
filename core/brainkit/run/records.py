"""What the files of a folder were when they were finished: size, time and SHA-256, a line each."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from hashlib import file_digest
from pathlib import Path

from brainkit.disk import writing
from brainkit.errors import DataError
from brainkit.run.structure import cut_off, json_object

RECORDS = ".records.jsonl"
"""The name of the file of records in a folder of results."""
CHANGED = "was changed after it was written"


@dataclass(frozen=True)
class FileRecord:
    """What one file was.

    Attributes:
        name: of the file.
        stamp: of the recipe that made it.
        size: in bytes.
        mtime_ns: when it was changed last, nanoseconds since 1970.
        sha256: of its content.
    """

    name: str
    stamp: str
    size: int
    mtime_ns: int
    sha256: str

    def fits(self, path: Path) -> bool:
        """Say whether a file has the size and the time of the record."""
        status = path.stat()
        return (status.st_size, status.st_mtime_ns) == (self.size, self.mtime_ns)


def record(path: Path, stamp: str, name: str = "") -> None:
    """Add a line about a finished file to the records of its folder.

    Args:
        path: of the file.
        stamp: of the recipe that made it.
        name: that it is about to be given, if it has another.
    """
    status = path.stat()
    line = FileRecord(
        name or path.name, stamp, status.st_size, status.st_mtime_ns, file_sha256(path)
    )
    text = json.dumps(asdict(line)) + "\n"
    records = path.parent / RECORDS
    with writing(records), records.open("ab+") as file:
        # A kill may have cut off the last line.
        if file.tell():
            file.seek(-1, os.SEEK_END)
            text = text if file.read(1) == b"\n" else "\n" + text
        file.write(text.encode())


def records_in(folder: Path) -> Mapping[str, tuple[FileRecord, ...]]:
    """Return the records of a folder by file name, oldest first; what is no record is passed over.

    A file has several when it was made again, also of other recipes.
    """
    try:
        status = (folder / RECORDS).stat()
        return _read(folder / RECORDS, status.st_size, status.st_mtime_ns)
    except (FileNotFoundError, IsADirectoryError):
        return {}


# Of folders with a thousand files, which are asked about one by one.
@lru_cache(maxsize=64)
def _read(path: Path, size: int, mtime_ns: int) -> Mapping[str, tuple[FileRecord, ...]]:
    by_name: defaultdict[str, list[FileRecord]] = defaultdict(list)
    for line in path.read_bytes().split(b"\n"):
        fields = json_object(line)
        kinds = {name: type(value).__name__ for name, value in fields.items()}
        if kinds == FileRecord.__annotations__:
            by_name[fields["name"]].append(FileRecord(**fields))
    return {name: tuple(records) for name, records in by_name.items()}


def is_recorded(path: Path, stamp: str) -> bool:
    """Say whether a file has a record of its stamp, size and time, so that no hash is needed."""
    return any(
        one.stamp == stamp and one.fits(path) for one in records_in(path.parent).get(path.name, ())
    )


def damage(path: Path, stamp: str) -> str | None:
    """Return how a file differs from its records, to follow its name.

    Size and time are compared; the content only where these differ from all records.

    Args:
        path: of the file, which is there.
        stamp: of the recipe that is expected; what is recorded of others does not count.

    Returns:
        "" if it does not differ, None if nothing is recorded.
    """
    records = [one for one in records_in(path.parent).get(path.name, ()) if one.stamp == stamp]
    if not records:
        return None
    return "" if any(one.fits(path) for one in records) else difference(path, records)


def difference(path: Path, records: Sequence[FileRecord]) -> str:
    """Return how the content of a file differs from all of its records; "" if it does not."""
    size, latest = path.stat().st_size, records[-1]
    if size < min(one.size for one in records):
        return cut_off(size, latest.size)
    if size not in {one.size for one in records}:
        return CHANGED
    return "" if file_sha256(path) in {one.sha256 for one in records} else CHANGED


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content in hex digits; computed once for each state of it."""
    status = path.stat()
    return _sha256(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@lru_cache(maxsize=4096)
def _sha256(path: Path, size: int, mtime_ns: int, ctime_ns: int) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def unharmed(path: Path, damage: str) -> Path:
    """Return the path of a file that is there and that nothing is wrong with.

    Args:
        path: of the file.
        damage: how it differs from what was written; "" if it does not.

    Raises:
        DataError: says what is wrong.
    """
    if not path.is_file():
        damage = "is not there any more"
    if damage:
        raise DataError(f"{path} {damage}; run the same command again, which makes it anew")
    return path
