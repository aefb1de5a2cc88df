"""Declare options, of a part or of a run, read their values from text, and check them.

An option is a field of a dataclass: its annotation says which values it takes, its metadata what
it is for and which limits a number has.
"""

import dataclasses
import operator
import os
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import NoneType, SimpleNamespace, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from brainkit.errors import UsageError, did_you_mean

Value = TypeVar("Value")
LIMITS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "ge": (">=", operator.ge),
    "gt": (">", operator.gt),
    "le": ("<=", operator.le),
    "lt": ("<", operator.lt),
}
NO_PLUGINS = "PYDANTIC_DISABLE_PLUGINS"
WORDS = {
    bool: ("true or false", "true or false"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("a text", "texts"),
    Path: ("a path", "paths"),
}
"""What one value and several values of a type are called."""


def option(
    default: Value,
    help: str,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    pattern: str | None = None,
    repr: bool = True,
) -> Value:
    """Declare a dataclass field as an option with a help text and limits.

    Args:
        default: what it is where nothing is said.
        help: what it is for.
        ge: least number.
        gt: number that is too small.
        le: largest number.
        lt: number that is too large.
        pattern: regular expression that a whole text has to match; `help` says it in words.
        repr: whether it is part of what identifies its dataclass in a recipe.
    """
    limits = {"ge": ge, "gt": gt, "le": le, "lt": lt}
    kept = {name: limit for name, limit in limits.items() if limit is not None}
    metadata = {"help": help, "limits": kept, **({"pattern": pattern} if pattern else {})}
    return dataclasses.field(default=default, metadata=metadata, repr=repr)


def options(part: object) -> tuple[dataclasses.Field[Any], ...]:
    """Return the fields of a part, or of its class, that are options, in order of declaration."""
    if not dataclasses.is_dataclass(part):
        return ()
    return tuple(field for field in dataclasses.fields(part) if field.init)


def limits(field: dataclasses.Field[Any]) -> str:
    """Return a field's limits as text, e.g. ">= 1"; empty when it has none.

    >>> limits(options(ExampleOptions)[0])
    '>= 1, < 9'
    """
    declared = field.metadata.get("limits", {})
    return ", ".join(f"{LIMITS[name][0]} {limit:g}" for name, limit in declared.items())


def parsed(text: str) -> Any:
    """Read a text as a TOML value; what is none is a plain string.

    >>> parsed("20"), parsed("1e4"), parsed("true"), parsed("[1, 2]"), parsed("cv")
    (20, 10000.0, True, [1, 2], 'cv')
    """
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def pairs(texts: Iterable[str], flag: str, form: str = "ADDRESS=VALUE") -> dict[str, str]:
    """Return texts such as "sampler.steps=20" as what stands before and after the equals sign.

    >>> pairs(["sampler.steps=20"], "-o")
    {'sampler.steps': '20'}

    Args:
        texts: what was typed.
        flag: before each, for the message.
        form: of a text, for the message.

    Raises:
        UsageError: a text has no equals sign, or nothing before it.
    """
    values = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"{flag} is {text!r}, expected {form}")
        values[name.strip()] = value.strip()
    return values


def validated(part: object, name: str, value: Any, address: str, *, strict: bool = False) -> Any:
    """Check one option's value against its annotation and limits.

    Args:
        part: the dataclass that declares the option, or an instance of it.
        name: field name.
        value: a Python value, e.g. from `parsed`.
        address: how the user names the option, for the message.
        strict: whether only values of the very type are taken; otherwise also what is one without
            loss, as 20.0 is a whole number.

    Returns:
        the value in the annotated type.

    Raises:
        UsageError: the value has the wrong type or lies outside the limits.
    """
    from pydantic import TypeAdapter, ValidationError

    field = next(each for each in options(part) if each.name == name)
    annotation = _annotation(part, field)
    try:
        with _no_plugins_of_pydantic():
            checked = TypeAdapter(annotation).validate_python(value, strict=strict)
    except ValidationError as error:
        raise UsageError(_refusal(field, annotation, value, address)) from error
    if not _admitted(field, value, checked):
        raise UsageError(_refusal(field, annotation, value, address))
    return checked


@contextmanager
def _no_plugins_of_pydantic() -> Iterator[None]:
    """Spare pydantic listing all packages, which a broken one of anybody would stop."""
    before = os.environ.get(NO_PLUGINS)
    os.environ[NO_PLUGINS] = "__all__"
    try:
        yield
    finally:
        if before is None:
            del os.environ[NO_PLUGINS]
        else:
            os.environ[NO_PLUGINS] = before


def _admitted(field: dataclasses.Field[Any], value: Any, checked: Any) -> bool:
    """Say whether a value of the right type is within the limits."""
    if isinstance(checked, bool):
        return True
    if isinstance(value, bool):  # true is 1 to Python, but nobody means it
        return False
    if isinstance(checked, str):
        return re.fullmatch(field.metadata.get("pattern", ".*"), checked, re.DOTALL) is not None
    # Limits bind numbers only: a field of `float | Literal["cv"]` also takes the word.
    declared = field.metadata.get("limits", {}) if isinstance(checked, int | float) else {}
    return all(LIMITS[limit][1](checked, bound) for limit, bound in declared.items())


