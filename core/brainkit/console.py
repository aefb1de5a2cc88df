"""What people see on a terminal: lines, warnings, one progress bar, sizes and durations.

Progress goes to stderr, so that what a command prints can be piped.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from io import TextIOWrapper
from typing import TYPE_CHECKING, Literal, TextIO, cast

from brainkit.errors import BrainkitWarning, UsageError

if TYPE_CHECKING:
    from brainkit.parts import Progress

LINE_EVERY = 10.0
"""Seconds between two lines of a bar that goes to a file."""
Say = Callable[[str], None]
"""Where a run's messages go, a line each."""
LOUDNESS: ContextVar[Literal["quiet", "usual", "verbose"]] = ContextVar("loudness", default="usual")
"""How much of its progress a command tells; set for a block by `told`."""


def to_stderr(text: str) -> None:
    """Print one line on stderr, wrapped between words where stderr has a width."""
    print(wrapped(text, width(sys.stderr)), file=sys.stderr, flush=True)


def tell(text: str) -> None:
    """Print a line of progress on stderr, unless the user asked for quiet."""
    if LOUDNESS.get() == "verbose":
        to_stderr(f"{time.strftime('%H:%M:%S')} {human_size(_most_memory()):>8}  {text}")
    elif LOUDNESS.get() == "usual":
        to_stderr(text)


@contextmanager
def told(*, quiet: bool = False, verbose: bool = False) -> Iterator[None]:
    """Tell less or more of progress while the block runs.

    Args:
        quiet: no progress; errors, warnings and what a command prints remain.
        verbose: time of day and most memory so far with each line; libraries' warnings, too.

    Raises:
        UsageError: both are asked for.
    """
    if quiet and verbose:
        raise UsageError("--quiet and --verbose exclude each other; leave one out")
    outer = LOUDNESS.get()
    before = LOUDNESS.set("quiet" if quiet else "verbose" if verbose else outer)
    try:
        yield
    finally:
        LOUDNESS.reset(before)


def _most_memory() -> float:
    """Return the most memory that this process has had, in bytes; 0 where that is not told."""
    try:
        from resource import RUSAGE_SELF, getrusage
    except ImportError:  # Windows
        return 0
    # Linux counts in KiB, macOS in bytes.
    return getrusage(RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@contextmanager
def stdout_aside() -> Iterator[None]:
    """Send to stderr what anybody prints meanwhile, also libraries that are not Python's."""
    if sys.stdout is not None:
        sys.stdout.flush()
    try:
        kept = os.dup(1)
        os.dup2(2, 1)
    except OSError:  # a program may have neither
        kept = -1
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        if kept >= 0:
            os.dup2(kept, 1)
            os.close(kept)


def any_character() -> None:
    """Let stdout and stderr take any text: what a terminal or pipe cannot encode is escaped.

    Otherwise an ASCII terminal, or a name that is not UTF-8, fails a command whose work is done.
    """
    for stream in (sys.stdout, sys.stderr):
        # A test's or notebook's stream may be no file.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def warned(say: Say = to_stderr, *, every: bool = False) -> Callable[..., None]:
    """Return what `warnings.showwarning` is set to: brainkit's own warnings, a line each.

    Args:
        say: where they go.
        every: whether libraries' warnings are told too; those are for developers.
    """

    def show(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        if every or issubclass(category, BrainkitWarning) or LOUDNESS.get() == "verbose":
            say(f"Warning: {message}")

    return show


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
            disable=LOUDNESS.get() == "quiet",
            bar_format="{desc}: {n:.1f}/{total} {unit} [{elapsed} gone, {remaining} left, "
            "{rate_fmt}{postfix}]",
        )

    def add(self, items: float) -> None:
        """Count items as finished."""
        self._done += items
        self._bar.update(items)

    def within(self, batch: float) -> Progress:
        """Return a callback (step, steps) that counts a batch's items while it is worked on."""
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
    progress = Bar(what, total, unit, done)
    try:
        yield progress
    finally:
        progress.close()


def width(stream: TextIO | None = None) -> int | None:
    """Return how many columns a stream shows: COLUMNS, or the terminal's; None for a pipe.

    Args:
        stream: stdout unless given.
    """
    asked = os.environ.get("COLUMNS", "")
    if asked.isdecimal() and int(asked):
        return int(asked)
    return shutil.get_terminal_size().columns if is_terminal(stream or sys.stdout) else None


def is_terminal(stream: TextIO) -> bool:
    """Say whether a stream is a terminal; a test's or notebook's is none."""
    return getattr(stream, "isatty", bool)()


BREAKS = re.compile(r"(\s+|(?<=,)(?=\S))")
"""Where a line may be broken: between words, and after commas, as in long lists without blanks."""


def wrapped(text: str, columns: int | None, hang: int = 2) -> str:
    """Return a text whose lines are no longer than that, unless a single word is.

    >>> print(wrapped("  alpha,beta,gamma of delta", 18))
      alpha,beta,gamma
        of delta

    Args:
        text: lines; what they begin with is kept.
        columns: None for as long as they are.
        hang: further blanks before what is continued.
    """
    if columns is None:
        return text
    from textwrap import TextWrapper

    lines = []
    for line in text.splitlines():
        blanks = " " * (len(line) - len(line.lstrip()) + hang)
        wrapper = TextWrapper(
            max(columns, len(blanks) + 1),
            subsequent_indent=blanks,
            break_long_words=False,
            break_on_hyphens=False,
            replace_whitespace=False,
        )
        wrapper.wordsep_simple_re = BREAKS
        lines += wrapper.wrap(line) or [""]
    return "\n".join(lines)


def aligned(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """Return the lines of a table, its columns two blanks apart and no blank at a line's end.

    >>> aligned([["name", "size"], ["a", "12"]], right={1})
    ['name  size', 'a       12']

    Args:
        rows: of equally many cells, the heading included.
        right: columns, from 0, whose cells stand at the right, as numbers do.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = (
        [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in rows
    )
    return ["  ".join(row).rstrip() for row in padded]


def human_size(n_bytes: float) -> str:
    """Return a size for people.

    >>> human_size(3_900_000_000)
    '3.9 GB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"


def duration(seconds: float) -> str:
    """Return a time for people.

    >>> duration(0.25), duration(75), duration(7265)
    ('0.2 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
