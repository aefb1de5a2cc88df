"""What torch's files with weights may ask for, and how its tensors lie in their storages."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from brainkit.checkpoints.safetensors import shown
from brainkit.weights.archives import MAX_PICKLE, DamagedError, RefusedError, read_archive
from brainkit.weights.pickle import Allowed, Call, Made, Name, follow

MAGIC = 0x1950A86A20F9469CFC6C
"""First value of torch's files from before they were zip archives."""
OLD_VERSION = 1001
STORAGES = {
    **{"ByteStorage": 1, "CharStorage": 1, "BoolStorage": 1, "ShortStorage": 2, "IntStorage": 4},
    **{"LongStorage": 8, "HalfStorage": 2, "BFloat16Storage": 2, "FloatStorage": 4},
    **{"DoubleStorage": 8, "ComplexFloatStorage": 8, "ComplexDoubleStorage": 16},
}
"""Bytes of a number in each kind of storage."""
DTYPES = (
    *("float64", "float32", "float16", "bfloat16", "complex64", "complex128", "bool"),
    *("uint8", "int8", "int16", "int32", "int64"),
)


@dataclass(frozen=True, eq=False)
class Storage:
    """Numbers that tensors share.

    Attributes:
        key: its name in the file.
        count: numbers in it.
        width: bytes of each.
    """

    key: str
    count: int
    width: int


def check_file(path: Path) -> bool:
    """Check one of torch's files before torch reads it; say whether it is a zip archive.

    Raises:
        CodeError: its pickle names code that weights do not need; the message is the name.
        RefusedError: it has something else that no file with weights has, which the message names.
        DamagedError: it is not whole, or not of torch's.
    """
    with open(path, "rb") as file:
        begin = file.read(512)
    if begin.startswith(b"PK\x03\x04"):
        _check_archive(path)
        return True
    if begin[257:262] == b"ustar":
        raise RefusedError("a tar archive, as torch wrote before 2017")
    _check_old(path)
    return False


def _check_archive(path: Path) -> None:
    archive = read_archive(path)

    def persistent(values: tuple[Any, ...]) -> Storage:
        storage = _storage(values, 5)
        size = archive.storages.get(storage.key)
        if size is None:
            raise DamagedError(f"its storage {shown(storage.key)} is missing")
        if size != storage.count * storage.width:
            raise DamagedError(
                f"its storage {shown(storage.key)} has {size} bytes, expected "
                f"{storage.count * storage.width}"
            )
        return storage

    stream = BytesIO(archive.pickle)
    followed = follow(stream, Allowed(NAMES, persistent))
    if followed.odd:
        raise RefusedError(followed.odd)
    if stream.read(1):
        raise RefusedError("more behind its pickle")


def _check_old(path: Path) -> None:
    """Check a file of five pickles, one behind the other, and the bytes of the storages."""
    found: dict[str, Storage] = {}

    def persistent(values: tuple[Any, ...]) -> Storage:
        storage = _storage(values, 6)
        known = found.setdefault(storage.key, storage)
        if (known.count, known.width) != (storage.count, storage.width):
            raise DamagedError(f"its storage {shown(storage.key)} has two sizes")
        return _view(storage, values[5])

    with open(path, "rb") as file:
        stream = BytesIO(file.read(MAX_PICKLE))
        keys = _old_keys(stream, persistent)
        if type(keys) is not list or sorted(map(str, keys)) != sorted(found):
            raise DamagedError("its storages are not those of its tensors")
        _check_old_storages(file, stream.tell(), [found[key] for key in keys])


def _old_keys(stream: BytesIO, persistent: Call) -> Any:
    """Follow all five pickles and give what the last one holds, the keys of the storages."""
    nothing = Allowed(NAMES, lambda values: _refuse("a value outside its pickle"))
    first = follow(stream, nothing)
    if first.value != MAGIC:
        raise RefusedError(first.odd) if first.odd else DamagedError("not what torch writes")
    kinds = (nothing, nothing, Allowed(NAMES, persistent), nothing)
    version, system, tensors, keys = (follow(stream, allowed) for allowed in kinds)
    if odd := first.odd or version.odd or system.odd or tensors.odd or keys.odd:
        raise RefusedError(odd)
    if version.value != OLD_VERSION:
        raise DamagedError("not what torch writes")
    return keys.value


def _check_old_storages(file: BinaryIO, place: int, storages: Sequence[Storage]) -> None:
    for storage in storages:
        file.seek(place)
        count = int.from_bytes(file.read(8), "little")
        if count != storage.count:
            raise DamagedError(
                f"its storage {shown(storage.key)} has {count} numbers, expected {storage.count}"
            )
        place += 8 + count * storage.width
    size = os.fstat(file.fileno()).st_size
    if place != size:
        raise DamagedError(f"it has {size} bytes, expected {place}")


def _refuse(what: str) -> Any:
    raise RefusedError(what)


