"""Read the networks of a StyleGAN2, LAFITE or Mind Reader snapshot (`.pkl`), running nothing of it.

Such a file is a pickle that carries the source code of its networks and has it run when it is
loaded. Here it is read as data, by the reader of pickles in `brainkit.weights`; this module has the
names that genuine files ask for, with what stands for each. The source is dropped unread.

Source: layout of NVLabs stylegan2-ada-pytorch, torch_utils/persistence.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from brainkit.checkpoints.limits import check_holes
from brainkit.checkpoints.safetensors import quoted
from brainkit.errors import CheckpointError
from brainkit.weights.opcodes import PLAIN_OPCODES, DamagedError, RefusedError, Span, Window
from brainkit.weights.pickle import Allowed, Call, CodeError, follow, kind_of
from brainkit.weights.tensors import Storage, Tensor, parameter, tensor
from brainkit.weights.torchfile import ordered, read_old

MAX_TENSORS = 10_000
MAX_MODULES = 10_000
MAX_MODULE_DEPTH = 32
MAX_NAME = 200
SPARE = 1 << 20
"""Bytes that a network's tensors may have beyond those of the file, for values they share."""
OPCODES = PLAIN_OPCODES | {
    *("INT", "LONG", "LONG4", "FLOAT", "STRING", "BINSTRING", "BINBYTES", "SHORT_BINBYTES"),
    *("BINBYTES8", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "EMPTY_SET", "ADDITEMS"),
    *("LIST", "DICT", "POP", "POP_MARK", "MEMOIZE", "STACK_GLOBAL", "NEWOBJ", "FRAME"),
}
"""Of every protocol in which training programs wrote snapshots."""
CONTAINERS = (
    ("torch.nn.modules.container", "Sequential"),
    ("torch.nn.modules.conv", "Conv1d"),
    ("torch.nn.modules.activation", "ReLU"),
)
IGNORED = (
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy", "dtype"),
)


@dataclass(eq=False)
class Module:
    """Stands for an object: what it was, and the attributes it was given.

    Attributes:
        class_name: of what it was.
        state: what the pickle sets it to; nothing is done with it.
        network: whether it can be a part of a network.
    """

    class_name: str
    state: Any = None
    network: bool = True


@dataclass(frozen=True)
class Network:
    """A network of a snapshot.

    Attributes:
        class_name: of the class that it was.
        tensors: parameters and buffers by their name; their numbers still lie in the file.
        arguments: plain values (numbers, texts, tables of them) its class was made with.
        attributes: plain values that its modules keep, by the module's and their own name.
    """

    class_name: str
    tensors: Mapping[str, Tensor]
    arguments: Mapping[str, Any]
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Snapshot:
    """An open file.

    Attributes:
        path: where it lies.
        size: its bytes.
        records: by their name, such as G, D, G_ema, fmri_vec.
    """

    path: Path
    size: int
    records: Mapping[str, Module]

    def network(self, name: str) -> Network:
        """Return a network's tensors, arguments and attributes.

        Raises:
            CheckpointError: there is no such network, or its parts are not a network's.
        """
        if name not in self.records:
            there = ", ".join(quoted(each)[1:-1] for each in sorted(self.records)) or "none"
            raise CheckpointError(
                f"{self.path} holds no network {name!r} but {there}; name one of these"
            )
        record = self.records[name]
        with _told(self.path):
            arguments = _plain(_state(record).get("_init_kwargs"))
            tensors = _tensors(record, self.size)
            return Network(record.class_name, tensors, arguments, _attributes(record))


@contextmanager
def open_snapshot(path: Path) -> Iterator[Snapshot]:
    """Open a snapshot; of its code, nothing is run.

    Raises:
        CheckpointError: the file is missing or damaged, or it asks for a class or function that no
            genuine snapshot holds, which the message names.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}; check the path or download it again")
    check_holes(path)
    try:
        file = open(path, "rb")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read ({error.strerror or error}); check its permissions"
        ) from error
    with file:
        with _told(path):
            snapshot = Snapshot(path, path.stat().st_size, _records(file))
        yield snapshot


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what is wrong inside a file into one sentence with its path."""
    try:
        yield
    except RefusedError as error:
        why = "and loading might run it, " if isinstance(error, CodeError) else ""
        raise CheckpointError(
            f"{path} holds {error}, which is no part of a LAFITE or Mind Reader snapshot, {why}so "
            "it was not read; give a .pkl as training wrote it"
        ) from error
    except DamagedError as error:
        raise CheckpointError(
            f"{path} is not a whole LAFITE or Mind Reader snapshot ({error}); download or copy it "
            "again"
        ) from error


def _records(file: BinaryIO) -> dict[str, Module]:
    begin = file.read(2)
    if not begin:
        raise DamagedError("it is empty")
    if begin == b"PK":
        raise DamagedError("it is an archive, as torch.save writes")
    if begin.startswith(b"<"):
        raise DamagedError("it is a web page, as Google Drive may send in a file's place")
    value, odd = follow(Window(file), _allowed(file))
    if odd:
        raise RefusedError(odd)
    if type(value) is not dict:
        raise DamagedError(f"it holds a {kind_of(value)} in place of named networks")
    return {_named(n): each for n, each in value.items() if _is_module(each)}


