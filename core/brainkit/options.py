"""Declare a part's options and read their values from text."""

import dataclasses
import sys
import tomllib
from types import SimpleNamespace
from typing import Annotated, Any, TypeVar, get_type_hints

from brainkit.errors import UsageError, did_you_mean

Value = TypeVar("Value")
LIMITS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


def option(
    default: Value,
    help: str,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
) -> Value:
    """Declare a dataclass field as an option with a help text and limits."""
    limits = {"ge": ge, "gt": gt, "le": le, "lt": lt}
    kept = {name: limit for name, limit in limits.items() if limit is not None}
    return dataclasses.field(default=default, metadata={"help": help, "limits": kept})


def options(part: object) -> tuple[dataclasses.Field[Any], ...]:
    """Give the fields of a part that are options, in order of declaration."""
    if not dataclasses.is_dataclass(part):
        return ()
    return tuple(field for field in dataclasses.fields(part) if field.init)


def limits(field: dataclasses.Field[Any]) -> str:
    """Give a field's limits as text, e.g. ">= 1"; empty when it has none.

    >>> limits(options(Example())[0])
    '>= 1, < 9'
    """
    declared = field.metadata.get("limits", {})
    return ", ".join(f"{LIMITS[name]} {limit:g}" for name, limit in declared.items())


def parsed(text: str) -> Any:
    """Read a text as a TOML value; what is none is a plain string.

    >>> parsed("20"), parsed("1e4"), parsed("true"), parsed("[1, 2]"), parsed("cv")
    (20, 10000.0, True, [1, 2], 'cv')
    """
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def validated(part: object, name: str, value: Any, address: str) -> Any:
    """Check one option's value against its annotation and limits.

    Args:
        part: the dataclass instance that declares the option.
        name: field name.
        value: a Python value, e.g. from `parsed`.
        address: how the user names the option, for the message.

    Raises:
        UsageError: the value has the wrong type or lies outside the limits.
    """
    from pydantic import Field, TypeAdapter, ValidationError

    fields = {field.name: field for field in options(part)}
    annotation = _annotation(part, fields[name])
    declared = fields[name].metadata.get("limits", {})
    try:
        # Limits bind numbers only: a field of `float | Literal["cv"]` also takes the word.
        checked = TypeAdapter(annotation).validate_python(value)
        if declared and isinstance(checked, int | float) and not isinstance(checked, bool):
            limited: Any = Annotated[float, Field(**declared)]
            TypeAdapter(limited).validate_python(checked)
    except ValidationError as error:
        first = error.errors()[0]
        said = first["msg"][0].lower() + first["msg"][1:]
        raise UsageError(f"{address} is {value!r}: {said}") from error
    return checked


def _annotation(part: object, field: dataclasses.Field[Any]) -> Any:
    # Alone, because a part's other annotations may name what only type checkers import.
    module = sys.modules.get(type(part).__module__)
    holder = SimpleNamespace(__annotations__={field.name: field.type})
    return get_type_hints(holder, vars(module) if module else {})[field.name]


def replaced(part: Any, values: dict[str, Any], address: str) -> Any:
    """Give a copy of a part with some options set.

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
class Example:
    """A part with one option, for doctests."""

    name = "example"
    steps: int = option(2, "number of steps", ge=1, lt=9)
