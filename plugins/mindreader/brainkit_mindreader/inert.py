"""Read a pickle as data: its opcodes are followed here, and nothing that it names is ever called.

Python's own unpickler imports what a file names and calls it. This one knows the opcodes that
build numbers, texts, lists, dictionaries and sets. Where a file asks for a class or function, it
has to be one of those that the caller lists by exact module and name, and a function of the
caller's stands for it, never the thing itself. All else is refused before anything is made of it.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

MAX_OPCODES = 500_000
"""A snapshot of full size has about 100,000."""
MAX_DEPTH = 1000
"""Of containers that are still open; snapshots have about 60."""
COPIED = 4096
"""Bytes up to which a piece of a file is copied."""


class DamagedError(ValueError):
    """The bytes are no pickle, or not one of the expected kind."""


class RefusedError(DamagedError):
    """The pickle asks for something that is not on the list."""


class Name(NamedTuple):
    """A class or function that a pickle names; only the name, for comparison."""

    module: str
    name: str

    def __str__(self) -> str:
        return shown(f"{self.module}.{self.name}")


@dataclass(eq=False)
class Record:
    """Stands for an object: what it was, and the state it was given.

    Attributes:
        name: its class or the function that would make it.
        state: what the pickle sets it to; nothing is done with it.
    """

    name: Name
    state: Any = None


Stand = Callable[[tuple[Any, ...]], Any]
"""Gives what stands for a call, from its arguments; raises DamagedError for unusual ones."""


@dataclass(frozen=True)
class Allowed:
    """What a pickle may ask for.

    Attributes:
        calls: for each name that may be called (or made a new object of), what stands for it.
        names: names that may be mentioned but not called.
        persistent: what stands for a reference to outside; None refuses them.
    """

    calls: Mapping[Name, Stand] = field(default_factory=dict)
    names: frozenset[Name] = frozenset()
    persistent: Callable[[Any], Any] | None = None


class Mapped:
    """Bytes in memory or in a mapped file, read as a file is; long pieces are views of them."""

    def __init__(self, content: memoryview) -> None:
        self.content, self.place = content, 0

    def read(self, count: int) -> bytes | memoryview:
        """Give the next bytes, as many as there are."""
        piece = self.content[self.place : self.place + count]
        self.place += len(piece)
        return piece if len(piece) > COPIED else bytes(piece)

    def readline(self) -> bytes:
        """Give the bytes up to the next line's end, with it."""
        line = b""
        while not line.endswith(b"\n") and self.place < len(self.content):
            block = bytes(self.content[self.place : self.place + COPIED])
            piece = block[: block.find(b"\n") + 1] or block
            self.place += len(piece)
            line += piece
        return line

    def tell(self) -> int:
        """Give the place in bytes."""
        return self.place

    def rest(self) -> memoryview:
        """Give all that was not read yet."""
        return self.content[self.place :]


def read(stream: Mapped, allowed: Allowed) -> Any:
    """Give the value of the pickle that begins at the stream's place; stop behind it.

    Bytes of more than 4096 are given as views of the stream's content.

    Raises:
        RefusedError: it asks for a name that is not allowed, which the message gives.
        DamagedError: it is no pickle.
    """
    machine = _Machine(allowed)
    try:
        opcodes = pickletools.genops(stream)  # type: ignore[arg-type]  # reads as files do
        for count, (opcode, argument, _) in enumerate(opcodes):
            if count > MAX_OPCODES:
                raise DamagedError(f"it has more than {MAX_OPCODES} opcodes")
            machine.follow(opcode.name, argument)
    except DamagedError:
        raise
    except (ValueError, OverflowError, MemoryError, AttributeError) as error:
        # What pickletools makes of bytes that are no pickle, and of Python 2's texts in a view.
        raise DamagedError(shown(str(error) or type(error).__name__)) from error
    return machine.pop()


def shown(text: str) -> str:
    """Give a text from a file as it may be printed: short, without control characters."""
    cut = text if len(text) <= 100 else f"{text[:100]}..."
    return ascii(cut)[1:-1]


CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
}
EMPTY: Mapping[str, Callable[[], Any]] = {
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
    "EMPTY_TUPLE": tuple,
}
SHORT = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
IDLE = frozenset({"PROTO", "FRAME", "STOP"})