def _refusal(field: dataclasses.Field[Any], annotation: Any, value: Any, address: str) -> str:
    expected = expectation(annotation, field.metadata.get("limits", {}))
    if "pattern" in field.metadata:
        expected = field.metadata["help"]
    words = [word for word in _words(annotation) if isinstance(word, str)]
    hint = did_you_mean(value, words) if isinstance(value, str) else ""
    needed = field.default is field.default_factory is dataclasses.MISSING
    remedy = "correct it" if needed else "correct it or leave it out"
    plain = list(value) if isinstance(value, tuple) else value
    written = str(plain).lower() if isinstance(plain, bool) else repr(plain)
    return f"{address} is {written}, expected {expected}; {remedy}" + (f".{hint}" if hint else "")


def expectation(annotation: Any, limits: Mapping[str, float] | None = None) -> str:
    """Return in words which values an annotation and limits allow.

    >>> expectation(int, {"ge": 1, "le": 8}), expectation(float | None, {"gt": 0})
    ('a whole number from 1 to 8', 'a number above 0')
    >>> expectation(Literal["fast", "exact"]), expectation(tuple[int, ...])
    ("'fast' or 'exact'", 'a list of whole numbers')
    """
    kinds = [kind for kind in _members(annotation) if kind is not NoneType]
    words = [repr(word) for word in _words(annotation)]
    phrases = [*words, *(_phrase(kind, limits or {}) for kind in kinds)]
    return " or ".join(filter(None, [", ".join(phrases[:-1]), phrases[-1]]))


def _phrase(kind: Any, limits: Mapping[str, float]) -> str:
    if kind in (int, float):
        return f"{WORDS[kind][0]}{_range(limits)}"
    if kind in WORDS:
        return WORDS[kind][0]
    inner = [each for each in get_args(kind) if each is not Ellipsis]
    several = WORDS.get(inner[-1], ("", "values"))[1] if inner else "values"
    return f"a {'table' if get_origin(kind) not in (tuple, list) else 'list'} of {several}"


def _range(limits: Mapping[str, float]) -> str:
    if {"ge", "le"} <= limits.keys():
        return f" from {limits['ge']} to {limits['le']}"
    phrases = {"ge": "of {} or more", "gt": "above {}", "le": "of {} or less", "lt": "below {}"}
    told = [phrases[name].format(limit) for name, limit in limits.items()]
    return f" {' and '.join(told)}" if told else ""


def _members(annotation: Any) -> list[Any]:
    """Return the types of a union that are no literal words, or the annotation itself."""
    union = get_origin(annotation) in (Union, UnionType)
    members = get_args(annotation) if union else (annotation,)
    return [each for each in members if get_origin(each) is not Literal]


def _words(annotation: Any) -> list[Any]:
    """Return the literal values among an annotation's."""
    union = get_origin(annotation) in (Union, UnionType)
    members = get_args(annotation) if union else (annotation,)
    return [word for each in members if get_origin(each) is Literal for word in get_args(each)]


def _annotation(part: object, field: dataclasses.Field[Any]) -> Any:
    # Alone, because a part's other annotations may name what only type checkers import.
    kind = part if isinstance(part, type) else type(part)
    module = sys.modules.get(kind.__module__)
    holder = SimpleNamespace(__annotations__={field.name: field.type})
    return get_type_hints(holder, vars(module) if module else {})[field.name]


def checked_path(text: str | Path, address: str) -> Path:
    """Return a path in which "~" at the beginning is somebody's home, as shells have it.

    Args:
        text: as it was typed, or written in a file, where no shell reads it.
        address: how the user named it, for the message.

    Raises:
        UsageError: it holds a zero byte, or names the home of nobody.
    """
    if "\0" in str(text):
        raise UsageError(f"{address} is {str(text)!r}, but paths have no zero byte; take it out")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UsageError(
            f"{address} is {str(text)!r}, but that home is not known; write the path out"
        ) from error


def replaced(part: Any, values: dict[str, Any], address: str) -> Any:
    """Return a copy of a part with some options set.

    Raises:
        UsageError: an option does not exist or its value is wrong.
    """
    known = [field.name for field in options(part)]
    for name in values:
        if name not in known:
            has = ", ".join(known) or "none"
            kind = getattr(part, "name", type(part).__name__.lower())
            hint = did_you_mean(name, known)
            raise UsageError(f"{kind} has no option {name!r} (it has: {has}).{hint}")
    checked = {
        name: validated(part, name, value, f"{address}.{name}") for name, value in values.items()
    }
    return dataclasses.replace(part, **checked)


@dataclasses.dataclass(frozen=True)
class ExampleOptions:
    """A part with one option, for doctests."""

    name = "example"
    steps: int = option(2, "number of steps", ge=1, lt=9)
