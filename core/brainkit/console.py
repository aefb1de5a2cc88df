"""Tell the user what a run does: lines and one progress bar, on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO, cast

if TYPE_CHECKING:
    from brainkit.parts import Progress

LINE_EVERY = 10.0


Say = Callable[[str], None]
"""Where a run's messages go, a line each."""


def to_stderr(text: str) -> None:
    """Print one line on stderr."""
    print(text, file=sys.stderr, flush=True)


class Lines:
    """Turns a bar's redrawing into plain lines, for logs."""

    def write(self, text: str) -> None:
        """Print what is more than a carriage return and blanks."""
        if text.strip():
            to_stderr(text.strip())

    def flush(self) -> None:
        """Do nothing: every line is flushed."""


class Bar:
    """A bar over `total` items in which the step within a batch counts in fractions."""

    def __init__(self, what: str, total: int, unit: str, done: int = 0) -> None:
        """Begin at `done` items, e.g. those an earlier run finished."""
        from tqdm import tqdm

        live = sys.stderr.isatty()
        self._done = float(done)
        self._bar = tqdm(
            total=total,
            initial=done,
            desc=what,
            unit=unit,
            file=sys.stderr if live else cast(TextIO, Lines()),
            leave=False,
            mininterval=0.2 if live else LINE_EVERY,
            miniters=None if live else 0,
            delay=0 if live else LINE_EVERY,
            bar_format="{desc}: {n:.1f}/{total} {unit} [{elapsed} gone, {remaining} left, "
            "{rate_fmt}{postfix}]",
        )

    def add(self, items: float) -> None:
        """Count items as finished."""
        self._done += items
        self._bar.update(items)

    def within(self, batch: float) -> Progress:
        """Give a callback (step, steps) that counts a batch's items while it is worked on."""
        before = self._done

        def report(step: int, steps: int) -> None:
            self._bar.set_postfix_str(f"step {step}/{steps} of this batch", refresh=False)
            self.add(before + batch * step / steps - self._done)

        return report

    def of(self, done: int, total: int) -> None:
        """Set items done and their total at once, as a `Progress` callback."""
        self._bar.total = total
        self.add(done - self._done)

    def close(self) -> None:
        """Take the bar away."""
        self._bar.close()


@contextmanager
def bar(what: str, total: int, unit: str, done: int = 0) -> Iterator[Bar]:
    """Show a bar while the block runs."""
    shown = Bar(what, total, unit, done)
    try:
        yield shown
    finally:
        shown.close()
