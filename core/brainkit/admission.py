"""What a plugin has to be to be admitted: known hooks, and instances with members and fit names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pluggy

from brainkit import hookspecs
from brainkit.data import Checkpoint
from brainkit.errors import PluginError, did_you_mean
from brainkit.hookspecs import PROJECT
from brainkit.method import Method
from brainkit.names import unfit, unfit_method
from brainkit.parts import checkpoints_of

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


def registered(module: Any, name: str) -> list[tuple[str, Any]]:
    """Call the hooks of a plugin's module and return (kind, offer) of what it registers.

    Args:
        module: or any object with hook implementations.
        name: of its entry point.

    Raises:
        PluginError: a hook or an offer is not what it has to be.
    """
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(module, name=name)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise PluginError(_invalid(str(error))) from error
    offers: list[tuple[str, Any]] = []
    for kind in KINDS:
        getattr(manager.hook, f"register_{kind}s")(register=_collector(kind, offers))
    _check_twice(offers)
    return offers


def checkpoints_in(kind: str, offer: Any) -> Iterator[Checkpoint]:
    """Return the checkpoints that a part, or any part of a method, declares.

    Raises:
        PluginError: they are no tuple of `Checkpoint`, or a name cannot be that of a folder.
    """
    parts = offer.parts() if kind == "method" else [(kind, offer)]
    for address, part in parts:
        declared: object = checkpoints_of(part)
        if not isinstance(declared, tuple) or not all(isinstance(c, Checkpoint) for c in declared):
            raise PluginError(
                f"checkpoints of {address} of {kind} {offer.name!r} is {declared!r:.60}, expected "
                "a tuple of brainkit.Checkpoint"
            )
        for checkpoint in declared:
            if unfit(checkpoint.name):
                raise PluginError(
                    f"a checkpoint of {kind} {offer.name!r} is named {unfit(checkpoint.name)}"
                )
            yield checkpoint


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
        if kind == "method" and not isinstance(offer, Method):
            raise PluginError(
                f"register_methods was given a {type(offer).__name__}, expected a "
                "brainkit.method.Method"
            )
        why = unfit(offer.name) or (unfit_method(offer.name) if kind == "method" else "")
        if why:
            raise PluginError(f"register_{kind}s: the name is {why}")
        offers.append((kind, offer))

    return register


def _check_twice(offers: Iterable[tuple[str, Any]]) -> None:
    seen = set()
    for kind, offer in offers:
        if (kind, offer.name) in seen:
            raise PluginError(f"{kind} {offer.name!r} is registered twice by the same plugin")
        seen.add((kind, offer.name))
