"""Find plugins, keep broken ones apart, look up what they registered."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path
from typing import Any

import pluggy

from brainkit import hookspecs
from brainkit.errors import BrainkitError, PluginError, UsageError, did_you_mean, printable
from brainkit.hookspecs import PROJECT

KINDS = ("encoder", "regressor", "conditioner", "sampler", "decoder", "method")
MEMBERS: dict[str, tuple[str, ...]] = {
    "encoder": ("name", "reads", "checkpoints", "shape", "load"),
    "regressor": ("name", "fit", "predict"),
    "conditioner": ("name", "needs", "gives", "checkpoints", "load"),
    "sampler": ("name", "sample"),
    "decoder": ("name", "gives", "checkpoints", "load"),
    "method": (
        *("name", "summary", "source"),
        *("encoders", "regressors", "conditioner", "sampler", "decoders"),
    ),
}
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
    """

    name: str
    distribution: str
    load: Callable[[], Any]


@dataclass(frozen=True)
class Plugin:
    """An admitted plugin and what it registered; or a broken one and the reason."""

    name: str
    distribution: str
    offers: tuple[tuple[str, Any], ...] = ()
    broken: str = ""
    error: BaseException | None = field(default=None, compare=False, repr=False)


class Registry:
    """All plugins of an environment, as a value built on demand."""

    def __init__(self, sources: Sequence[Source]) -> None:
        """Load each source in order; core's own parts come first."""
        self.plugins: list[Plugin] = []
        self._found: dict[tuple[str, str], tuple[Any, Plugin]] = {}
        for source in [_core(), *sources]:
            self.plugins.append(self._admit(source))

    @classmethod
    def installed(cls) -> Registry:
        """Build from the entry points of group `brainkit`, limited by BRAINKIT_PLUGINS."""
        return cls(installed_sources())

    def get(self, kind: str, name: str) -> Any:
        """Look up a part or method.

        Raises:
            UsageError: there is none; the message lists broken plugins that might have had it.
        """
        if (kind, name) in self._found:
            return self._found[kind, name][0]
        known = self.names(kind)
        has = f" There are: {', '.join(known)}." if known else ""
        broken = "; ".join(f"{p.distribution or p.name}: {p.broken}" for p in self.broken())
        note = f" Plugins that could not be loaded: {broken}" if broken else ""
        hint = did_you_mean(name, known)
        raise UsageError(f"no {kind} named {name!r}.{hint}{has}{note}")

    def distribution(self, kind: str, name: str) -> str:
        """Return "distribution version" of the plugin that registered a part, or ''."""
        found = self._found.get((kind, name))
        return found[1].distribution if found else ""

    def names(self, kind: str) -> list[str]:
        """Return the sorted names registered for a kind."""
        return sorted(name for found, name in self._found if found == kind)

    def broken(self) -> list[Plugin]:
        """Return the plugins that could not be admitted."""
        return [plugin for plugin in self.plugins if plugin.broken]

    def _admit(self, source: Source) -> Plugin:
        with _interrupts() as interrupts:
            try:
                offers = _registered(source)
                for kind, offer in offers:
                    self._check_free(kind, offer)
            except BaseException as error:
                if interrupts:
                    raise
                return Plugin(source.name, source.distribution, broken=_reason(error), error=error)
        plugin = Plugin(source.name, source.distribution, tuple(offers))
        for kind, offer in offers:
            self._found[kind, offer.name] = (offer, plugin)
        return plugin

    def _check_free(self, kind: str, offer: Any) -> None:
        taken = self._found.get((kind, offer.name))
        if taken:
            owner = taken[1].distribution or taken[1].name
            raise PluginError(
                f"{kind} {offer.name!r} is already registered by {owner}; rename one of them"
            )


def installed_sources() -> list[Source]:
    """Return the plugins of the environment, sorted by distribution name.

    BRAINKIT_PLUGINS, a comma-separated list of entry-point names, keeps only those; empty, none.
    """
    wanted = os.environ.get("BRAINKIT_PLUGINS")
    names = None if wanted is None else {name.strip() for name in wanted.split(",") if name.strip()}
    sources: list[Source] = []
    seen: set[str] = set()
    for distribution in distributions():
        folder = _folder(distribution)
        if folder.name.startswith(LEFT_BY_PIP):
            continue
        try:
            package = _normalised_name(distribution, folder)
            if package not in seen:
                sources += _sources_of(distribution, names)
            seen.add(package)
        except Exception as error:
            # Other packages than brainkit's may be broken as well; none of them stops a command.
            _hide(folder)
            if names is None:
                sources.append(_unreadable(folder, error))
    return sorted(sources, key=lambda source: (source.distribution, source.name))


