"""How torch's tensors lie in their storages; read by their bytes, without torch."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from brainkit.checkpoints.safetensors import Entry, quoted
from brainkit.weights.opcodes import RefusedError, Window
from brainkit.weights.pickle import Name

KINDS = {
    "DoubleStorage": ("F64", 8),
    "FloatStorage": ("F32", 4),
    "HalfStorage": ("F16", 2),
    "BFloat16Storage": ("BF16", 2),
    "LongStorage": ("I64", 8),
    "IntStorage": ("torch.int32", 4),
    "ShortStorage": ("torch.int16", 2),
    "CharStorage": ("torch.int8", 1),
    "ByteStorage": ("torch.uint8", 1),
    "BoolStorage": ("torch.bool", 1),
    "ComplexFloatStorage": ("torch.complex64", 8),
    "ComplexDoubleStorage": ("torch.complex128", 16),
}
"""Of each kind of storage the dtype, in safetensors' words where weights have it, and the bytes of
a number."""


@dataclass(eq=False)
class Storage:
    """Numbers that tensors share.

    Attributes:
        key: its name in the file.
        kind: of `KINDS`.
        count: numbers in it.
        numbers: where its bytes lie; None as long as that is not known.
        swapped: whether they are big-endian.
    """

    key: str
    kind: str
    count: int
    numbers: Window | None = None
    swapped: bool = False

    @property
    def width(self) -> int:
        """Bytes of a number."""
        return KINDS[self.kind][1]

    def read(self, first: int, count: int) -> bytes:
        """Return the bytes of some numbers, little-endian.

        Raises:
            EOFError: the file was cut off since it was opened.
        """
        assert self.numbers is not None
        begin = self.numbers.place + first * self.width
        content = Window(self.numbers.file, begin, self.numbers.end).read(count * self.width)
        if len(content) < count * self.width:
            raise EOFError("it was cut off while it was read")
        return self._turned(content) if self.swapped else content

    def _turned(self, content: bytes) -> bytes:
        import numpy as np

        # A complex number is two numbers.
        width = self.width // 2 if self.kind.startswith("Complex") else self.width
        return np.frombuffer(content, f"u{width}").byteswap().tobytes()


@dataclass(frozen=True, eq=False)
class Part:
    """A part of a storage that has a name of its own, as files from before archives have them."""

    storage: Storage
    first: int
    count: int


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor as a view of a storage, in numbers, not bytes.

    Attributes:
        storage: its numbers, and maybe others.
        offset: of its first number.
        shape: lengths of its axes.
        strides: numbers from one place of an axis to the next.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def entry(self) -> Entry:
        """Its dtype and shape."""
        return Entry(KINDS[self.storage.kind][0], self.shape)

    @property
    def span(self) -> int:
        """How many numbers lie between its first and its last, both included; 0 without any."""
        steps = zip(self.shape, self.strides, strict=True)
        return 0 if 0 in self.shape else 1 + sum((n - 1) * step for n, step in steps)

    @property
    def row_major(self) -> bool:
        """Whether its numbers lie one behind the other in the order of its axes."""
        expected = 1
        for n, step in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if n != 1 and step != expected:
                return False
            expected *= n
        return True

    def read(self) -> bytes:
        """Return its bytes, row-major and little-endian.

        Raises:
            EOFError: the file was cut off since it was opened.
        """
        content = self.storage.read(self.offset, self.span)
        if self.row_major or not content:
            return content
        import numpy as np

        width = self.storage.width
        flat = np.frombuffer(content, np.dtype((np.void, width)))
        steps = tuple(step * width for step in self.strides)
        return np.lib.stride_tricks.as_strided(flat, self.shape, steps).tobytes()


@dataclass(frozen=True, eq=False)
class OtherTensor:
    """A tensor of another kind, which no network takes; it is read to be named."""

    entry: Entry


def storage_of(values: tuple[Any, ...], length: int) -> Storage:
    """Return the storage that a persistent id names, without its numbers.

    Raises:
        RefusedError: it is none of torch's.
    """
    if not values or values[0] != "storage" or len(values) != length:
        raise RefusedError(f"the kind {quoted(values[0] if values else None)}")
    _, kind, key, location, count = values[:5]
    known = isinstance(kind, Name) and kind.module == "torch" and kind.name in KINDS
    if not known or type(location) is not str or location == "meta":
        raise RefusedError(f"a storage of {kind if isinstance(kind, Name) else quoted(kind)}")
    if type(key) is not str or not whole(count):
        raise RefusedError(f"the storage {quoted(key)} of {quoted(count)} numbers")
    return Storage(key, kind.name, count)


def whole(*numbers: Any) -> bool:
    """Say whether values are whole numbers from 0 to 2^63 - 1."""
    return all(type(number) is int and 0 <= number < 2**63 for number in numbers)


def taken(values: tuple[Any, ...], *lengths: int) -> tuple[Any, ...]:
    """Return the arguments of a call if they are so many.

    Raises:
        RefusedError: they are more or fewer.
    """
    if len(values) not in lengths:
        raise RefusedError(f"{len(values)} arguments")
    return values


def tensor(values: tuple[Any, ...]) -> Tensor:
    """Return what stands for a tensor, which lies within its storage and is no larger than it.

    Raises:
        RefusedError: it is otherwise.
    """
    held, offset, shape, strides = taken(values, 4, 6)[:4]
    part = Part(held, 0, held.count) if isinstance(held, Storage) else held
    if not isinstance(part, Part):
        raise RefusedError(f"a {type(held).__name__} for a storage")
    shaped = type(shape) is tuple and type(strides) is tuple and len(shape) == len(strides)
    if not shaped or len(shape) > 64 or not whole(offset, *shape, *strides):
        raise RefusedError(f"the shape {quoted(shape)} and the strides {quoted(strides)}")
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if 0 not in shape and (last >= part.count or prod(shape) > part.count):
        raise RefusedError(
            f"the shape {quoted(shape)} and the strides {quoted(strides)} from {offset} on in a "
            f"storage of {part.count} numbers"
        )
    if len(values) == 6 and (type(values[4]) is not bool or values[5]):
        raise RefusedError(f"the hooks {quoted(values[5])}")
    return Tensor(part.storage, part.first + offset, shape, strides)


def parameter(values: tuple[Any, ...]) -> Tensor:
    """Return the tensor of a parameter.

    Raises:
        RefusedError: it is something else, or has hooks.
    """
    held, trained, hooks = taken(values, 3)
    if not isinstance(held, Tensor) or type(trained) is not bool:
        raise RefusedError("something other than a tensor")
    if hooks:
        raise RefusedError(f"the hooks {quoted(hooks)}")
    return held


def sparse(values: tuple[Any, ...]) -> OtherTensor:
    """Return what stands for a sparse tensor, from its layout and (indices, values, shape, ...)."""
    layout, parts = taken(values, 2)
    shape: Any = parts[2] if type(parts) is tuple and len(parts) > 2 else None
    if type(layout) is not str or not is_shape(shape):
        raise RefusedError(quoted(shape))
    return OtherTensor(Entry(f"{layout} tensor", shape))


def without_numbers(values: tuple[Any, ...]) -> OtherTensor:
    """Return what stands for a tensor on the meta device, from its dtype and its shape."""
    dtype, shape, strides, _ = taken(values, 4)
    if not isinstance(dtype, Name) or not is_shape(shape) or not is_shape(strides):
        raise RefusedError(quoted(shape))
    return OtherTensor(Entry("meta tensor", shape))


def size(values: tuple[Any, ...]) -> tuple[int, ...]:
    """Return the lengths of which a `torch.Size` is made."""
    (lengths,) = taken(values, 1)
    if not is_shape(lengths):
        raise RefusedError(quoted(lengths))
    return tuple(lengths)


def is_shape(value: Any) -> bool:
    """Say whether a value can be a tensor's shape."""
    return type(value) is tuple and len(value) <= 64 and whole(*value)


def layout(values: tuple[Any, ...]) -> str:
    """Return the name of a tensor's layout, such as torch.sparse_coo."""
    (name,) = taken(values, 1)
    if type(name) is not str:
        raise RefusedError(quoted(name))
    return quoted(name)[1:-1]
