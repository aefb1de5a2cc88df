"""How a program ends: on an error, an interrupt or a signal with one line and its exit code."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from traceback import clear_frames
from types import FrameType
from typing import Any

from brainkit.console import Say, any_character, to_stderr, warned
from brainkit.disk import refusal
from brainkit.errors import BrainkitError, BrainkitWarning, printable

STOPPED = 128
"""Plus the number of a signal: the exit code of a program that it stopped, as shells have it."""
ENDING = ("SIGTERM", "SIGHUP", "SIGQUIT")
"""What batch systems, closed terminals and keyboards send besides an interrupt."""
AGAIN = "Stopped; run the same command again to go on from here."


@contextmanager
def ended(*, stopped: str = AGAIN, debug: bool = False, say: Say = to_stderr) -> Iterator[None]:
    """Run a program's body: whatever stops it becomes one line on stderr and an exit code.

    Exit codes are that of a `BrainkitError`, 1 when the system refuses something, and 128 + n after
    signal n (130 after an interrupt). Errors of the program itself keep their tracebacks.
    Warnings of brainkit are a line each while the body runs.

    Args:
        stopped: what is said after a signal.
        debug: whether errors keep their tracebacks, and libraries' warnings are told too.
        say: prints one line.
    """
    any_character()
    with _signals_interrupt() as came, warnings.catch_warnings():
        warnings.simplefilter("default", BrainkitWarning)
        warnings.showwarning = warned(say, every=debug)
        try:
            with _told_whole():
                yield
        except BrainkitError as error:
            if debug:
                raise
            say(f"Error: {error}")
            sys.exit(error.exit_code)
        except (KeyboardInterrupt, SystemExit) as left:
            # typer turns an interrupt into a silent exit
            interrupted = STOPPED + signal.SIGINT
            if isinstance(left, SystemExit) and left.code != interrupted:
                raise
            _drop(left)
            # The terminal may have gone, which is what SIGHUP says.
            with suppress(OSError):
                say(stopped)
            sys.exit(STOPPED + came[0] if came else interrupted)
        except BrokenPipeError:
            _leave_stdout()  # whoever read has gone
            sys.exit(1)
        except OSError as error:
            if debug:
                raise
            say(f"Error: {printable(refusal(error))}")
            sys.exit(1)


@contextmanager
def user_interrupts() -> Iterator[list[int]]:
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


def _drop(error: BaseException | None) -> None:
    """Let go of what was worked on; a bar half made would complain behind the last line."""
    heard, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        while error is not None:
            clear_frames(error.__traceback__)
            error = error.__context__
    finally:
        sys.unraisablehook = heard


@contextmanager
def _told_whole() -> Iterator[None]:
    """Write out what was printed: a full disk is told of, as for other files."""
    try:
        yield
    except SystemExit:  # as which typer ends
        _flush()
        raise
    _flush()


def _flush() -> None:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _leave_stdout()
        raise OSError(error.errno, error.strerror, "standard output") from error


def _leave_stdout() -> None:
    # What Python would still write at its end has nowhere to go.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _signals_interrupt() -> Iterator[list[int]]:
    """Let signals that end a process interrupt it, so that it tidies up; lends those that came."""
    came: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        came.append(number)
        heeded = signal.getsignal(signal.SIGINT)
        if callable(heeded):  # it may do more than raise
            heeded(number, frame)
        raise KeyboardInterrupt

    numbers = [int(getattr(signal, name)) for name in ENDING if hasattr(signal, name)]
    main = threading.current_thread() is threading.main_thread()
    # What somebody decided before, as nohup does of SIGHUP, stays.
    mine = [each for each in numbers if main and signal.getsignal(each) == signal.SIG_DFL]
    for number in mine:
        signal.signal(number, interrupt)
    try:
        yield came
    finally:
        for number in mine:
            signal.signal(number, signal.SIG_DFL)
