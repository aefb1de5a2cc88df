"""Find which installed distributions offer plugins, and which are for another brainkit."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path
from typing import Any

from brainkit import __version__
from brainkit.errors import (
    BrainkitWarning,
    PluginError,
    UsageError,
    did_you_mean,
    printable,
    reason,
)
from brainkit.hookspecs import PROJECT

CHOICE = "BRAINKIT_PLUGINS"
"""Variable of the environment that says which plugins are loaded."""
FOLDERS = (".dist-info", ".egg-info")
LEFT_BY_PIP = "~"
"""Begins the names that pip gives what it is about to delete; an interrupted pip leaves them."""


@dataclass(frozen=True)
class Source:
    """Where a plugin comes from and how to import it.

    Attributes:
        name: entry-point name.
        distribution: name and version of the installed distribution, e.g. "brainkit-pls 0.2".
        load: imports and returns the plugin's module (or any object with hook implementations).
        module: what it imports, e.g. "brainkit_pls"; empty when that is not known.
        place: where an installer put its files; None when they are being edited where they lie.
        single: whether it is a file that the user named.
    """

    name: str
    distribution: str
    load: Callable[[], Any]
    module: str = ""
    place: Path | None = None
    single: bool = False


def installed_sources() -> list[Source]:
    """Return the plugins of the environment, sorted by distribution name.

    BRAINKIT_PLUGINS, a comma-separated list of entry-point names, keeps only those; empty, none.
    DISTRIBUTION:NAME chooses among equal names of several distributions. Of entries that no
    distribution offers a warning tells.
    """
    text = os.environ.get(CHOICE)
    wanted = None if text is None else {each.strip() for each in text.split(",") if each.strip()}
    sources: list[Source] = []
    seen: set[str] = set()
    for distribution in distributions():
        folder = _folder(distribution)
        if folder.name.startswith(LEFT_BY_PIP):
            continue
        try:
            package = _normalised_name(distribution, folder)
            if package not in seen:
                sources += _sources_of(distribution)
            seen.add(package)
        except Exception as error:
            # Other packages than brainkit's may be broken as well; none of them stops a command.
            _hide(folder)
            if wanted is None:
                sources.append(_unreadable(folder, error))
    chosen = sources if wanted is None else _chosen(sources, wanted)
    return sorted(chosen, key=lambda source: (source.distribution, source.name))


def source_of_file(path: Path) -> Source:
    """Return a plugin that is a single file, which its author is developing.

    Raises:
        UsageError: it is no Python file, or a module of its name is there already.
    """
    from importlib.util import find_spec, module_from_spec, spec_from_file_location

    name, shown = path.stem, printable(path)
    if path.suffix != ".py" or not path.is_file() or not name.isidentifier():
        raise UsageError(f"--plugin is {shown}, expected a file NAME.py, NAME without - or blanks")
    if name in sys.modules or find_spec(name) is not None:
        raise UsageError(f"--plugin is {shown}, but Python has a module {name}; rename the file")

    def load() -> Any:
        spec = spec_from_file_location(name, path.resolve())
        assert spec
        assert spec.loader
        module = module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look for their module there
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        return module

    return Source(name, shown, load, name, single=True)


def _chosen(sources: Iterable[Source], wanted: Iterable[str]) -> list[Source]:
    """Return the sources that the user named, and warn of names that none has."""
    names = {source: _names(source) for source in sources}
    known = {name for each in names.values() for name in each}
    for entry in sorted(wanted):
        if _normal(entry) not in known and entry != "core":
            readable = [source.name for source in names]
            hint = did_you_mean(entry, readable)
            warnings.warn(
                f"{CHOICE} names {printable(entry)!r}, which no installed distribution offers; "
                f"correct it or install its plugin.{hint}",
                BrainkitWarning,
                stacklevel=3,
            )
    asked = {_normal(entry) for entry in wanted}
    return [source for source, each in names.items() if asked & each]


def _names(source: Source) -> set[str]:
    """Return what the user may call a plugin: its name alone or after its distribution's."""
    owner = source.distribution.partition(" ")[0]
    return {_normal(source.name), _normal(f"{owner}:{source.name}")}