class _Machine:
    """The stack and the memo of the pickle's small language.

    Only its own lists, dictionaries and sets are changed, and only texts and whole numbers are
    hashed, so that no method of a value from the file runs and no depth of nesting matters.
    """

    def __init__(self, allowed: Allowed) -> None:
        self.allowed = allowed
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def follow(self, opcode: str, argument: Any) -> None:
        """Do what an opcode says."""
        if opcode in LITERALS:
            self.stack.append(argument)
        elif opcode in CONSTANTS:
            self.stack.append(CONSTANTS[opcode])
        elif opcode in EMPTY:
            self.stack.append(EMPTY[opcode]())
        elif opcode in SHORT:
            self.stack.append(tuple(reversed([self.pop() for _ in range(SHORT[opcode])])))
        elif opcode not in IDLE:
            method = _OPCODES.get(opcode)
            if method is None:
                raise RefusedError(f"the opcode {opcode}")
            method(self, argument)

    def pop(self) -> Any:
        """Take the topmost value."""
        if not self.stack:
            raise DamagedError("a value is missing on its stack")
        return self.stack.pop()

    def top(self, kind: type) -> Any:
        """Give the topmost value, which is to be a container of a kind."""
        if not self.stack or type(self.stack[-1]) is not kind:
            raise DamagedError(f"a {kind.__name__} is missing on its stack")
        return self.stack[-1]

    def since_mark(self) -> list[Any]:
        """Take all values since the last mark."""
        if not self.below:
            raise DamagedError("a mark is missing on its stack")
        taken, self.stack = self.stack, self.below.pop()
        return taken

    def mark(self, _: Any) -> None:
        if len(self.below) >= MAX_DEPTH:
            raise DamagedError(f"it is nested deeper than {MAX_DEPTH}")
        self.below.append(self.stack)
        self.stack = []

    def pop_mark(self, _: Any) -> None:
        self.since_mark()

    def drop(self, _: Any) -> None:
        # The last value may be a mark, as Python's own unpickler has it.
        if self.stack:
            self.stack.pop()
        else:
            self.since_mark()

    def tuple_(self, _: Any) -> None:
        values = self.since_mark()
        self.stack.append(tuple(values))

    def list_(self, _: Any) -> None:
        values = self.since_mark()
        self.stack.append(values)

    def dict_(self, _: Any) -> None:
        values = self.since_mark()
        self.stack.append(pairs(values))

    def append(self, _: Any) -> None:
        value = self.pop()
        self.top(list).append(value)

    def appends(self, _: Any) -> None:
        values = self.since_mark()
        self.top(list).extend(values)

    def setitem(self, _: Any) -> None:
        value, key = self.pop(), self.pop()
        self.top(dict).update(pairs([key, value]))

    def setitems(self, _: Any) -> None:
        values = self.since_mark()
        self.top(dict).update(pairs(values))

    def additems(self, _: Any) -> None:
        values = self.since_mark()
        self.top(set).update(key(each) for each in values)

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise DamagedError(f"it recalls value {shown(str(index))}, which it never kept")
        self.stack.append(self.memo[index])

    def put(self, index: int) -> None:
        value = self.pop()
        self.stack.append(value)
        self.memo[index] = value

    def memoize(self, _: Any) -> None:
        self.put(len(self.memo))

    def global_(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._mention(module, name)

    def stack_global(self, _: Any) -> None:
        name, module = self.pop(), self.pop()
        if type(name) is not str or type(module) is not str:
            raise DamagedError("a name of its is no text")
        self._mention(module, name)

    def _mention(self, module: str, name: str) -> None:
        mentioned = Name(module, name)
        if mentioned not in self.allowed.calls and mentioned not in self.allowed.names:
            raise RefusedError(str(mentioned))
        self.stack.append(mentioned)

    def call(self, _: Any) -> None:
        arguments, called = self.pop(), self.pop()
        if type(called) is not Name or called not in self.allowed.calls:
            raise RefusedError(f"a call of a {shown(type(called).__name__)}")
        if type(arguments) is not tuple:
            raise DamagedError(f"the arguments of {called} are no tuple")
        self.stack.append(self.allowed.calls[called](arguments))

    def build(self, _: Any) -> None:
        state = self.pop()
        if type(self.stack[-1] if self.stack else None) is not dict:
            self.top(Record).state = state
        # Attributes of a dictionary are no part of the weights.

    def persid(self, argument: str) -> None:
        self.stack.append(argument)
        self.binpersid(argument)

    def binpersid(self, _: Any) -> None:
        if self.allowed.persistent is None:
            raise RefusedError("a value outside the file (a persistent id)")
        self.stack.append(self.allowed.persistent(self.pop()))


_OPCODES: Mapping[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine.mark,
    "POP": _Machine.drop,
    "POP_MARK": _Machine.pop_mark,
    "TUPLE": _Machine.tuple_,
    "LIST": _Machine.list_,
    "DICT": _Machine.dict_,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "SETITEM": _Machine.setitem,
    "SETITEMS": _Machine.setitems,
    "ADDITEMS": _Machine.additems,
    "GET": _Machine.get,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "PUT": _Machine.put,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.memoize,
    "GLOBAL": _Machine.global_,
    "STACK_GLOBAL": _Machine.stack_global,
    "REDUCE": _Machine.call,
    "NEWOBJ": _Machine.call,
    "BUILD": _Machine.build,
    "PERSID": _Machine.persid,
    "BINPERSID": _Machine.binpersid,
}


def key(value: Any) -> str | int:
    """Give a value back that may be hashed: a text or a whole number."""
    if type(value) is not str and type(value) is not int:
        raise DamagedError(f"it has a {shown(type(value).__name__)} as the name of an entry")
    return value


def pairs(values: list[Any]) -> dict[str | int, Any]:
    """Give the dictionary of keys and values in turn."""
    if len(values) % 2:
        raise DamagedError("a dictionary of its has a key without a value")
    return {key(k): value for k, value in zip(values[::2], values[1::2], strict=True)}
