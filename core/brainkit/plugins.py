"""Load plugins, keep broken ones apart, look up what they registered."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

from brainkit.admission import KINDS, MEMBERS, checkpoints_in, registered
from brainkit.code import code_hash, package_of
from brainkit.console import stdout_aside, to_stderr
from brainkit.ending import user_interrupts
from brainkit.errors import PluginError, UsageError, did_you_mean, reason
from brainkit.installed import CHOICE, Source, installed_sources, source_of_file

__all__ = ["KINDS", "MEMBERS", "Plugin", "Registry", "Source", "installed_sources"]

PATIENCE = 10.0
"""Seconds after which a plugin that is still being loaded is named."""
HEAVY = ("torch", "tensorflow", "jax", "transformers", "diffusers", "sklearn", "scipy", "pandas")
"""What takes a second or so to import, and is not needed to be listed."""


@dataclass(frozen=True)
class Plugin:
    """An admitted plugin and what it registered; or a broken one and the reason.

    Attributes:
        name: of its entry point.
        distribution: name and version.
        offers: (kind, part or method) in the order of registration.
        broken: why it cannot be used; "" when it can.
        error: what it raised.
        disputed: sentences on those of its names that another plugin registers too.
        module: what its entry point names, if that is known.
        edited: the package, or the file, of code that is being edited; None of what is installed.
        single: whether it is a file that the user named.
        seconds: how long loading it took.
        heavy: libraries it imported that make every command wait.
    """

    name: str
    distribution: str
    offers: tuple[tuple[str, Any], ...] = ()
    broken: str = ""
    error: BaseException | None = field(default=None, compare=False, repr=False)
    disputed: tuple[str, ...] = ()
    module: str = ""
    edited: Path | None = None
    single: bool = False
    seconds: float = field(default=0.0, compare=False)
    heavy: tuple[str, ...] = ()

    @property
    def owner(self) -> str:
        """Who answers for it, for messages."""
        return self.distribution or self.name

    @cached_property
    def version(self) -> str:
        """Distribution and version, and a hash of its code where that is being edited.

        Versions that are equal to installers are equal here: 0.1.0 is 0.1.
        """
        name, _, number = self.distribution.partition(" ")
        while number.endswith(".0") and number.count(".") > 1:
            number = number.removesuffix(".0")
        code = f"code {code_hash(self.edited)}" if self.edited else ""
        return " ".join(filter(None, (name, number, code)))


class Registry:
    """All plugins of an environment, as a value built on demand."""

    def __init__(self, sources: Sequence[Source]) -> None:
        """Load each source in order; core's own parts come first."""
        self.plugins: list[Plugin] = []
        self._found: dict[tuple[str, str], tuple[Any, Plugin]] = {}
        self._disputes: dict[tuple[str, str], list[Plugin]] = {}
        self._checkpoints: dict[str, Plugin] = {}
        with stdout_aside():
            for source in [_core(), *sources]:
                self.plugins.append(self._admit(source))
        self.plugins = [self._marked(plugin) for plugin in self.plugins]

    @classmethod
    def installed(cls, files: Iterable[Path] | None = None) -> Registry:
        """Build from the entry points of group `brainkit`, limited by BRAINKIT_PLUGINS.

        Args:
            files: plugins that are a single file each, besides.

        Raises:
            UsageError: a file is none of Python's.
        """
        return cls([*installed_sources(), *map(source_of_file, files or ())])

    def get(self, kind: str, name: str) -> Any:
        """Look up a part or method.

        Raises:
            UsageError: there is none, or two distributions have one; the message lists broken
                plugins that might have had it.
        """
        if (kind, name) in self._disputes:
            raise UsageError(_dispute(kind, name, self._disputes[kind, name]))
        if (kind, name) in self._found:
            return self._found[kind, name][0]
        known = self.names(kind)
        has = f" There are: {', '.join(known)}." if known else ""
        broken = "; ".join(f"{p.owner}: {p.broken}" for p in self.broken())
        note = f" Plugins that could not be loaded: {broken}" if broken else ""
        hint = did_you_mean(name, known)
        raise UsageError(f"no {kind} named {name!r}.{hint}{has}{note}")

    def distribution(self, kind: str, name: str) -> str:
        """Return "distribution version" of the plugin that registered a part, or ''."""
        found = self._found.get((kind, name))
        return found[1].distribution if found else ""

    def provider(self, kind: str, part: Any) -> Plugin | None:
        """Return the plugin that a part is of: that registers its class, or holds its module."""
        found = self._found.get((kind, part.name))
        if found and type(found[0]) is type(part):
            return found[1]
        top = type(part).__module__.partition(".")[0]
        offers = [plugin for plugin in self.plugins if plugin.module.partition(".")[0] == top]
        return offers[0] if offers else None

    def names(self, kind: str) -> list[str]:
        """Return the sorted names registered for a kind, but those that are disputed."""
        return sorted(name for found, name in self._found if found == kind)

    def broken(self) -> list[Plugin]:
        """Return the plugins that could not be admitted."""
        return [plugin for plugin in self.plugins if plugin.broken]

    def _admit(self, source: Source) -> Plugin:
        began, before = time.perf_counter(), {name for name in HEAVY if name in sys.modules}
        with user_interrupts() as interrupts, _patience(source):
            try:
                offers = tuple(registered(source.load(), source.name))
                self._check_free(offers)
                checkpoints = {each.name for offer in offers for each in checkpoints_in(*offer)}
                self._check_apart(offers, checkpoints)
            except BaseException as error:
                if interrupts:
                    raise
                return Plugin(source.name, source.distribution, broken=reason(error), error=error)
        plugin = Plugin(
            source.name,
            source.distribution,
            offers,
            module=source.module,
            edited=_edited(source),
            single=source.single,
            seconds=time.perf_counter() - began,
            heavy=tuple(name for name in HEAVY if name in sys.modules and name not in before),
        )
        self._place(plugin)
        self._checkpoints |= dict.fromkeys(checkpoints, plugin)
        return plugin

    def _place(self, plugin: Plugin) -> None:
        """Let what a plugin offers be found, but for names that another plugin has as well."""
        for kind, offer in plugin.offers:
            key = kind, offer.name
            if key in self._disputes:
                self._disputes[key].append(plugin)
            elif key in self._found:
                self._disputes[key] = [self._found.pop(key)[1], plugin]
            else:
                self._found[key] = (offer, plugin)

    def _check_free(self, offers: Sequence[tuple[str, Any]]) -> None:
        """Refuse names of core's own parts."""
        core = self.plugins[0].offers if self.plugins else ()
        taken = {(kind, offer.name) for kind, offer in core}
        for kind, offer in offers:
            if (kind, offer.name) in taken:
                raise PluginError(
                    f"{kind} {offer.name!r} is already registered by {self.plugins[0].owner}; "
                    "rename it"
                )

    def _check_apart(self, offers: Sequence[tuple[str, Any]], checkpoints: set[str]) -> None:
        """Refuse methods and checkpoints of one name: `brainkit fetch NAME` could mean either."""
        methods = {offer.name for kind, offer in offers if kind == "method"}
        owners = {name: plugin.owner for name, plugin in self._checkpoints.items()}
        owners |= {name: self.distribution("method", name) for name in self.names("method")}
        own = methods & checkpoints
        both = own | (methods & self._checkpoints.keys())
        both |= checkpoints & set(self.names("method"))
        for name in sorted(both):
            other = "the same plugin" if name in own else owners.get(name, "another plugin")
            raise PluginError(
                f"{name!r} names a method and a checkpoint, of which {other} has one, so "
                f"`brainkit fetch {name}` could mean either; rename yours"
            )

    def _marked(self, plugin: Plugin) -> Plugin:
        """Return a plugin with what is to be said of names that others register too."""
        keys = [(kind, offer.name) for kind, offer in plugin.offers]
        said = [_dispute(*key, self._disputes[key]) for key in keys if key in self._disputes]
        return replace(plugin, disputed=tuple(said))