def _normal(entry: str) -> str:
    """Return an entry with the name of its distribution spelt as indexes spell it."""
    owner, colon, name = entry.rpartition(":")
    return f"{_spelt(owner.strip())}{colon}{name.strip()}"


def _spelt(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _folder(distribution: Distribution) -> Path:
    """Return the folder that describes a distribution."""
    # Private, but nothing else says which of several folders is meant.
    return Path(str(getattr(distribution, "_path", distribution.locate_file(""))))


def _normalised_name(distribution: Distribution, folder: Path) -> str:
    """Return the name by which the first of several copies hides the others, as in Python.

    It is read from the folder's name where possible, which spares reading a file of every package.
    """
    name = folder.stem.partition("-")[0] if folder.suffix in FOLDERS else _owner(distribution)[0]
    return _spelt(name)


def _owner(distribution: Distribution) -> tuple[str, str]:
    """Return name and version of a distribution."""
    facts = distribution.metadata
    if not facts["Name"]:
        raise ValueError("it has no name")
    return facts["Name"], facts["Version"] or ""


def _sources_of(distribution: Distribution) -> list[Source]:
    points: list[EntryPoint] = list(distribution.entry_points.select(group=PROJECT))
    if not points:
        return []
    owner = printable(" ".join(_owner(distribution)).strip())
    refusal = _refusal(distribution)
    return [
        Source(
            printable(point.name),
            owner,
            _refused(refusal) if refusal else point.load,
            point.module,
            _place(distribution),
        )
        for point in points
    ]


def _place(distribution: Distribution) -> Path | None:
    """Return the folder that holds a distribution's modules; None of an editable installation."""
    import json

    if _folder(distribution).suffix == ".egg-info":
        return None  # it lies beside its sources
    try:
        facts = json.loads(distribution.read_text("direct_url.json") or "{}")
        edited = bool(facts.get("dir_info", {}).get("editable"))
    except (ValueError, AttributeError):
        edited = False
    return None if edited else Path(str(distribution.locate_file("")))


def _refusal(distribution: Distribution) -> str:
    """Say that a distribution asks for another brainkit than is installed; "" if it does not."""
    asked = distribution.metadata.get_all("Requires-Dist") or []
    mine = [each for each in asked if re.match(rf"{PROJECT}(?![\w.-])", each, re.IGNORECASE)]
    if not mine:
        return ""
    from packaging.requirements import Requirement

    name = distribution.metadata["Name"]
    for need in map(Requirement, mine):
        applies = need.marker is None or need.marker.evaluate({"extra": ""})
        if applies and not need.specifier.contains(__version__, prereleases=True):
            return (
                f"it asks for {need.name} {need.specifier}, but {__version__} is installed; "
                f"run `pip install --upgrade {name} {PROJECT}`, which finds versions that fit"
            )
    return ""


def _refused(why: str) -> Callable[[], Any]:
    def load() -> Any:
        raise PluginError(why)

    return load


def _unreadable(folder: Path, error: Exception) -> Source:
    def load() -> Any:
        raise PluginError(
            f"what {folder} says of its package cannot be read ({reason(error)}); delete that "
            "folder or install the package again"
        ) from error

    return Source(printable(folder.name), "", load)


def _hide(folder: Path) -> None:
    """Hide a broken package from whoever lists packages in this process.

    pydantic, torch, triton and others look for plugins of their own when they are imported, and a
    single broken package of anybody stops them all.
    """

    class Others(PathFinder):
        @classmethod
        def find_distributions(cls, *context: Any) -> list[Any]:
            return [each for each in listing(*context) if _folder(each) != folder]

    for place, finder in enumerate(sys.meta_path):
        if isinstance(finder, type) and issubclass(finder, PathFinder):
            listing = finder.find_distributions
            sys.meta_path[place] = Others
            break
