"""Find plugins, keep broken ones apart, look up what they registered."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

import pluggy

from brainkit import hookspecs
from brainkit.errors import BrainkitError, PluginError, UsageError, did_you_mean
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
        """Give "distribution version" of the plugin that registered a part, or ''."""
        found = self._found.get((kind, name))
        return found[1].distribution if found else ""

    def names(self, kind: str) -> list[str]:
        """Give the sorted names registered for a kind."""
        return sorted(name for found, name in self._found if found == kind)

    def broken(self) -> list[Plugin]:
        """Give the plugins that could not be admitted."""
        return [plugin for plugin in self.plugins if plugin.broken]

    def _admit(self, source: Source) -> Plugin:
        try:
            offers = _registered(source)
            for kind, offer in offers:
                self._check_free(kind, offer)
        except BrainkitError as error:
            return Plugin(source.name, source.distribution, broken=str(error), error=error)
        except (Exception, SystemExit) as error:
            said = (str(error).strip().splitlines() or [""])[0]
            reason = f"{type(error).__name__}: {said}" if said else type(error).__name__
            return Plugin(source.name, source.distribution, broken=reason, error=error)
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
    """Give the plugins of the environment, sorted by distribution name.

    BRAINKIT_PLUGINS, a comma-separated list of entry-point names, keeps only those; empty, none.
    """
    wanted = os.environ.get("BRAINKIT_PLUGINS")
    names = None if wanted is None else {name.strip() for name in wanted.split(",") if name.strip()}
    sources = []
    for point in entry_points(group=PROJECT):
        if names is None or point.name in names:
            dist = f"{point.dist.name} {point.dist.version}" if point.dist else ""
            sources.append(Source(point.name, dist, point.load))
    return sorted(sources, key=lambda source: (source.distribution, source.name))


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