def _folder(distribution: Distribution) -> Path:
    """Return the folder that describes a distribution."""
    # Private, but nothing else says which of several folders is meant.
    return Path(str(getattr(distribution, "_path", distribution.locate_file(""))))


def _normalised_name(distribution: Distribution, folder: Path) -> str:
    """Return the name by which the first of several copies hides the others, as in Python.

    It is read from the folder's name where possible, which spares reading a file of every package.
    """
    name = folder.stem.partition("-")[0] if folder.suffix in FOLDERS else _owner(distribution)[0]
    return re.sub(r"[-_.]+", "-", name).lower()


def _owner(distribution: Distribution) -> tuple[str, str]:
    """Return name and version of a distribution."""
    facts = distribution.metadata
    if not facts["Name"]:
        raise ValueError("it has no name")
    return facts["Name"], facts["Version"] or ""


def _sources_of(distribution: Distribution, names: set[str] | None) -> list[Source]:
    points: list[EntryPoint] = list(distribution.entry_points.select(group=PROJECT))
    wanted = [point for point in points if names is None or point.name in names]
    if not wanted:
        return []
    owner = printable(" ".join(_owner(distribution)).strip())
    return [Source(printable(point.name), owner, point.load) for point in wanted]


def _unreadable(folder: Path, error: Exception) -> Source:
    def load() -> Any:
        raise PluginError(
            f"what {folder} says of its package cannot be read ({_reason(error)}); delete that "
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


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Note the user's interrupts, so that a plugin's own KeyboardInterrupt is told from them."""
    noted: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield noted
        return

    def note(number: int, frame: Any) -> None:
        noted.append(number)
        before(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        if signal.getsignal(signal.SIGINT) is note:
            signal.signal(signal.SIGINT, before)


def _reason(error: BaseException) -> str:
    try:
        said = str(error).strip()
    except Exception:  # the error is a plugin's, and so is what turns it into text
        said = ""
    if isinstance(error, BrainkitError):
        return said
    first = printable((said.splitlines() or [""])[0])
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _core() -> Source:
    from brainkit import __version__

    return Source("core", f"brainkit {__version__}", lambda: import_module("brainkit.builtin"))


def _registered(source: Source) -> list[tuple[str, Any]]:
    """Load one plugin in a manager of its own and collect what it registers."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    module = source.load()
    try:
        manager.register(module, name=source.name)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise PluginError(_invalid(str(error))) from error
    offers: list[tuple[str, Any]] = []
    for kind in KINDS:
        getattr(manager.hook, f"register_{kind}s")(register=_collector(kind, offers))
    _check_twice(offers)
    return offers


def _invalid(said: str) -> str:
    unknown = re.search(r"unknown hook '(\w+)'", said)
    if not unknown:
        return " ".join(said.split())
    known = [f"register_{kind}s" for kind in KINDS]
    return f"unknown hook {unknown[1]!r}.{did_you_mean(unknown[1], known)}"


def _collector(kind: str, offers: list[tuple[str, Any]]) -> Callable[[Any], None]:
    def register(offer: Any) -> None:
        lacking = [member for member in MEMBERS[kind] if not hasattr(offer, member)]
        if isinstance(offer, type) or lacking:
            what = f"the class {offer.__name__}" if isinstance(offer, type) else f"{offer!r:.60}"
            why = "not an instance of it" if isinstance(offer, type) else f"lacking {lacking}"
            raise PluginError(f"register_{kind}s was given {what}, {why}")
        if not isinstance(offer.name, str) or not offer.name:
            raise PluginError(f"register_{kind}s: the name is {offer.name!r}, expected a word")
        offers.append((kind, offer))

    return register


def _check_twice(offers: Iterable[tuple[str, Any]]) -> None:
    seen = set()
    for kind, offer in offers:
        if (kind, offer.name) in seen:
            raise PluginError(f"{kind} {offer.name!r} is registered twice by the same plugin")
        seen.add((kind, offer.name))
