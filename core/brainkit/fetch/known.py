"""Which checkpoints there are: of the installed methods and parts, and of the scores' networks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING

from brainkit.errors import UsageError, did_you_mean
from brainkit.parts import checkpoints_of
from brainkit.plugins import KINDS, Registry
from brainkit.weights import release as released

if TYPE_CHECKING:
    from brainkit.data import Checkpoint
    from brainkit.method import Method
    from brainkit.weights import Release


@dataclass(frozen=True)
class Known:
    """A checkpoint and who needs it.

    Attributes:
        checkpoint: it is.
        methods: names of those whose parts load it, sorted.
        scores: whether it is a network that scores read; those are left out when it is missing.
        owner: name and version of the distribution whose part or method first names it.
    """

    checkpoint: Checkpoint
    methods: tuple[str, ...] = ()
    scores: bool = False
    owner: str = ""

    @property
    def name(self) -> str:
        """Its folder in the store."""
        return self.checkpoint.name

    @property
    def beside(self) -> tuple[str, ...]:
        """Files that a fetch writes beside the weights, by their path in the store's folder.

        Raises:
            CheckpointError: as of `release`.
        """
        release = self.release
        return tuple(each.path for each in release.companions) if release else ()

    @property
    def release(self) -> Release | None:
        """Where it is published; None when it can only be placed by hand.

        Raises:
            CheckpointError: the plugin names a release that is not there.
        """
        return released(self.checkpoint.release) if self.checkpoint.release else None


def known(registry: Registry) -> dict[str, Known]:
    """Return every checkpoint of methods and parts, then of scores, then of trainings, by name."""
    methods: list[Method] = [registry.get("method", name) for name in registry.names("method")]
    needed = {method.name: {each.name for each in method.checkpoints()} for method in methods}
    found: dict[str, Known] = {}
    for checkpoint, owner in _of_parts(registry, methods):
        users = tuple(sorted(name for name, has in needed.items() if checkpoint.name in has))
        found.setdefault(checkpoint.name, Known(checkpoint, users, owner=owner))
    for checkpoint in _of_scores():
        found.setdefault(checkpoint.name, Known(checkpoint, scores=True))
    for checkpoint in _of_trainings([each.checkpoint for each in found.values()]):
        found.setdefault(checkpoint.name, Known(checkpoint))
    return found


def of_method(registry: Registry, method: Method) -> list[Known]:
    """Return the checkpoints of a method, then those of its scores, which it can do without."""
    everything = known(registry)
    own = sorted({each.name for each in method.checkpoints()})
    named = {each.name: everything.get(each.name, Known(each)) for each in _read_by_scores(method)}
    read = [each for name, each in named.items() if name not in own]
    scores = [replace(each, scores=True) for each in read]
    return [everything[name] for name in own] + scores


def named(registry: Registry, name: str) -> list[Known]:
    """Return the checkpoints that the name of a method, or of a checkpoint, stands for.

    Raises:
        UsageError: there is neither.
    """
    if name in registry.names("method"):
        return of_method(registry, registry.get("method", name))
    everything = known(registry)
    if name in everything:
        return [replace(everything[name], scores=False)]
    methods = registry.names("method")
    hint = did_you_mean(name, [*methods, *everything])
    broken = "; ".join(f"{p.distribution or p.name}: {p.broken}" for p in registry.broken())
    note = f" Plugins that could not be loaded: {broken}" if broken else ""
    raise UsageError(
        f"no method or checkpoint is named {name!r}.{hint} Methods: {', '.join(methods)}. "
        f"Checkpoints: {', '.join(sorted(everything))}.{note}"
    )


def _of_parts(registry: Registry, methods: list[Method]) -> Iterator[tuple[Checkpoint, str]]:
    """Return checkpoints with the distribution that names them."""
    for method in methods:
        owner = registry.distribution("method", method.name)
        yield from ((each, owner) for each in method.checkpoints())
    for kind in KINDS[:-1]:
        for name in registry.names(kind):
            owner = registry.distribution(kind, name)
            yield from ((each, owner) for each in checkpoints_of(registry.get(kind, name)))


def _of_trainings(found: Iterable[Checkpoint]) -> Iterator[Checkpoint]:
    """Return what modules of releases list as `CHECKPOINTS` besides: those that no part loads."""
    modules = {each.release.partition(":")[0] for each in found if each.release}
    for name in sorted(modules):
        with suppress(Exception):  # a plugin's own, told when its release is asked for
            yield from getattr(import_module(name), "CHECKPOINTS", ())


def _of_scores() -> tuple[Checkpoint, ...]:
    from brainkit.metrics.networks.released import CHECKPOINTS
    from brainkit.networks.minilm import MINILM

    return (*CHECKPOINTS, MINILM)


def _read_by_scores(method: Method) -> list[Checkpoint]:
    """Return the networks that a method's scores read on NSD.

    Raises:
        UsageError: the method names a group of scores that is not there.
    """
    from brainkit.metrics.groups import STANDARD, groups_named
    from brainkit.networks.clip import CLIP_L14
    from brainkit.networks.minilm import MINILM

    asked = groups_named(method.scores, f"{method.name}: scores")
    groups = (STANDARD, *asked) if "image" in method.decoders else ()
    of_pictures = [checkpoint for group in groups for checkpoint in group.networks]
    return [CLIP_L14, *of_pictures, *([MINILM] if "caption" in method.decoders else [])]
