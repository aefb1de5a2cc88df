"""Check all that an installed plugin offers, with the weights and examples that can be had."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Literal

from brainkit.admission import checkpoints_in
from brainkit.data import Checkpoint
from brainkit.errors import UsageError, reason
from brainkit.plugins import Plugin, Registry
from brainkit.testing import checks
from brainkit.testing.lending import Conformance, Lender
from brainkit.testing.promise import Failures

Outcome = Literal["kept", "broken", "excused", "left out"]
DECLARED = "EXPECTED_FAILURES"
"""What a plugin's module calls the promises that it cannot keep: subject -> check -> reason."""
SINGLE = {"an_entry_point_names_it": "it is a single file, which is being developed"}


@dataclass(frozen=True)
class Verdict:
    """What came of one check.

    Attributes:
        subject: what was checked, e.g. "regressor.mean".
        check: the promise; "" when all of the subject's are left out.
        outcome: "excused" is a promise that the plugin says it cannot keep.
        why: the fault, the excuse, or what is lacking.
    """

    subject: str
    check: str
    outcome: Outcome
    why: str = ""


def survey(
    plugin: Plugin,
    registry: Registry,
    released: Path,
    *,
    runs: bool = True,
    say: Callable[[str], None] = lambda text: None,
) -> Iterator[Verdict]:
    """Check a plugin, its parts, methods and checkpoints, one promise after the other.

    Args:
        plugin: of the registry.
        registry: of all plugins; its methods lend features and latents to the parts they use.
        released: folder of the released weights, for parts without a miniature.
        runs: whether a whole run of each method is made.
        say: told what is checked next.

    Raises:
        UsageError: the plugin excuses a promise without a reason, or one that there is not.
    """
    for fault in filter(None, (plugin.broken, *plugin.disputed)):
        yield Verdict("plugin", "it_is_admitted", "broken", fault)
    if plugin.broken:
        return
    module = sys.modules.get(plugin.module) or import_module(plugin.module)
    lender = Lender(registry, released)
    for subject, conformance in _subjects(plugin, module, lender, runs=runs):
        say(f"checking {subject}")
        yield from _verdicts(subject, conformance)


def _subjects(
    plugin: Plugin, module: ModuleType, lender: Lender, *, runs: bool
) -> Iterator[tuple[str, Conformance]]:
    excuses = _excuses(module, plugin)
    whole = {**(SINGLE if plugin.single else {}), **excuses.get("plugin", {})}
    yield "plugin", checks.check_plugin(module, expected_failures=whole)
    for kind, offer in plugin.offers:
        subject = f"{kind}.{offer.name}"
        if kind == "method":
            yield subject, lender.method(offer, excuses.get(subject), runs=runs)
        else:
            yield subject, getattr(lender, kind)(offer, excuses.get(subject))
    mine = {each.name: each for offer in plugin.offers for each in checkpoints_in(*offer)}
    others = _owners(plugin, lender.registry)
    for name, checkpoint in mine.items():
        yield f"checkpoint.{name}", checks.for_checkpoint(checkpoint, others)


def _owners(plugin: Plugin, registry: Registry) -> dict[str, tuple[str, Checkpoint]]:
    """Return the checkpoints that other plugins declare, each with its distribution."""
    from brainkit.metrics.networks.released import CHECKPOINTS

    owners = {each.name: (registry.plugins[0].owner, each) for each in CHECKPOINTS}
    for other in registry.plugins:
        if other != plugin:
            for offer in other.offers:
                owners |= {each.name: (other.owner, each) for each in checkpoints_in(*offer)}
    return owners


def _excuses(module: ModuleType, plugin: Plugin) -> Mapping[str, Failures]:
    declared: Mapping[str, Failures] = getattr(module, DECLARED, {})
    known = {"plugin", *(f"{kind}.{offer.name}" for kind, offer in plugin.offers)}
    for subject in declared:
        if subject not in known:
            raise UsageError(
                f"{DECLARED} of {plugin.module} names {subject!r}, expected one of {sorted(known)}"
            )
    return declared


def _verdicts(subject: str, conformance: Conformance) -> Iterator[Verdict]:
    if isinstance(conformance, str):
        yield Verdict(subject, "", "left out", conformance)
        return
    for check in conformance:
        try:
            check()
        except Exception as error:  # that a promise is broken, or whatever the part raises
            said = str(error) if isinstance(error, AssertionError) else reason(error)
            yield Verdict(subject, check.name, "broken", " ".join(said.split()))
        else:
            outcome: Outcome = "excused" if check.expected_failure else "kept"
            yield Verdict(subject, check.name, outcome, check.expected_failure)
