"""What a run keeps of a method: options that a file can hold, plugins, what replaced parts take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, Field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainkit.errors import UsageError
from brainkit.options import options

if TYPE_CHECKING:
    from brainkit.method import Method
    from brainkit.plugins import Registry


@contextmanager
def told_of(file: Path | None) -> Iterator[None]:
    """Name the run file, if there is one, in the sentence about a value that it has.

    Raises:
        UsageError: the block raised one.
    """
    try:
        yield
    except UsageError as error:
        if file is None:
            raise
        raise UsageError(f"run file {file}: {error}") from error


def losses(before: Method, after: Method) -> list[str]:
    """Say which options go with the parts that others replace in a method."""
    said = []
    for (address, old), (_, new) in zip(before.parts(), after.parts(), strict=True):
        own = [f"{each.name}={getattr(old, each.name)}" for each in _set_by_method(old)]
        if old != new and own:
            said.append(
                f"{address}: {new.name} replaces {old.name}, and with it {', '.join(own)}; "
                f"set options of {new.name} with -o {address}.NAME=VALUE"
            )
    return said


def made_with(method: Method, registry: Registry) -> dict[str, str]:
    """Return the distributions that a method and its parts are of, each with its version."""
    parts = [("method", method), *method.parts()]
    providers = [registry.provider(at.partition(".")[0], part) for at, part in parts]
    named = sorted({each.distribution for each in providers if each and each.distribution})
    return {name: version for name, _, version in (each.partition(" ") for each in named)}


def _set_by_method(part: Any) -> list[Field[Any]]:
    """Return the options of a part that are not its own defaults."""
    return [
        each
        for each in options(part)
        if each.default is not MISSING and getattr(part, each.name) != each.default
    ]


def require_writable(method: Method) -> None:
    """Refuse options that `run.toml` could not hold, before anything is computed."""
    for address, part in method.parts():
        for each in options(part):
            value = getattr(part, each.name)
            if not _writable(value):
                raise UsageError(
                    f"{address}.{each.name} is of type {type(value).__name__}, which no run file "
                    "can hold; expected numbers, texts, paths, or tuples of these"
                )


def _writable(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_writable, value))
    return value is None or isinstance(value, bool | int | float | str | Path)
