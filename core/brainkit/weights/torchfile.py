"""Torch's files with weights, read as data: zip archives, and the form from before torch 1.6.

What is looked at are views: a file's numbers are read when they are written, so that a file cut off
meanwhile is an error. Nothing here needs torch.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from brainkit.checkpoints.safetensors import quoted
from brainkit.errors import CheckpointError
from brainkit.weights import tensors
from brainkit.weights.archives import MAX_PICKLE, read_archive
from brainkit.weights.file import WeightFile
from brainkit.weights.opcodes import DamagedError, RefusedError, Window
from brainkit.weights.pickle import Allowed, Call, CodeError, StandIn, follow, kind_of
from brainkit.weights.state_dict import named_tensors
from brainkit.weights.tensors import KINDS, OtherTensor, Part, Storage, Tensor

SUFFIXES = (".ckpt", ".bin", ".pt", ".pth", ".tar")
MAGIC = 0x1950A86A20F9469CFC6C
"""First value of torch's files from before they were zip archives."""
OLD_VERSION = 1001
DTYPES = (
    *("float64", "float32", "float16", "bfloat16", "complex64", "complex128", "bool"),
    *("uint8", "int8", "int16", "int32", "int64"),
)


def open_torch(path: Path, stack: ExitStack) -> WeightFile:
    """Open one of torch's files; `stack` closes it.

    Raises:
        CheckpointError: it asks for code to be run, holds something that no file with weights has,
            or is damaged.
    """
    file = stack.enter_context(open(path, "rb"))  # noqa: SIM115 (the stack closes it)
    try:
        loaded = read(file)
        if not isinstance(loaded, dict):
            raise DamagedError(f"it holds a {kind_of(loaded)} in place of named tensors")
    except CodeError as error:
        raise _refused(path, f"{error}, code that loading would run") from error
    except RefusedError as error:
        raise _refused(path, f"{error}, which no file with weights has") from error
    except DamagedError as error:
        raise CheckpointError(
            f"{path} is not a whole checkpoint ({str(error)[:200]}); download or copy it again"
        ) from error
    named = named_tensors(loaded)
    entries = {name: each.entry for name, each in named.items()}
    keys = () if named else tuple(map(str, loaded))
    return WeightFile(path, entries, lambda name: read_tensor(path, named[name]), keys=keys)


def read_tensor(path: Path, tensor: Tensor | OtherTensor) -> bytes:
    """Return a tensor's bytes, row-major and little-endian, from its open file.

    Raises:
        CheckpointError: the file was cut off meanwhile, or the tensor is of another kind.
    """
    if not isinstance(tensor, Tensor):
        raise CheckpointError(f"{path} holds a {tensor.entry.dtype}, whose numbers are not read")
    try:
        return tensor.read()
    except EOFError as error:
        raise CheckpointError(f"{path}: {error}; download or copy it again") from error


def _refused(path: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"{path} holds {what}, so it was not read; give the .safetensors file or the diffusers "
        "folder of the same weights"
    )


def read(file: BinaryIO) -> Any:
    """Return the value of one of torch's files, with what stands for its tensors.

    Raises:
        CodeError: its pickle names code that weights do not need; the message is the name.
        RefusedError: it has something else that no file with weights has, which the message names.
        DamagedError: it is not whole, or not of torch's.
    """
    begin = file.read(512)
    if begin.startswith(b"PK\x03\x04"):
        return _read_archive(file)
    if begin[257:262] == b"ustar":
        raise RefusedError("a tar archive, as torch wrote before 2017")
    return read_old(Window(file))


def _read_archive(file: BinaryIO) -> Any:
    archive, storages = read_archive(file), dict[str, Storage]()

    def persistent(values: tuple[Any, ...]) -> Storage:
        storage = _shared(storages, tensors.storage_of(values, 5))
        span = archive.storages.get(storage.key)
        if span is None:
            raise DamagedError(f"its storage {quoted(storage.key)} is missing")
        size, expected = span.end - span.begin, storage.count * storage.width
        if size != expected:
            raise DamagedError(
                f"its storage {quoted(storage.key)} has {size} bytes, expected {expected}"
            )
        storage.numbers = Window(file, *span)
        storage.swapped = archive.big_endian
        return storage

    window = Window(BytesIO(archive.pickle))
    followed = follow(window, allowed(persistent))
    if followed.odd:
        raise RefusedError(followed.odd)
    if window.read(1):
        raise RefusedError("more behind its pickle")
    return followed.value


