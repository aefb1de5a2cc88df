"""A check: a promise bound to the part that has to keep it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from brainkit.errors import UsageError, did_you_mean

Failures = Mapping[str, str]


@dataclass(frozen=True)
class Check:
    """One promise of one part; call it, and it raises if the promise is broken.

    Attributes:
        name: the promise, e.g. "weights_survive_a_file"; also its `str`, for test ids.
        promise: raises AssertionError, or whatever the part raised.
        expected_failure: why the part cannot keep the promise; then keeping it is the failure.
    """

    name: str
    promise: Callable[[], None]
    expected_failure: str = ""

    def __call__(self) -> None:
        """Run the check."""
        if not self.expected_failure:
            self.promise()
            return
        try:
            self.promise()
        except Exception:
            return
        raise AssertionError(
            f"{self.name} was expected to fail ({self.expected_failure}), but it passes; "
            "take it out of expected_failures"
        )

    def __str__(self) -> str:
        return self.name


def bound(
    promises: Sequence[Callable[..., None]], expected_failures: Failures | None, *subjects: Any
) -> tuple[Check, ...]:
    """Bind promises to what they are about.

    Args:
        promises: functions that raise when a promise is broken; their names become the checks'.
        expected_failures: name of a promise -> why it cannot be kept.
        subjects: arguments of every promise.

    Raises:
        UsageError: an expected failure names no promise, or gives no reason.
    """
    stated = dict(expected_failures or {})
    known = [promise.__name__ for promise in promises]
    for name in stated:
        if name not in known:
            hint = did_you_mean(name, known)
            raise UsageError(f"expected_failures names {name!r}, expected one of {known}.{hint}")
        if not str(stated[name]).strip():
            raise UsageError(f"expected_failures gives no reason why {name!r} cannot be kept")
    return tuple(
        Check(name, partial(promise, *subjects), stated.get(name, ""))
        for name, promise in zip(known, promises, strict=True)
    )


def require(holds: bool, sentence: str) -> None:
    """Raise AssertionError with a sentence unless the condition holds."""
    if not holds:
        raise AssertionError(sentence)


def failing(conformance: Iterable[Check]) -> set[str]:
    """Return the names of the checks that fail."""
    failed = set()
    for check in conformance:
        try:
            check()
        except Exception:
            failed.add(check.name)
    return failed
