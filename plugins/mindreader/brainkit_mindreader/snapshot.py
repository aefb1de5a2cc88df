"""Read the networks of a StyleGAN2, LAFITE or Mind Reader snapshot (`.pkl`), running nothing of it.

Such a file is a pickle that carries the source code of its networks and has it run when it is
loaded. Here it is read as data (`inert`), with records in place of the few things that genuine
files name (`standins`); the source is dropped unread.

Source: layout of NVLabs stylegan2-ada-pytorch, torch_utils/persistence.py.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainkit.errors import CheckpointError
from brainkit_mindreader.inert import DamagedError, Mapped, Record, RefusedError, read, shown
from brainkit_mindreader.standins import ALLOWED, CONTAINERS, PERSISTENT, Stored

if TYPE_CHECKING:
    from torch import Tensor

MAX_TENSORS = 10_000
MAX_MODULES = 10_000
MAX_MODULE_DEPTH = 32
MAX_NAME = 200
SPARE = 1 << 20
"""Bytes that a network's tensors may have beyond those of the file, for values they share."""


@dataclass(frozen=True)
class Network:
    """A network of a snapshot.

    Attributes:
        class_name: of the class that it was.
        stored: parameters and buffers by their name; the numbers still lie in the mapped file.
        arguments: plain values (numbers, texts, tables of them) its class was made with.
    """

    class_name: str
    stored: Mapping[str, Stored]
    arguments: Mapping[str, Any]

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Copies of all parameters and buffers, on the CPU, in the file's dtype."""
        return {name: each.tensor() for name, each in self.stored.items()}


@dataclass(frozen=True)
class Snapshot:
    """A file that was read; it stays mapped as long as this or a network of it is kept.

    Attributes:
        path: where it lies.
        sha256: of its bytes, hexadecimal.
        size: its bytes.
        records: by their name, such as G, D, G_ema, fmri_vec.
    """

    path: Path
    sha256: str
    size: int
    records: Mapping[str, Record]

    def network(self, name: str) -> Network:
        """Give a network's tensors and arguments.

        Raises:
            CheckpointError: there is no such network, or its parts are not a network's.
        """
        if name not in self.records:
            there = ", ".join(shown(each) for each in sorted(self.records)) or "none"
            raise CheckpointError(
                f"{self.path} holds no network {name!r} but {there}; name one of these"
            )
        record = self.records[name]
        with _told(self.path):
            state = _state(record)
            stored = _stored(record, self.size)
            return Network(_class_name(record), stored, _plain(state.get("_init_kwargs")))


def read_snapshot(path: Path) -> Snapshot:
    """Read a snapshot; of its code, nothing is run.

    Raises:
        CheckpointError: the file is missing or damaged, or it asks for a class or function that no
            genuine snapshot holds, which the message names.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}; check the path or download it again")
    try:
        with _told(path), open(path, "rb") as file:
            return _snapshot(path, file.fileno())
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read ({error.strerror or error}); check its permissions"
        ) from error


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what is wrong inside a file into one sentence with its path."""
    try:
        yield
    except RefusedError as error:
        raise CheckpointError(
            f"{path} holds {error}, which is no part of a LAFITE or Mind Reader snapshot, and "
            "loading might run it, so it was not read; give a .pkl as training wrote it"
        ) from error
    except DamagedError as error:
        raise CheckpointError(
            f"{path} is not a whole LAFITE or Mind Reader snapshot ({error}); download or copy it "
            "again"
        ) from error


def _snapshot(path: Path, descriptor: int) -> Snapshot:
    size = path.stat().st_size
    if not size:
        raise DamagedError("it is empty")
    content = memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
    if bytes(content[:2]) == b"PK":
        raise DamagedError("it is an archive, as torch.save writes")
    if bytes(content[:1]) == b"<":
        raise DamagedError("it is a web page, as Google Drive may send in a file's place")
    value = read(Mapped(content), ALLOWED)
    digest = sha256(content).hexdigest()
    if type(value) is not dict:
        raise DamagedError(f"it holds a {shown(type(value).__name__)} in place of named networks")
    records = {_named(n): each for n, each in value.items() if _is_module(each)}
    return Snapshot(path, digest, size, records)


def _is_module(value: Any) -> bool:
    return isinstance(value, Record) and (value.name == PERSISTENT or value.name in CONTAINERS)


def _class_name(record: Record) -> str:
    return str(record.state["class_name"]) if record.name == PERSISTENT else record.name.name


def _state(record: Record) -> dict[Any, Any]:
    """Give a module's attributes."""
    state = record.state
    if record.name == PERSISTENT:
        state = state["state"]
    if type(state) is not dict:
        raise DamagedError("one of its modules has no attributes")
    return state


def _table(state: Mapping[Any, Any], name: str) -> dict[str, Any]:
    """Give what a module holds under a name, without the places that are empty."""
    found = state.get(name, {})
    if type(found) is not dict:
        raise DamagedError(f"the {name} of a module are no table")
    return {_named(n): each for n, each in found.items() if each is not None}


def _named(name: Any) -> str:
    if type(name) is not str or len(name) > MAX_NAME:
        raise DamagedError(f"a part of its has no name of up to {MAX_NAME} letters")
    return name


def _modules(record: Record) -> Iterator[tuple[str, dict[Any, Any]]]:
    """Give the prefix and attributes of a module and of all below it."""
    waiting, count = [("", record, 0)], 1
    while waiting:
        prefix, module, depth = waiting.pop()
        state = _state(module)
        yield prefix, state
        below = _table(state, "_modules")
        count += len(below)
        if count > MAX_MODULES or (below and depth == MAX_MODULE_DEPTH):
            raise DamagedError(
                f"a network of its has more than {MAX_MODULES} modules, or {MAX_MODULE_DEPTH} "
                "within each other"
            )
        for name, each in below.items():
            if not _is_module(each):
                raise DamagedError(f"its {shown(f'{prefix}{name}')} is no module")
            waiting.append((f"{prefix}{name}.", each, depth + 1))


def _stored(record: Record, limit: int) -> dict[str, Stored]:
    """Find a network's parameters and lasting buffers, if they take no more than the file."""
    stored: dict[str, Stored] = {}
    for prefix, state in _modules(record):
        passing = state.get("_non_persistent_buffers_set")
        passing = passing if type(passing) is set else set()
        buffers = {n: each for n, each in _table(state, "_buffers").items() if n not in passing}
        for name, tensor in (_table(state, "_parameters") | buffers).items():
            if type(tensor) is not Stored:
                raise DamagedError(f"its {shown(f'{prefix}{name}')} is no tensor")
            stored[f"{prefix}{name}"] = tensor
        if len(stored) > MAX_TENSORS:
            raise DamagedError(f"a network of its has more than {MAX_TENSORS} tensors")
    if sum(each.bytes for each in stored.values()) > limit + SPARE:
        raise DamagedError("the tensors of a network of its take more than the whole file")
    return stored


def _plain(value: Any, depth: int = 0) -> dict[str, Any]:
    """Give the part of a table that is numbers, texts and, two levels deep, tables of them."""
    if type(value) is not dict or depth > 2:
        return {}
    named = {n: each for n, each in value.items() if type(n) is str}
    below = {n: _plain(each, depth + 1) for n, each in named.items() if type(each) is dict}
    return {n: each for n, each in named.items() if _is_plain(each)} | below


def _is_plain(value: Any) -> bool:
    if type(value) is int:
        return value.bit_length() < 64
    return value is None or type(value) in (bool, float, str)