def _shared(storages: dict[str, Storage], storage: Storage) -> Storage:
    """Return the one storage of a key, however often it is named."""
    known = storages.setdefault(storage.key, storage)
    if (known.kind, known.count) != (storage.kind, storage.count):
        raise DamagedError(f"its storage {quoted(storage.key)} is described in two ways")
    return known


def read_old(window: Window) -> Any:
    """Return the value of five pickles, one behind the other, and of the storages behind them.

    Raises:
        CodeError: as `read`, likewise RefusedError and DamagedError.
    """
    storages: dict[str, Storage] = {}

    def persistent(values: tuple[Any, ...]) -> Storage | Part:
        return _part(_shared(storages, tensors.storage_of(values, 6)), values[5])

    end = window.end
    window.end = min(window.place + MAX_PICKLE, end)
    keys, value = _old_pickles(window, persistent)
    # Texts alone: a nesting of one tuple in many would take for ever to write out.
    texts = type(keys) is list and all(type(key) is str for key in keys)
    if not texts or sorted(keys) != sorted(storages):
        raise DamagedError("its storages are not those of its tensors")
    _place(Window(window.file, window.place, end), [storages[key] for key in keys])
    return value


def _old_pickles(window: Window, persistent: Call) -> tuple[Any, Any]:
    """Follow all five pickles; return the keys of the storages, and the value with the tensors."""
    nothing = allowed(lambda values: _refuse("a value outside its pickle"))
    first = follow(window, nothing)
    if first.value != MAGIC:
        raise RefusedError(first.odd) if first.odd else DamagedError("not what torch writes")
    kinds = (nothing, nothing, allowed(persistent), nothing)
    version, system, value, keys = (follow(window, each) for each in kinds)
    if odd := first.odd or version.odd or system.odd or value.odd or keys.odd:
        raise RefusedError(odd)
    if version.value != OLD_VERSION:
        raise DamagedError("not what torch writes")
    if isinstance(system.value, dict) and system.value.get("little_endian") is False:
        raise DamagedError("its numbers are big-endian, expected little-endian")
    return keys.value, value.value


def _place(window: Window, storages: Sequence[Storage]) -> None:
    """Say of storages, which lie one behind the other, where their numbers are."""
    for storage in storages:
        count = int.from_bytes(window.read(8), "little")
        if count != storage.count:
            raise DamagedError(
                f"its storage {quoted(storage.key)} has {count} numbers, expected {storage.count}"
            )
        storage.numbers = Window(window.file, *window.skip(count * storage.width))
    if window.place != window.end:
        raise DamagedError(f"{window.end - window.place} bytes follow its last storage")


def _refuse(what: str) -> Any:
    raise RefusedError(what)


def _part(storage: Storage, view: Any) -> Storage | Part:
    if view is None:
        return storage
    if type(view) is not tuple or len(view) != 3 or type(view[0]) is not str:
        raise RefusedError(f"the part {quoted(view)} of a storage")
    _, first, count = view
    if not tensors.whole(first, count) or first + count > storage.count:
        raise RefusedError(f"the part {quoted(view)} of a storage of {storage.count} numbers")
    return Part(storage, first, count)


def _state(table: Any, state: Any) -> None:
    """Check a state: torch keeps a table of versions as an attribute of the table of tensors."""
    if isinstance(table, StandIn) and table.by == NUMBER_KIND and _is_plain(state):
        return
    if type(table) is not OrderedDict or type(state) is not dict:
        raise RefusedError(f"a state for a {kind_of(table)}")
    if others := sorted(map(str, state.keys() - {"_metadata"})):
        raise RefusedError(f"the attribute {quoted(others[0])} of a collections.OrderedDict")


