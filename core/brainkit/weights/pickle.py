"""Follow a pickle's opcodes as data: the one reader of pickles.

Nothing that a pickle names is imported or called here, so nothing of it can run. A name that is not
on the caller's list ends the reading at once; whatever else is unusual is remembered, and told when
the pickle is through, so that a name further on is what the user hears of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass
from typing import Any, NamedTuple

from brainkit.checkpoints.safetensors import quoted
from brainkit.weights.opcodes import (
    PLAIN_OPCODES,
    DamagedError,
    RefusedError,
    Window,
    opcodes,
)

MAX_OPCODES = 2_000_000
"""3000 tensors take about 100,000, and an optimiser's state three times as many."""
MAX_ARGUMENTS = 20_000_000
"""Values and letters that all calls together are given; a pickle may give one list to each."""
MAX_ODD = 1000
"""Unusual things after which a pickle is not followed further for the sake of a name."""
MAX_DEPTH = 1000
"""Of containers that are open at once; files with weights have under 60."""


class CodeError(RefusedError):
    """The pickle names code that is not on the list; the message is the name."""


class Name(NamedTuple):
    """A class or function by the words of a pickle."""

    module: str
    name: str

    def __str__(self) -> str:
        return quoted(f"{self.module}.{self.name}")[1:-1]


@dataclass(frozen=True, eq=False)
class StandIn:
    """Stands for what a call would have given.

    Attributes:
        by: the name that was called, or what stands for it.
    """

    by: str


Call = Callable[[tuple[Any, ...]], Any]
"""Returns what stands for a call, from its arguments; raises RefusedError for unusual ones."""


@dataclass(frozen=True)
class Allowed:
    """What the pickles of one kind of file may ask for.

    Attributes:
        names: each with what stands for its call; None for those that are only mentioned.
        persistent: what stands for a value outside the pickle, by its id.
        state: is told an object's stand-in and the state that the pickle sets it to; raises
            RefusedError for unusual ones.
        opcodes: that are usual.
        protocols: that are usual.
    """

    names: Mapping[tuple[str, str], Call | None]
    persistent: Call
    state: Callable[[Any, Any], None]
    opcodes: frozenset[str] = PLAIN_OPCODES
    protocols: tuple[int, ...] = (2,)


class Followed(NamedTuple):
    """A pickle that was followed to its end.

    Attributes:
        value: what stands for its value.
        odd: the first thing that pickles of its kind do not have; empty when all is usual.
    """

    value: Any
    odd: str


def follow(window: Window, allowed: Allowed) -> Followed:
    """Follow the pickle at the window's place and stop behind it.

    Raises:
        CodeError: it names code that is not allowed.
        RefusedError: it is too large or too deep.
        DamagedError: it is no pickle.
    """
    machine = _Machine(allowed)
    try:
        for count, (opcode, argument) in enumerate(opcodes(window)):
            if count > MAX_OPCODES:
                raise RefusedError(f"more than {MAX_OPCODES} opcodes in its pickle")
            if count == 0 and opcode != "PROTO":
                machine.protocol(0)
            machine.do(opcode, argument)
        value = machine.pop()
    except (RefusedError, DamagedError):
        raise
    except UnicodeDecodeError as error:
        if error.encoding == "ascii":  # the line of a name
            raise CodeError(quoted(error.object.decode(errors="replace"))[1:-1]) from error
        raise DamagedError("its pickle is damaged") from error
    except (ValueError, IndexError, OverflowError, MemoryError) as error:
        # What pickletools and an empty stack make of bytes that are no pickle.
        raise DamagedError("its pickle is damaged") from error
    return Followed(value, machine.odd)


CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
EMPTY: Mapping[str, Callable[[], Any]] = {
    **{"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple, "EMPTY_SET": set},
}
SHORT = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("BYTEARRAY8", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
}
IDLE = {"STOP", "FRAME", "READONLY_BUFFER"}
HASHED = {str, int, float, bool}
"""Kinds of values that are hashed, so that no depth of nesting matters."""


class _Machine:
    """The stack and the memo of the pickle's small language.

    Only its own lists, dictionaries and sets are changed.
    """

    def __init__(self, allowed: Allowed) -> None:
        self.allowed = allowed
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.odd, self.odd_count, self.arguments = "", 0, 0

    def strange(self, what: str) -> None:
        """Remember the first unusual thing."""
        self.odd, self.odd_count = self.odd or what, self.odd_count + 1
        if self.odd_count > MAX_ODD:
            raise RefusedError(self.odd)

    def count(self, *values: Any) -> None:
        """Count what a call is given, which may be copied or looked through."""
        self.arguments += sum(len(each) for each in values if isinstance(each, Sized))
        if self.arguments > MAX_ARGUMENTS:
            raise RefusedError(f"calls with more than {MAX_ARGUMENTS} values in its pickle")

    def do(self, opcode: str, argument: Any) -> None:
        """Do what an opcode says."""
        if opcode not in self.allowed.opcodes and opcode not in _OBJECTS:
            self.strange(f"the opcode {opcode}")
        if opcode in LITERALS:
            self.stack.append(argument)
        elif opcode in CONSTANTS:
            self.stack.append(CONSTANTS[opcode])
        elif opcode in EMPTY:
            self.stack.append(EMPTY[opcode]())
        elif opcode in SHORT:
            self.short(SHORT[opcode])
        elif opcode not in IDLE:
            (_OPCODES.get(opcode) or _OBJECTS[opcode])(self, argument)

    def short(self, count: int) -> None:
        """Put so many of the topmost values into a tuple."""
        start = len(self.stack) - count
        if start < 0:
            raise DamagedError("its pickle is damaged")
        self.stack[start:] = [tuple(self.stack[start:])]

    def pop(self) -> Any:
        return self.stack.pop()

    def to_mark(self) -> list[Any]:
        """Take all values since the last mark."""
        taken, self.stack = self.stack, self.below.pop()
        return taken

    def mark(self, _: Any) -> None:
        if len(self.below) >= MAX_DEPTH:
            raise RefusedError(f"a nesting deeper than {MAX_DEPTH} in its pickle")
        self.below.append(self.stack)
        self.stack = []

    def protocol(self, number: int) -> None:
        if number not in self.allowed.protocols:
            usual = " or ".join(map(str, self.allowed.protocols))
            self.strange(f"a pickle of protocol {number or '0 or 1'}, expected {usual}")

    def tuple_(self, _: Any) -> None:
        values = self.to_mark()
        self.stack.append(tuple(values))

    def list_(self, _: Any) -> None:
        values = self.to_mark()
        self.stack.append(values)

    def dict_(self, _: Any) -> None:
        values = self.to_mark()
        self.stack.append({})
        self._enter(values)

    def append(self, _: Any) -> None:
        self._extend([self.pop()])

    def appends(self, _: Any) -> None:
        self._extend(self.to_mark())

    def _extend(self, values: list[Any]) -> None:
        if type(self.stack[-1]) is list:
            self.stack[-1].extend(values)
        else:
            self.strange(f"values appended to a {kind_of(self.stack[-1])}")

    def setitem(self, _: Any) -> None:
        value, key = self.pop(), self.pop()
        self._enter([key, value])

    def setitems(self, _: Any) -> None:
        self._enter(self.to_mark())

    def _enter(self, values: list[Any]) -> None:
        table = self.stack[-1]
        if not isinstance(table, dict):
            self.strange(f"entries set in a {kind_of(table)}")
        elif len(values) % 2:
            raise DamagedError("its pickle is damaged")
        elif self._hashable(values[::2], "the name of an entry"):
            table.update(zip(values[::2], values[1::2], strict=True))

    def _hashable(self, values: list[Any], used_as: str) -> bool:
        odd = [value for value in values if type(value) not in HASHED]
        if odd:
            self.strange(f"a {kind_of(odd[0])} as {used_as}")
        return not odd

    def additems(self, _: Any) -> None:
        values = self.to_mark()
        if type(self.stack[-1]) is not set:
            self.strange(f"members added to a {kind_of(self.stack[-1])}")
        elif self._hashable(values, "the member of a set"):
            self.stack[-1].update(values)

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise DamagedError("its pickle is damaged")
        self.stack.append(self.memo[index])

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def memoize(self, _: Any) -> None:
        self.put(len(self.memo))

    def drop(self, _: Any) -> None:
        # The last value may be a mark, as Python's own unpickler has it.
        if self.stack:
            self.pop()
        else:
            self.to_mark()

    def drop_to_mark(self, _: Any) -> None:
        self.to_mark()

    def twice(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def buffer(self, _: Any) -> None:
        self.stack.append(StandIn("a buffer from outside"))

    def name(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._mention(Name(module, name))

    def name_from_stack(self, _: Any) -> None:
        name, module = self.pop(), self.pop()
        if type(name) is not str or type(module) is not str:
            raise CodeError(f"{quoted(module)}.{quoted(name)}")
        self._mention(Name(module, name))

    def _mention(self, name: Name) -> None:
        if tuple(name) not in self.allowed.names:
            raise CodeError(str(name))
        self.stack.append(name)

    def extension(self, code: int) -> None:
        raise CodeError(f"the class or function of extension code {code}")

    def instance(self, argument: str) -> None:
        self.to_mark()
        self.name(argument)
        self._strange_object(self.pop())

    def object_(self, _: Any) -> None:
        self._strange_object(self.to_mark()[0])

    def new(self, _: Any) -> None:
        if "NEWOBJ" in self.allowed.opcodes:
            self.call(None)
        else:
            self.pop()
            self._strange_object(self.pop())

    def new_with_keywords(self, _: Any) -> None:
        self.pop()
        self.pop()
        self._strange_object(self.pop())

    def _strange_object(self, kind: Any) -> None:
        self.strange(f"an object made of {_called(kind)} without its own function")
        self.stack.append(StandIn(_called(kind)))

    def call(self, _: Any) -> None:
        values, called = self.pop(), self.pop()
        if isinstance(called, Name):
            function = self.allowed.names[called]
            if function and type(values) is tuple:
                self.stack.append(self._stand(str(called), function, values))
                return
        self.strange(f"a call of {_called(called)}")
        self.stack.append(StandIn(_called(called)))

    def _stand(self, called: str, function: Call, values: tuple[Any, ...]) -> Any:
        self.count(values, *values)
        try:
            return function(values)
        except CodeError:
            raise
        except RefusedError as error:
            self.strange(f"a call of {called} with {error}")
            return StandIn(called)

    def build(self, _: Any) -> None:
        state = self.pop()
        self.count(state)
        try:
            self.allowed.state(self.stack[-1], state)
        except RefusedError as error:
            self.strange(str(error))

    def persistent_text(self, argument: str) -> None:
        self.strange(f"the persistent id {quoted(argument)}")
        self.stack.append(StandIn("a persistent id"))

    def persistent(self, _: Any) -> None:
        values = self.pop()
        if type(values) is not tuple:
            self.strange(f"the persistent id {quoted(values)}")
            self.stack.append(StandIn("a persistent id"))
        else:
            self.stack.append(self._stand("a persistent id", self.allowed.persistent, values))

    def frozen(self, _: Any) -> None:
        self.to_mark()
        self.stack.append(StandIn("builtins.frozenset"))


def kind_of(value: Any) -> str:
    """Return what a value or its stand-in is, for people."""
    return f"{value.by} object" if isinstance(value, StandIn) else type(value).__name__


def _called(value: Any) -> str:
    if isinstance(value, Name):
        return str(value)
    return f"what {value.by} gave" if isinstance(value, StandIn) else f"a {type(value).__name__}"


_M = _Machine
_OPCODES: Mapping[str, Callable[[_Machine, Any], None]] = {
    **{"PROTO": _M.protocol, "MARK": _M.mark, "POP": _M.drop, "POP_MARK": _M.drop_to_mark},
    **{"DUP": _M.twice, "TUPLE": _M.tuple_, "LIST": _M.list_, "DICT": _M.dict_},
    **{"APPEND": _M.append, "APPENDS": _M.appends, "SETITEM": _M.setitem},
    **{"SETITEMS": _M.setitems, "ADDITEMS": _M.additems, "FROZENSET": _M.frozen},
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _M.get),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _M.put),
    **{"MEMOIZE": _M.memoize, "GLOBAL": _M.name, "STACK_GLOBAL": _M.name_from_stack},
    **{"REDUCE": _M.call, "BUILD": _M.build, "BINPERSID": _M.persistent},
    "NEXT_BUFFER": _M.buffer,
}
_OBJECTS: Mapping[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(("EXT1", "EXT2", "EXT4"), _M.extension),
    **{"INST": _M.instance, "OBJ": _M.object_, "NEWOBJ": _M.new},
    **{"NEWOBJ_EX": _M.new_with_keywords, "PERSID": _M.persistent_text},
}
"""Opcodes whose own words say what is unusual about them."""