def _storage(values: tuple[Any, ...], length: int) -> Storage:
    """Give the storage that a persistent id names."""
    if not values or values[0] != "storage" or len(values) != length:
        raise RefusedError(f"the kind {shown(values[0] if values else None)}")
    _, kind, key, location, count = values[:5]
    known = isinstance(kind, Name) and kind.module == "torch" and kind.name in STORAGES
    if not known or type(location) is not str or location == "meta":
        raise RefusedError(f"a storage of {kind if isinstance(kind, Name) else shown(kind)}")
    if type(key) is not str or not _whole(count):
        raise RefusedError(f"the storage {shown(key)} of {shown(count)} numbers")
    return Storage(key, count, STORAGES[kind.name])


def _view(storage: Storage, view: Any) -> Storage:
    if view is None:
        return storage
    if type(view) is not tuple or len(view) != 3 or type(view[0]) is not str:
        raise RefusedError(f"the part {shown(view)} of a storage")
    key, offset, count = view
    if not _whole(offset, count) or offset + count > storage.count:
        raise RefusedError(f"the part {shown(view)} of a storage of {storage.count} numbers")
    return Storage(key, count, storage.width)


def _whole(*numbers: Any) -> bool:
    return all(type(number) is int and 0 <= number < 2**63 for number in numbers)


def _tensor(values: tuple[Any, ...]) -> Made:
    """Check that a tensor lies within its storage, and has no more numbers than that."""
    storage, offset, shape, stride = _taken(values, 4, 6)[:4]
    if not isinstance(storage, Storage):
        raise RefusedError(f"a {type(storage).__name__} for a storage")
    shaped = type(shape) is tuple and type(stride) is tuple and len(shape) == len(stride)
    if not shaped or len(shape) > 64 or not _whole(offset, *shape, *stride):
        raise RefusedError(f"the shape {shown(shape)} and the strides {shown(stride)}")
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    if 0 not in shape and (last >= storage.count or prod(shape) > storage.count):
        raise RefusedError(
            f"the shape {shown(shape)} and the strides {shown(stride)} from {offset} on in a "
            f"storage of {storage.count} numbers"
        )
    if len(values) == 6 and (type(values[4]) is not bool or values[5]):
        raise RefusedError(f"the hooks {shown(values[5])}")
    return Made("a tensor")


def _taken(values: tuple[Any, ...], *lengths: int) -> tuple[Any, ...]:
    if len(values) not in lengths:
        raise RefusedError(f"{len(values)} arguments")
    return values


def _parameter(values: tuple[Any, ...]) -> Made:
    tensor, trained, hooks = _taken(values, 3)
    if not isinstance(tensor, Made) or tensor.by != "a tensor" or type(trained) is not bool:
        raise RefusedError("something other than a tensor")
    if hooks:
        raise RefusedError(f"the hooks {shown(hooks)}")
    return tensor


def _ordered(values: tuple[Any, ...]) -> Any:
    """Give an ordered table; Python 2 gave it the list of its pairs."""
    pairs = _taken(values, 0, 1)[0] if values else []
    plain = type(pairs) is list and all(
        type(pair) in {list, tuple} and len(pair) == 2 and type(pair[0]) in {str, int}
        for pair in pairs
    )
    if not plain:
        raise RefusedError("something other than pairs")
    return OrderedDict(tuple(pair) for pair in pairs)


def _of(name: str, *kinds: Callable[[Any], bool], least: int = 0) -> Call:
    """Give the stand-in of a call that takes arguments of these kinds, at least so many."""

    def call(values: tuple[Any, ...]) -> Made:
        _taken(values, *range(least, len(kinds) + 1))
        for kind, value in zip(kinds, values, strict=False):
            if not kind(value):
                raise RefusedError(f"{shown(value)}")
        return Made(name)

    return call


def _is_text(value: Any) -> bool:
    return type(value) is str and len(value) <= MAX_PICKLE


def _is_shape(value: Any) -> bool:
    return type(value) is tuple and len(value) <= 64 and _whole(*value)


def _is_plain_list(value: Any) -> bool:
    return type(value) is list and all(type(each) in {str, int, float, bool} for each in value)


NAMES: Mapping[tuple[str, str], Call | None] = {
    **{("torch", name): None for name in (*STORAGES, *DTYPES)},
    ("collections", "OrderedDict"): _ordered,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch", "Size"): _of("torch.Size", _is_shape, least=1),
    ("torch", "device"): _of("torch.device", _is_text, _whole, least=1),
    ("builtins", "set"): _of("builtins.set", _is_plain_list),
    ("__builtin__", "set"): _of("builtins.set", _is_plain_list),
    ("collections", "Counter"): _of("collections.Counter", lambda each: type(each) is dict),
    ("_codecs", "encode"): _of("_codecs.encode", _is_text, lambda each: each == "latin1", least=2),
    # Tensors of other kinds, which no network takes; they are read to be named.
    ("torch.serialization", "_get_layout"): _of("a layout", _is_text, least=1),
    ("torch._utils", "_rebuild_sparse_tensor"): _of(
        "a sparse tensor",
        lambda each: isinstance(each, Made) and each.by == "a layout",
        lambda each: type(each) is tuple,
        least=2,
    ),
    ("torch._utils", "_rebuild_meta_tensor_no_storage"): _of(
        "a tensor without numbers",
        lambda each: isinstance(each, Name) and each.name in DTYPES,
        _is_shape,
        _is_shape,
        lambda each: type(each) is bool,
        least=4,
    ),
}
"""Names that weights may ask for, each with what stands for its call."""
