"""Promises of a plugin as a whole: its module and what it registers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import distributions
from types import ModuleType
from typing import Any

from brainkit.hookspecs import PROJECT
from brainkit.plugins import Plugin, Registry, Source
from brainkit.testing import part as common
from brainkit.testing.method import require_common, require_fitting
from brainkit.testing.part import import_in_silence, import_without_torch
from brainkit.testing.promise import require

PART_PROMISES = tuple(
    promise for promise in common.PROMISES if promise is not common.importing_it_loads_no_torch
)


def an_entry_point_names_it(module: ModuleType) -> None:
    """The installed distribution declares the module under the entry-point group `brainkit`."""
    found = _modules_named()
    require(
        module.__name__ in found,
        f"no entry point of group {PROJECT!r} names {module.__name__} (they name {found}); "
        f"add it to [project.entry-points.{PROJECT}] and install the plugin again",
    )


def _modules_named() -> list[str]:
    """Return the modules that installed packages name as plugins; a broken package names none."""
    found: set[str] = set()
    for distribution in distributions():
        with suppress(Exception):  # whatever its files make importlib raise
            found |= {point.value for point in distribution.entry_points.select(group=PROJECT)}
    return sorted(found)


def it_is_admitted(module: ModuleType) -> None:
    """The hooks are known, raise nothing, and register instances with free names."""
    plugin = _admitted(module)
    require(not plugin.broken, f"{module.__name__} is not admitted: {plugin.broken}")


def it_registers_something(module: ModuleType) -> None:
    """At least one part or method is registered."""
    plugin = _admitted(module)
    hint = "is @hookimpl missing above the hook?"
    require(bool(plugin.offers or plugin.broken), f"{module.__name__} registers nothing; {hint}")


def importing_it_loads_no_torch(module: ModuleType) -> None:
    """Listing plugins imports every plugin, so none may import torch at the top."""
    import_without_torch(module.__name__, module.__file__ or "")
    for kind, offer in _offers(module):
        if kind != "method":
            common.importing_it_loads_no_torch(kind, offer)


def importing_it_prints_nothing(module: ModuleType) -> None:
    """Commands print tables and JSON for programs, so loading a plugin prints nothing."""
    import_in_silence(module.__name__, module.__file__ or "")


def its_parts_keep_the_common_promises(module: ModuleType) -> None:
    """Every registered part is a frozen dataclass with help, limits and a `repr`."""
    for kind, offer in _offers(module):
        if kind != "method":
            require_common(kind, offer, f"{kind} {offer.name!r}", PART_PROMISES)


def its_methods_fit_together(module: ModuleType) -> None:
    """`Method.check` passes for every registered method, and its groups of `scores` are there."""
    for kind, offer in _offers(module):
        if kind == "method":
            require_fitting(offer)


def _offers(module: ModuleType) -> Iterator[tuple[str, Any]]:
    yield from _admitted(module).offers


def _admitted(module: ModuleType) -> Plugin:
    return Registry([Source(module.__name__, module.__name__, lambda: module)]).plugins[-1]


PROMISES = (
    an_entry_point_names_it,
    it_is_admitted,
    it_registers_something,
    importing_it_loads_no_torch,
    importing_it_prints_nothing,
    its_parts_keep_the_common_promises,
    its_methods_fit_together,
)
