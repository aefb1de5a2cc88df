"""Follow a pickle's opcodes as data, so that all it asks for is known before torch sees it.

Nothing that a pickle names is imported or called here. A name that is not on the caller's list ends
the reading at once; whatever else is unusual is remembered, and told when the pickle is through, so
that a name further on is what the user hears of.
"""

from __future__ import annotations

import pickletools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

from brainkit.checkpoints.safetensors import shown
from brainkit.weights.archives import DamagedError, RefusedError

MAX_OPCODES = 5_000_000
"""3000 tensors take about 100,000, and an optimiser's state three times as many."""
MAX_DEPTH = 1000
"""Of containers that are open at once; files with weights have under 20."""
PROTOCOL = 2
"""Of pickles, as torch writes them."""


class CodeError(RefusedError):
    """The pickle names code that is not on the list; the message is the name."""


class Name(NamedTuple):
    """A class or function by the words of a pickle."""

    module: str
    name: str

    def __str__(self) -> str:
        return shown(f"{self.module}.{self.name}")[1:-1]


@dataclass(frozen=True, eq=False)
class Made:
    """Stands for what a call gave.

    Attributes:
        by: the name that was called, or what stands for it.
    """

    by: str


Call = Callable[[tuple[Any, ...]], Any]
"""Gives what stands for a call, from its arguments; raises RefusedError for unusual ones."""


class Allowed(NamedTuple):
    """What a pickle may ask for.

    Attributes:
        names: each with what stands for its call; None for those that are only mentioned.
        persistent: what stands for a value outside the pickle, by its id.
    """

    names: Mapping[tuple[str, str], Call | None]
    persistent: Call


class Followed(NamedTuple):
    """A pickle that was followed to its end.

    Attributes:
        value: what stands for its value.
        odd: the first thing that torch's own pickles do not have; empty when all is usual.
    """

    value: Any
    odd: str


def follow(stream: BinaryIO, allowed: Allowed) -> Followed:
    """Follow the pickle at the stream's place and stop behind it.

    Raises:
        CodeError: it names code that is not allowed.
        RefusedError: it is too large or too deep.
        DamagedError: it is no pickle.
    """
    machine = _Machine(allowed)
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if count > MAX_OPCODES:
                raise RefusedError(f"more than {MAX_OPCODES} opcodes in its pickle")
            if count == 0 and opcode.name != "PROTO":
                machine.strange(f"a pickle of protocol 0 or 1, where torch writes {PROTOCOL}")
            machine.do(opcode.name, argument)
        value = machine.pop()
    except (RefusedError, DamagedError):
        raise
    except UnicodeDecodeError as error:
        if error.encoding == "ascii":  # the line of a name
            raise CodeError(shown(error.object.decode(errors="replace"))[1:-1]) from error
        raise DamagedError("not what torch writes") from error
    except (ValueError, IndexError, OverflowError, MemoryError) as error:
        # What pickletools and an empty stack make of bytes that are no pickle.
        raise DamagedError("not what torch writes") from error
    return Followed(value, machine.odd)


CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
EMPTY: Mapping[str, Callable[[], Any]] = {
    **{"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple},
    **{"EMPTY_SET": lambda: Made("builtins.set")},
}
SHORT = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
LITERALS = {"BININT", "BININT1", "BININT2", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING", "LONG1"}
STRANGE = {
    *("INT", "LONG", "LONG4", "FLOAT", "STRING", "BINSTRING", "BINBYTES", "SHORT_BINBYTES"),
    *("BINBYTES8", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BYTEARRAY8", "NEXT_BUFFER"),
}
"""Opcodes of literals, and of a buffer from outside, that torch's own pickles do not have."""


class _Machine:
    """The stack and the memo of the pickle's small language.

    Only texts and plain numbers are hashed, so that no depth of nesting matters.
    """

    def __init__(self, allowed: Allowed) -> None:
        self.allowed = allowed
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.odd = ""

    def strange(self, what: str) -> None:
        """Remember the first unusual thing."""
        self.odd = self.odd or what

    def do(self, opcode: str, argument: Any) -> None:
        """Do what an opcode says."""
        if opcode in LITERALS:
            self.stack.append(argument)
        elif opcode in CONSTANTS:
            self.stack.append(CONSTANTS[opcode])
        elif opcode in EMPTY:
            self.stack.append(EMPTY[opcode]())
        elif opcode in SHORT:
            count = SHORT[opcode]
            self.since(len(self.stack) - count, tuple)
        elif opcode in STRANGE:
            self.strange(f"the opcode {opcode}")
            self.stack.append(argument)
        elif opcode != "STOP":
            _OPCODES[opcode](self, argument)

    def since(self, start: int, kind: Callable[[list[Any]], Any]) -> None:
        """Put values from a place of the stack on into one."""
        if start < 0:
            raise DamagedError("not what torch writes")
        self.stack[start:] = [kind(self.stack[start:])]

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
        if number != PROTOCOL:
            self.strange(f"a pickle of protocol {number}, where torch writes {PROTOCOL}")

    def tuple_(self, _: Any) -> None:
        values = self.to_mark()
        self.stack.append(tuple(values))

    def list_(self, _: Any) -> None:
        self.strange("the opcode LIST")
        values = self.to_mark()
        self.stack.append(values)

    def dict_(self, _: Any) -> None:
        self.strange("the opcode DICT")
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
            self.strange(f"values appended to a {_kind(self.stack[-1])}")

    def setitem(self, _: Any) -> None:
        value, key = self.pop(), self.pop()
        self._enter([key, value])

    def setitems(self, _: Any) -> None:
        self._enter(self.to_mark())

    def _enter(self, values: list[Any]) -> None:
        table = self.stack[-1]
        if not isinstance(table, dict):
            self.strange(f"entries set in a {_kind(table)}")
        elif len(values) % 2:
            raise DamagedError("not what torch writes")
        elif odd := [key for key in values[::2] if type(key) not in {str, int, float, bool}]:
            self.strange(f"a {_kind(odd[0])} as the name of an entry")
        else:
            table.update(zip(values[::2], values[1::2], strict=True))

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise DamagedError("not what torch writes")
        self.stack.append(self.memo[index])

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def memoize(self, _: Any) -> None:
        self.strange("the opcode MEMOIZE")
        self.put(len(self.memo))

    def drop(self, _: Any) -> None:
        self.strange("the opcode POP")
        if self.stack:
            self.pop()
        else:
            self.to_mark()

    def drop_to_mark(self, _: Any) -> None:
        self.strange("the opcode POP_MARK")
        self.to_mark()

    def twice(self, _: Any) -> None:
        self.strange("the opcode DUP")
        self.stack.append(self.stack[-1])

    def idle(self, _: Any) -> None:
        self.strange("an opcode of protocol 4 or 5")

    def name(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._mention(Name(module, name))

    def name_from_stack(self, _: Any) -> None:
        name, module = self.pop(), self.pop()
        if type(name) is not str or type(module) is not str:
            raise CodeError(f"{shown(module)}.{shown(name)}")
        self._mention(Name(module, name))
        self.strange("the opcode STACK_GLOBAL")

    def _mention(self, name: Name) -> None:
        if tuple(name) not in self.allowed.names:
            raise CodeError(str(name))
        self.stack.append(name)

    def extension(self, code: int) -> None:
        raise CodeError(f"the class or function of extension code {code}")

    def instance(self, argument: str) -> None:
        values = self.to_mark()
        self.name(argument)
        self._new(self.pop(), values)

    def object_(self, _: Any) -> None:
        first, *values = self.to_mark()
        self._new(first, values)

    def new(self, _: Any) -> None:
        values = self.pop()
        self._new(self.pop(), values)

    def new_with_keywords(self, _: Any) -> None:
        keywords, values = self.pop(), self.pop()
        self._new(self.pop(), [values, keywords])

    def _new(self, kind: Any, _: Any) -> None:
        self.strange(f"an object made of {_called(kind)} without its own function")
        self.stack.append(Made(_called(kind)))

    def call(self, _: Any) -> None:
        values, called = self.pop(), self.pop()
        if isinstance(called, Name):
            function = self.allowed.names[called]
            if function and type(values) is tuple:
                self.stack.append(self._stand(str(called), function, values))
                return
        self.strange(f"a call of {_called(called)}")
        self.stack.append(Made(_called(called)))

    def _stand(self, called: str, function: Call, values: tuple[Any, ...]) -> Any:
        try:
            return function(values)
        except RefusedError as error:
            self.strange(f"a call of {called} with {error}")
            return Made(called)

    def build(self, _: Any) -> None:
        """Torch keeps a table of versions as an attribute of the table of tensors."""
        state = self.pop()
        table = self.stack[-1]
        if type(table) is not OrderedDict or type(state) is not dict:
            self.strange(f"a state for a {_kind(table)}")
        elif others := sorted(map(str, state.keys() - {"_metadata"})):
            self.strange(f"the attribute {shown(others[0])} of a collections.OrderedDict")

    def persistent_text(self, argument: str) -> None:
        self.strange(f"the persistent id {shown(argument)}")
        self.stack.append(Made("a persistent id"))

    def persistent(self, _: Any) -> None:
        values = self.pop()
        if type(values) is not tuple:
            self.strange(f"the persistent id {shown(values)}")
            self.stack.append(Made("a persistent id"))
        else:
            self.stack.append(self._stand("a persistent id", self.allowed.persistent, values))

    def frozen(self, _: Any) -> None:
        self.strange("the opcode FROZENSET")
        self.to_mark()
        self.stack.append(Made("builtins.frozenset"))

    def add(self, _: Any) -> None:
        self.strange("the opcode ADDITEMS")
        self.to_mark()


def _kind(value: Any) -> str:
    return f"{value.by} object" if isinstance(value, Made) else type(value).__name__


def _called(value: Any) -> str:
    if isinstance(value, Name):
        return str(value)
    return f"what {value.by} gave" if isinstance(value, Made) else f"a {type(value).__name__}"


_OPCODES: Mapping[str, Callable[[_Machine, Any], None]] = {
    "PROTO": _Machine.protocol,
    "MARK": _Machine.mark,
    "POP": _Machine.drop,
    "POP_MARK": _Machine.drop_to_mark,
    "DUP": _Machine.twice,
    "TUPLE": _Machine.tuple_,
    "LIST": _Machine.list_,
    "DICT": _Machine.dict_,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "SETITEM": _Machine.setitem,
    "SETITEMS": _Machine.setitems,
    "ADDITEMS": _Machine.add,
    "FROZENSET": _Machine.frozen,
    "GET": _Machine.get,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "PUT": _Machine.put,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.memoize,
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.name_from_stack,
    "EXT1": _Machine.extension,
    "EXT2": _Machine.extension,
    "EXT4": _Machine.extension,
    "INST": _Machine.instance,
    "OBJ": _Machine.object_,
    "NEWOBJ": _Machine.new,
    "NEWOBJ_EX": _Machine.new_with_keywords,
    "REDUCE": _Machine.call,
    "BUILD": _Machine.build,
    "PERSID": _Machine.persistent_text,
    "BINPERSID": _Machine.persistent,
    "FRAME": _Machine.idle,
    "READONLY_BUFFER": _Machine.idle,
}
