"""What the checkpoint store holds: whole, missing, damaged, placed by hand, or left over."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from brainkit.checkpoints import WEIGHTS, CheckpointStore
from brainkit.checkpoints.record import Record, differences
from brainkit.data import Checkpoint
from brainkit.errors import CheckpointError

DOWNLOADS = "downloads"
"""Folder of the store that files lie in until they are converted."""
OWN = (DOWNLOADS, ".lock", ".fetch.lock")
Word = Literal["whole", "missing", "damaged", "placed by hand"]


@dataclass(frozen=True)
class State:
    """What there is of one checkpoint.

    Attributes:
        checkpoint: it is.
        word: "whole" when it is as fetched, "placed by hand" when nothing says what it should be.
        why: what is wrong, of damaged ones.
        size: bytes on disk.
        record: where it is from; None when it was placed by hand or is missing.
        miniature: whether packages ship small weights of it.
    """

    checkpoint: Checkpoint
    word: Word
    why: str = ""
    size: int = 0
    record: Record | None = None
    miniature: bool = False

    @property
    def there(self) -> bool:
        """Whether it can be used."""
        return self.word in ("whole", "placed by hand")


@dataclass(frozen=True)
class Leftover:
    """A file or folder of the store that belongs to no checkpoint."""

    path: Path
    size: int
    why: str


def state(
    checkpoint: Checkpoint, root: Path, *, beside: Sequence[str] = (), verify: bool = False
) -> State:
    """Say what the store has of a checkpoint.

    Args:
        checkpoint: any.
        root: folder of the store.
        beside: files, such as a tokenizer's, that a fetch writes beside the weights.
        verify: whether every file is read and hashed; without, sizes and headers are compared.
    """
    folder = root / checkpoint.name
    miniature = _has_miniature(checkpoint)
    if not folder.is_dir() or not any(folder.iterdir()):
        return State(checkpoint, "missing", miniature=miniature)
    record, said = None, []
    try:
        record = Record.read(folder)
        said = _damages(folder, record, verify=verify)
        if record:
            said += [
                f"{path} is missing" for path in beside if not _accounted(folder, path, record)
            ]
    except CheckpointError as error:
        said = [str(error)]
    word: Word = "damaged" if said else ("whole" if record else "placed by hand")
    return State(checkpoint, word, "; ".join(said), size_of(folder), record, miniature)


def leftovers(root: Path, checkpoints: list[str]) -> list[Leftover]:
    """Give what lies in the store beside known checkpoints: strays, and parts of killed fetches."""
    if not root.is_dir():
        return []
    found = []
    for path in sorted(root.iterdir()):
        if path.name == DOWNLOADS:
            found += _downloads(path)
        elif path.name not in (*OWN, *checkpoints):
            found.append(Leftover(path, size_of(path), _why(path)))
    return found


def size_of(path: Path) -> int:
    """Give the bytes of a file, or of all files below a folder."""
    if path.is_dir():
        return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
    return path.stat().st_size if path.is_file() else 0


def _why(path: Path) -> str:
    if path.suffix in (".part", ".old"):
        return "left by a fetch that was stopped, may be deleted"
    return "belongs to no checkpoint of the installed plugins"


def _downloads(folder: Path) -> list[Leftover]:
    """Give downloaded files that wait for their conversion or for the rest of them."""
    found = []
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        if path.suffix == ".part":
            found.append(
                Leftover(path, size_of(path), "a download that the next fetch goes on with")
            )
        elif path.suffix not in (".etag", ".lock"):
            found.append(Leftover(path, size_of(path), "downloaded, not converted yet"))
    return found


def _accounted(folder: Path, path: str, record: Record) -> bool:
    return path in record.files or (folder / path).is_file()


def _damages(folder: Path, record: Record | None, *, verify: bool) -> list[str]:
    said = [] if record is None else differences(folder, record, whole=verify)
    named = {each.partition(" ")[0] for each in said}
    weights, config = folder / WEIGHTS, folder / "config.json"
    if weights.is_file():
        said += [] if WEIGHTS in named else _header(weights)
    elif WEIGHTS not in named:
        said.append(f"{WEIGHTS} is missing")
    if "config.json" not in named:
        said += _configuration(config)
    return said


def _header(path: Path) -> list[str]:
    from brainkit.checkpoints.safetensors import check_header

    try:
        check_header(path)
    except CheckpointError as error:
        return [str(error)]
    return []


def _configuration(path: Path) -> list[str]:
    if not path.is_file():
        return [f"{path.name} is missing"]
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return [f"{path.name} is not a network configuration ({error})"]
    return [] if isinstance(loaded, dict) else [f"{path.name} is not a network configuration"]


def _has_miniature(checkpoint: Checkpoint) -> bool:
    if not checkpoint.miniature:
        return False
    return CheckpointStore(Path(), miniature=True).has(checkpoint)