def _edited(source: Source) -> Path | None:
    """Return the code of a plugin that was loaded, if it lies where its author edits it."""
    code = package_of(source.module) if source.module else None
    if code is None or (source.place and code.resolve().is_relative_to(source.place.resolve())):
        return None
    return code


def _dispute(kind: str, name: str, plugins: Sequence[Plugin]) -> str:
    """Say who registers a name, and what the user can do."""
    owners = [plugin.owner for plugin in plugins]
    if len(set(owners)) < len(owners):
        owners = [f"{plugin.owner} ({plugin.name})" for plugin in plugins]
    package = plugins[-1].distribution.partition(" ")[0] or plugins[-1].name
    chosen = f"{plugins[0].distribution.partition(' ')[0]}:{plugins[0].name}".lstrip(":")
    return (
        f"{kind} {name!r} is registered by {' and by '.join(owners)}, so it is not clear which is "
        f"meant; uninstall one (`pip uninstall {package}`), or list in {CHOICE} the plugins that "
        f"are to be loaded, e.g. {CHOICE}={chosen}"
    )


@contextmanager
def _patience(source: Source) -> Iterator[None]:
    """Name a plugin that takes so long to load that one would wonder what the program does."""
    owner = f" ({source.distribution})" if source.distribution else ""
    told = (
        f"plugin {source.name!r}{owner} is still being loaded after {PATIENCE:g} s; stop with "
        f"Ctrl-C, and leave it out with {CHOICE} or uninstall it if it never ends"
    )
    timer = threading.Timer(PATIENCE, to_stderr, [told])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _core() -> Source:
    from brainkit import __version__

    return Source("core", f"brainkit {__version__}", lambda: import_module("brainkit.builtin"))