def _allowed(file: BinaryIO) -> Allowed:
    def storage(values: tuple[Any, ...]) -> Storage:
        return _storage(file, values)

    names: dict[tuple[str, str], Call] = {
        ("torch_utils.persistence", "_reconstruct_persistent_obj"): _persistent,
        ("torch._utils", "_rebuild_tensor_v2"): _tensor,
        ("torch._utils", "_rebuild_parameter"): parameter,
        ("torch.storage", "_load_from_bytes"): storage,
        ("collections", "OrderedDict"): ordered,
        ("dnnlib.util", "EasyDict"): ordered,
        ("builtins", "set"): _members,
        ("__builtin__", "set"): _members,
        ("_codecs", "encode"): _encoded,
        **{name: _made(name[1], network=True) for name in CONTAINERS},
        **{name: _made(name[1], network=False) for name in IGNORED},
    }
    return Allowed(names, _outside, _set_state, OPCODES, protocols=tuple(range(6)))


def _outside(values: tuple[Any, ...]) -> Any:
    raise RefusedError("a value outside the file")


def _set_state(target: Any, state: Any) -> None:
    if isinstance(target, Module):
        target.state = state
    elif not isinstance(target, dict):  # attributes of a dictionary are no part of the weights
        raise RefusedError(f"a state for a {kind_of(target)}")


def _made(class_name: str, *, network: bool) -> Call:
    return lambda values: Module(class_name, network=network)


def _persistent(values: tuple[Any, ...]) -> Module:
    match values:
        case ({"type": "class", "class_name": str() as name, "state": dict() as state},):
            return Module(name, state)
        case _:
            raise DamagedError("one of its persistent objects has no class_name and state")


def _tensor(values: tuple[Any, ...]) -> Tensor:
    view = tensor(values)
    if 0 in view.shape:
        raise RefusedError("no numbers at all")
    return view


def _storage(file: BinaryIO, values: tuple[Any, ...]) -> Storage:
    """Read a storage in the bytes that torch wrote for it: five small pickles, then the numbers."""
    match values:
        case (Span() as span,):
            window = Window(file, *span)
        case (bytes() as content,):
            window = Window(BytesIO(content))
        case _:
            raise DamagedError("one of its storages is not made of bytes")
    storage = read_old(window)
    if not isinstance(storage, Storage):
        raise DamagedError("one of its storages is not as torch writes them")
    return storage


def _members(values: tuple[Any, ...]) -> set[Any]:
    match values:
        case ():
            return set()
        case (list() as members,) if all(type(each) in (str, int) for each in members):
            return set(members)
        case _:
            raise DamagedError("one of its sets is not made of a list of names")


def _encoded(values: tuple[Any, ...]) -> bytes:
    """Return the bytes that pickles of protocol 2 write as text."""
    match values:
        case (str() as text, "latin1" | "latin-1"):
            try:
                return text.encode("latin-1")
            except UnicodeEncodeError as error:
                raise DamagedError("bytes of its have values above 255") from error
        case _:
            raise DamagedError("bytes of its are written otherwise than pickles do")


def _is_module(value: Any) -> bool:
    return isinstance(value, Module) and value.network


def _state(module: Module) -> dict[Any, Any]:
    """Return a module's attributes."""
    if not isinstance(module.state, dict):
        raise DamagedError("one of its modules has no attributes")
    return module.state


def _table(state: Mapping[Any, Any], name: str) -> dict[str, Any]:
    """Return what a module holds under a name, without the places that are empty."""
    table = state.get(name, {})
    if not isinstance(table, dict):
        raise DamagedError(f"the {name} of a module are no table")
    return {_named(n): each for n, each in table.items() if each is not None}


def _named(name: Any) -> str:
    if type(name) is not str or len(name) > MAX_NAME:
        raise DamagedError(f"a part of its has no name of up to {MAX_NAME} letters")
    return name


def _modules(record: Module) -> Iterator[tuple[str, dict[Any, Any]]]:
    """Return the prefix and attributes of a module and of all below it."""
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
                raise DamagedError(f"its {quoted(f'{prefix}{name}')[1:-1]} is no module")
            waiting.append((f"{prefix}{name}.", each, depth + 1))


def _tensors(record: Module, limit: int) -> dict[str, Tensor]:
    """Find a network's parameters and lasting buffers, if they take no more than the file."""
    tensors: dict[str, Tensor] = {}
    for prefix, state in _modules(record):
        passing = state.get("_non_persistent_buffers_set")
        passing = passing if type(passing) is set else set()
        buffers = {n: each for n, each in _table(state, "_buffers").items() if n not in passing}
        for name, each in (_table(state, "_parameters") | buffers).items():
            if not isinstance(each, Tensor):
                raise DamagedError(f"its {quoted(f'{prefix}{name}')[1:-1]} is no tensor")
            tensors[f"{prefix}{name}"] = each
        if len(tensors) > MAX_TENSORS:
            raise DamagedError(f"a network of its has more than {MAX_TENSORS} tensors")
    # Views of one storage may each be as large as it is.
    sizes = (t.storage.width * max(prod(t.shape), t.span) for t in tensors.values())
    if sum(sizes) > limit + SPARE:
        raise DamagedError("the tensors of a network of its take more than the whole file")
    return tensors


def _attributes(record: Module) -> dict[str, Any]:
    return {
        f"{prefix}{name}": value
        for prefix, state in _modules(record)
        for name, value in state.items()
        if type(name) is str and _is_plain(value)
    }


def _plain(value: Any, depth: int = 0) -> dict[str, Any]:
    """Return the part of a table that is numbers, texts and, two levels deep, tables of them."""
    if not isinstance(value, dict) or depth > 2:
        return {}
    named = {n: each for n, each in value.items() if type(n) is str}
    below = {n: _plain(each, depth + 1) for n, each in named.items() if isinstance(each, dict)}
    return {n: each for n, each in named.items() if _is_plain(each)} | below


def _is_plain(value: Any) -> bool:
    if type(value) is int:
        return value.bit_length() < 64
    return value is None or type(value) in (bool, float, str)
