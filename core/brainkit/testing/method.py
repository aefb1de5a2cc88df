"""Promises of methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from brainkit.checkpoints import CheckpointStore
from brainkit.errors import BrainkitError
from brainkit.hookspecs import hookimpl
from brainkit.method import Method
from brainkit.testing import part as common
from brainkit.testing.promise import require
from brainkit.testing.tiny import tiny_nsd

SUMMARY = 100


def says_what_it_is(method: Method, store: CheckpointStore | None) -> None:
    """A method has a name that can be typed, a one-line summary and a source."""
    common.has_a_name("method", method)
    lines = method.summary.strip().splitlines()
    require(
        len(lines) == 1 and len(lines[0]) <= SUMMARY,
        f"the summary is {method.summary!r}, expected one line of at most {SUMMARY} characters",
    )
    require(bool(method.source.strip()), "the source is empty; name the paper")


def its_parts_fit_together(method: Method, store: CheckpointStore | None) -> None:
    """`Method.check` passes: keys, outputs and limits are kept; its groups of `scores` exist."""
    require_fitting(method)


def require_fitting(method: Method) -> None:
    """Raise AssertionError unless a method's parts fit together and its scores are there."""
    from brainkit.metrics import groups_named

    try:
        method.check()
        groups_named(method.scores, f"{method.name}: scores")
    except BrainkitError as error:
        raise AssertionError(str(error)) from error


def its_parts_keep_the_common_promises(method: Method, store: CheckpointStore | None) -> None:
    """Every part is a frozen dataclass with help, limits and a `repr`, importable without torch."""
    for address, part in method.parts():
        if address != "selection":
            require_common(address.partition(".")[0], part, address)


def a_run_is_made_once(method: Method, store: CheckpointStore | None) -> None:
    """A run on `tiny_nsd` makes a report, and a second run computes nothing.

    Left out when no store with weights is given.
    """
    if store is None:
        return
    from brainkit.run import run

    with TemporaryDirectory() as folder:
        nsd = tiny_nsd(Path(folder) / "nsd")
        first = _prepared(method, store, nsd, Path(folder) / "work")
        report = run(first)
        require(report.is_file(), f"the run wrote no report at {report.name}")
        second = _prepared(method, store, nsd, Path(folder) / "work")
        run(second)
        again = second.work.computed
        require(not again, f"a second run computed {again} again; is a part's repr the same?")


def require_common(
    kind: str,
    part: Any,
    who: str,
    promises: Sequence[Callable[[str, Any], None]] = common.PROMISES,
) -> None:
    """Raise AssertionError, naming the part, unless it keeps the promises of all parts."""
    for promise in promises:
        try:
            promise(kind, part)
        except AssertionError as error:
            raise AssertionError(f"{who}, {promise.__name__}: {error}") from error


def _prepared(method: Method, store: CheckpointStore, nsd: Path, folder: Path) -> Any:
    from brainkit.plugins import Registry, Source
    from brainkit.run.config import RunConfig
    from brainkit.run.shared import Run, Work

    registry = Registry([Source(method.name, f"{method.name} 0.0", lambda: _Plugin(method))])
    config = RunConfig(method.name, nsd=nsd, images=2, work=folder, device=store.device)
    return Run(config, method, registry, Work(folder, lambda text: None), store, nsd)


class _Plugin:
    def __init__(self, method: Method) -> None:
        self.method = method

    @hookimpl
    def register_methods(self, register: Any) -> None:
        register(self.method)


PROMISES = (
    says_what_it_is,
    its_parts_fit_together,
    its_parts_keep_the_common_promises,
    a_run_is_made_once,
)
