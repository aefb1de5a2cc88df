"""What stands for the classes and functions that genuine snapshots name; none of them is imported.

Storages are bytes in the layout that torch.save had before 1.6, five small pickles and the numbers.
They are cut out here, as torch would make room for as many numbers as a file claims to hold.

Source: layout of NVLabs stylegan2-ada-pytorch, torch_utils/persistence.py; PyTorch,
torch/serialization.py, _legacy_save.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from brainkit_mindreader.inert import Allowed, DamagedError, Mapped, Name, Record, pairs, read

if TYPE_CHECKING:
    from torch import Tensor

MAX_AXES = 8
MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
STORAGES = {
    "DoubleStorage": ("float64", 8),
    "FloatStorage": ("float32", 4),
    "HalfStorage": ("float16", 2),
    "BFloat16Storage": ("bfloat16", 2),
    "LongStorage": ("int64", 8),
    "IntStorage": ("int32", 4),
    "ShortStorage": ("int16", 2),
    "CharStorage": ("int8", 1),
    "ByteStorage": ("uint8", 1),
}
"""What torch calls a storage: its dtype and the bytes of a number."""


class Storage(NamedTuple):
    """Numbers in a row: torch's name of their dtype, bytes of one, and the bytes of all."""

    dtype: str
    size: int
    content: memoryview


class Stored(NamedTuple):
    """A tensor as a view of a storage, in numbers, not bytes."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def span(self) -> int:
        """How many numbers lie between its first and its last, both included."""
        return 1 + sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))

    @property
    def bytes(self) -> int:
        """What it takes in memory, or what is read for it, whichever is more."""
        return self.storage.size * max(math.prod(self.shape), self.span)

    def tensor(self) -> Tensor:
        """Copy its numbers into a tensor on the CPU, row-major, in the file's dtype."""
        import torch

        dtype, size, content = self.storage
        start = self.offset * size
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the bytes may not be written to: they are copied
            seen = content[start : start + self.span * size]
            flat = torch.frombuffer(seen, dtype=getattr(torch, dtype))
        return flat.as_strided(self.shape, self.strides).contiguous().clone()


PERSISTENT = Name("torch_utils.persistence", "_reconstruct_persistent_obj")
CONTAINERS = (
    Name("torch.nn.modules.container", "Sequential"),
    Name("torch.nn.modules.conv", "Conv1d"),
    Name("torch.nn.modules.activation", "ReLU"),
)
IGNORED = (
    Name("numpy.core.multiarray", "scalar"),
    Name("numpy._core.multiarray", "scalar"),
    Name("numpy", "dtype"),
)


def _persistent(arguments: tuple[Any, ...]) -> Record:
    match arguments:
        case ({"type": "class", "class_name": str() as name, "state": dict() as state},):
            return Record(PERSISTENT, {"class_name": name, "state": state})
        case _:
            raise DamagedError("one of its persistent objects has no class_name and state")


def _tensor(arguments: tuple[Any, ...]) -> Stored:
    """Check a view: it lies within its storage, which it reads forwards."""
    match arguments:
        case (Storage() as storage, int() as offset, tuple() as shape, tuple() as strides, *_):
            stored = Stored(storage, offset, shape, strides)
        case _:
            raise DamagedError("one of its tensors is no view of a storage")
    numbers = (offset, *shape, *strides)
    plain = all(type(n) is int and 0 <= n < 1 << 48 for n in numbers)
    if not plain or len(shape) != len(strides) or len(shape) > MAX_AXES or 0 in shape:
        raise DamagedError("one of its tensors has an impossible shape")
    if offset + stored.span > len(storage.content) // storage.size:
        raise DamagedError("one of its tensors ends beyond its storage")
    return stored


def _parameter(arguments: tuple[Any, ...]) -> Stored:
    match arguments:
        case (Stored() as stored, *_):
            return stored
        case _:
            raise DamagedError("one of its parameters is no tensor")


def _storage(arguments: tuple[Any, ...]) -> Storage:
    """Cut a storage out of the bytes torch wrote for it: five small pickles, then the numbers."""
    match arguments:
        case (bytes() | memoryview() as content,):
            stream = Mapped(memoryview(content))
        case _:
            raise DamagedError("one of its storages is not made of bytes")
    magic, protocol, system, described, _ = (read(stream, STORAGE_ALLOWED) for _ in range(5))
    if magic != MAGIC or protocol != PROTOCOL or type(described) is not _Described:
        raise DamagedError("one of its storages is not as torch writes them")
    if type(system) is not dict or system.get("little_endian") is not True:
        raise DamagedError("its numbers are big-endian, expected little-endian")
    dtype, size = STORAGES[described.name]
    count, numbers = stream.read(8), stream.rest()
    if int.from_bytes(count, "little") != described.numbers:
        raise DamagedError("one of its storages has not the length it was announced with")
    if len(numbers) != described.numbers * size:
        raise DamagedError(
            f"one of its storages has {len(numbers)} bytes for {described.numbers} numbers"
        )
    return Storage(dtype, size, numbers)


class _Described(NamedTuple):
    name: str
    numbers: int


def _described(reference: Any) -> _Described:
    match reference:
        case ("storage", Name("torch", name), str(), str(), int() as numbers, None):
            if 0 <= numbers < 1 << 48:
                return _Described(name, numbers)
    raise DamagedError("one of its storages is described otherwise than torch does")


def _ordered(arguments: tuple[Any, ...]) -> dict[str | int, Any]:
    match arguments:
        case ():
            return {}
        case (list() as rows,) if all(type(row) in (list, tuple) and len(row) == 2 for row in rows):
            return pairs([value for row in rows for value in row])
        case _:
            raise DamagedError("one of its dictionaries is not made of pairs")


def _members(arguments: tuple[Any, ...]) -> set[str | int]:
    match arguments:
        case ():
            return set()
        case (list() as members,):
            return set(pairs([each for member in members for each in (member, None)]))
        case _:
            raise DamagedError("one of its sets is not made of a list")


def _encoded(arguments: tuple[Any, ...]) -> bytes:
    """Give the bytes that pickles of protocol 2 write as text."""
    match arguments:
        case (str() as text, "latin1" | "latin-1"):
            try:
                return text.encode("latin-1")
            except UnicodeEncodeError as error:
                raise DamagedError("bytes of its have values above 255") from error
        case _:
            raise DamagedError("bytes of its are written otherwise than pickles do")


def _recorded(name: Name) -> Callable[[tuple[Any, ...]], Record]:
    return lambda arguments: Record(name)


ALLOWED = Allowed(
    {
        PERSISTENT: _persistent,
        Name("torch._utils", "_rebuild_tensor_v2"): _tensor,
        Name("torch._utils", "_rebuild_parameter"): _parameter,
        Name("torch.storage", "_load_from_bytes"): _storage,
        Name("collections", "OrderedDict"): _ordered,
        Name("dnnlib.util", "EasyDict"): _ordered,
        Name("builtins", "set"): _members,
        Name("__builtin__", "set"): _members,
        Name("_codecs", "encode"): _encoded,
        **{name: _recorded(name) for name in (*CONTAINERS, *IGNORED)},
    }
)
STORAGE_ALLOWED = Allowed(
    names=frozenset(Name("torch", name) for name in STORAGES), persistent=_described
)
