"""What the store remembers of a checkpoint: whence it is and what was written (`source.json`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path

from brainkit.checkpoints.contents import content
from brainkit.checkpoints.limits import read_json
from brainkit.errors import CheckpointError

RECORD = "source.json"
BLOCK = 1 << 22


@dataclass(frozen=True)
class FileFacts:
    """A file's bytes and the hexadecimal SHA-256 of its content."""

    size: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> FileFacts:
        """Read a file and tell."""
        digest = sha256()
        with open(path, "rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
        return cls(path.stat().st_size, digest.hexdigest())


@dataclass(frozen=True)
class Record:
    """Where a checkpoint's weights are from and what its files are.

    Attributes:
        origin: repository on the Hugging Face hub, URL, or "by hand".
        revision: commit of the repository; empty elsewhere.
        licence: as published.
        layout: of the published files.
        sources: facts of the published files, by name.
        files: facts of all files of the checkpoint's folder, by their path in it.
    """

    origin: str
    revision: str = ""
    licence: str = ""
    layout: str = ""
    sources: Mapping[str, FileFacts] = field(default_factory=dict)
    files: Mapping[str, FileFacts] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Record | None:
        """Return the record of a checkpoint's folder; None when it was placed by hand.

        Raises:
            CheckpointError: the file is damaged.
        """
        path = folder / RECORD
        if not path.is_file():
            return None
        try:
            values = read_json(path)
            for name in ("sources", "files"):
                values[name] = {file: FileFacts(**each) for file, each in values[name].items()}
            return cls(**values)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise CheckpointError(
                f"{path} is not what brainkit fetch writes ({error}); delete it to use the weights "
                "as placed by hand, or fetch them again"
            ) from error

    def write(self, folder: Path) -> None:
        """Write the record into a folder that is not in its place yet."""
        text = json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"
        (folder / RECORD).write_text(text, encoding="utf-8")


def listed(folder: Path, pattern: str = "*") -> list[Path]:
    """Return what lies in a folder, sorted, without the `._NAME` files that macOS leaves."""
    return sorted(path for path in folder.glob(pattern) if not path.name.startswith("._"))


def facts_below(folder: Path) -> dict[str, FileFacts]:
    """Return the facts of every file in a folder but its record, by their path in it."""
    paths = [path for path in listed(folder, "**/*") if path.is_file() and path.name != RECORD]
    return {path.relative_to(folder).as_posix(): FileFacts.of(path) for path in paths}


def hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 (hex) of every file in a folder but its record, by their path in it.

    A file that is as large as the record says is not read again, if it was neither written nor put
    in its place after the record.
    """
    record, wrote = Record.read(folder), 0
    if record:
        wrote = (folder / RECORD).stat().st_mtime_ns
    known = record.files if record else {}
    found = {}
    for path in (path for path in listed(folder, "**/*") if path.is_file()):
        name, facts = path.relative_to(folder).as_posix(), path.stat()
        if name != RECORD:
            told = known.get(name)
            changed = max(facts.st_mtime_ns, facts.st_ctime_ns)
            same = told is not None and told.size == facts.st_size and changed <= wrote
            found[name] = told.sha256 if told and same else content(path) or _read(path, changed)
    return found


@cache
def _read(path: Path, changed: int) -> str:
    return FileFacts.of(path).sha256


def differences(folder: Path, record: Record, *, whole: bool) -> list[str]:
    """Say how the files of a folder differ from its record, or nothing if they do not.

    Args:
        folder: of the checkpoint.
        record: its own.
        whole: whether content is read and hashed; without, only sizes are compared.
    """
    said = []
    for name, wanted in record.files.items():
        path = folder / name
        size = path.stat().st_size if path.is_file() else None
        if size is None:
            said.append(f"{name} is missing")
        elif size != wanted.size:
            said.append(f"{name} has {size} bytes, expected {wanted.size}")
        elif whole and FileFacts.of(path).sha256 != wanted.sha256:
            said.append(f"{name} has another content than was written")
    return said