def ordered(values: tuple[Any, ...]) -> Any:
    """Return an ordered table; Python 2 gave it the list of its pairs.

    Raises:
        RefusedError: it is made of something else.
    """
    pairs = tensors.taken(values, 0, 1)[0] if values else []
    plain = type(pairs) is list and all(
        type(pair) in {list, tuple} and len(pair) == 2 and type(pair[0]) in {str, int}
        for pair in pairs
    )
    if not plain:
        raise RefusedError("something other than pairs")
    return OrderedDict(tuple(pair) for pair in pairs)


def _of(name: str, *kinds: Callable[[Any], bool], least: int = 0) -> Call:
    """Return the stand-in of a call that takes arguments of these kinds, at least so many."""

    def call(values: tuple[Any, ...]) -> StandIn:
        tensors.taken(values, *range(least, len(kinds) + 1))
        for kind, value in zip(kinds, values, strict=False):
            if not kind(value):
                raise RefusedError(quoted(value))
        return StandIn(name)

    return call


def _is_text(value: Any) -> bool:
    return type(value) is str and len(value) <= MAX_PICKLE


def _is_plain_list(value: Any) -> bool:
    return type(value) is list and all(type(each) in {str, int, float, bool} for each in value)


def _is_plain(value: Any) -> bool:
    plain = {str, int, bool, type(None)}
    return type(value) is tuple and len(value) <= 9 and all(type(each) in plain for each in value)


NUMBER_KIND = "numpy.dtype"


def _number_kind(values: tuple[Any, ...]) -> StandIn:
    """Return what stands for NumPy's dtype of a number; others, such as objects, are refused."""
    name, *flags = tensors.taken(values, 1, 2, 3)
    number = type(name) is str and re.fullmatch(r"[biufc][0-9]{1,2}", name)
    if not number or any(type(flag) not in {bool, int} for flag in flags):
        raise RefusedError(quoted(values))
    return StandIn(NUMBER_KIND)


def _number(values: tuple[Any, ...]) -> StandIn:
    """Return what stands for one of NumPy's numbers, such as a loss beside the tensors."""
    kind, content = tensors.taken(values, 2)
    packed = isinstance(content, StandIn) and content.by == "_codecs.encode"
    if not isinstance(kind, StandIn) or kind.by != NUMBER_KIND or not packed:
        raise RefusedError(f"a {kind_of(kind)} and a {kind_of(content)}")
    return StandIn("numpy number")


NAMES: Mapping[tuple[str, str], Call | None] = {
    **{("torch", name): None for name in (*KINDS, *DTYPES)},
    ("collections", "OrderedDict"): ordered,
    ("torch._utils", "_rebuild_tensor"): tensors.tensor,
    ("torch._utils", "_rebuild_tensor_v2"): tensors.tensor,
    ("torch._utils", "_rebuild_parameter"): tensors.parameter,
    ("torch", "Size"): tensors.size,
    ("torch", "device"): _of("torch.device", _is_text, tensors.whole, least=1),
    ("builtins", "set"): _of("builtins.set", _is_plain_list),
    ("__builtin__", "set"): _of("builtins.set", _is_plain_list),
    ("collections", "Counter"): _of("collections.Counter", lambda each: type(each) is dict),
    ("_codecs", "encode"): _of("_codecs.encode", _is_text, lambda each: each == "latin1", least=2),
    ("numpy", "dtype"): _number_kind,
    **{(f"numpy.{core}.multiarray", "scalar"): _number for core in ("core", "_core")},
    ("torch.serialization", "_get_layout"): tensors.layout,
    ("torch._utils", "_rebuild_sparse_tensor"): tensors.sparse,
    ("torch._utils", "_rebuild_meta_tensor_no_storage"): tensors.without_numbers,
}
"""Names that weights may ask for, each with what stands for its call."""


def allowed(persistent: Call) -> Allowed:
    """Return what torch's pickles may ask for, given what stands for their storages."""
    return Allowed(NAMES, persistent, _state)
