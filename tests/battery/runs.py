"""Small runs of every method by `brainkit run`, each in a process of its own that can be killed."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from trees import tree

SMALL = ("-o", "miniature.train_images=60", "-o", "miniature.test_images=10")
METHODS = {
    "unibrain": ("unibrain", "--images", "4", "--batch-size", "3", "-o", "sampler.steps=4"),
    "minddiffuser": (
        *("minddiffuser", "--images", "3", "--batch-size", "2", "--no-ceiling"),
        *("-o", "sampler.steps=4", "-o", "sampler.iterations=4", "-o", "sampler.every=2"),
    ),
    "takagi": (
        *("takagi", "--images", "4", "--batch-size", "3", "--no-ceiling"),
        *("-o", "sampler.steps=4"),
    ),
    "mindreader": ("mindreader", "--images", "4", "--batch-size", "3", "-o", "regressor.epochs=1"),
    "mapper": (
        *("mindreader", "--images", "2", "--no-ceiling", "-o", "regressor.epochs=8"),
        *("-o", "regressor.batch=16"),
    ),
}
"""What each is asked for; `mapper` is Mind Reader with a training worth killing."""
PREPARED = ("features/", "trials-")
"""Begin the paths, below a subject, of what takes longest and is kept for most kills."""


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code, negative for a signal, and what it said."""

    code: int
    said: str
    seconds: float

    @property
    def plain(self) -> bool:
        """Whether nothing but sentences was said."""
        return "Traceback" not in self.said and self.code != CRASHED


CRASHED = 70


@dataclass
class Tally:
    """What was tried, what of it held, and what did not."""

    tried: int = 0
    held: int = 0
    late: int = 0
    failures: list[str] = field(default_factory=list)

    def count(self, failure: str) -> None:
        """Count one trial; an empty text says that it held."""
        self.tried += 1
        self.held += not failure
        if failure:
            self.failures.append(failure)
            print(f"  FAILED {failure}", flush=True)


def warm() -> None:
    """Import what runs import, so that forked processes begin at once."""
    import torch

    torch.set_num_threads(1)
    import brainkit_unibrain.parts  # noqa: F401


def begin(words: Sequence[object], handle: int, before: Callable[[], object] | None = None) -> int:
    """Fork a process that runs the command; return its id.

    Args:
        words: after `brainkit`.
        handle: of an open file, which gets what it says and is closed here.
        before: is called in the process before the command.
    """
    sys.stdout.flush()
    child = os.fork()
    if child:
        os.close(handle)
        return child
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    # What they know of the file they wrote to until now holds of this one no more.
    sys.stdout, sys.stderr = (open(each, "w", closefd=False) for each in (1, 2))  # noqa: SIM115
    code = CRASHED
    try:
        from brainkit.__main__ import main

        if before:
            before()
        sys.argv = ["brainkit", *map(str, words)]
        main()
        code = 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait(child: int, log: Path, began: float) -> Ended:
    """Wait for a process to end."""
    _, status = os.waitpid(child, 0)
    text = log.read_text(encoding="utf-8", errors="replace")
    return Ended(os.waitstatus_to_exitcode(status), text, time.monotonic() - began)


def do(words: Sequence[object], log: Path, before: Callable[[], object] | None = None) -> Ended:
    """Run the command to its end; `log` gets what it says, other arguments as of `begin`."""
    began = time.monotonic()
    return wait(begin(words, opened(log), before), log, began)


def opened(log: Path) -> int:
    """Return a handle of an empty file to write to."""
    return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)


def do_limited(words: Sequence[object], before: Callable[[], object]) -> Ended:
    """Run the command under limits on files, which what it says is free of; see `begin`."""
    began = time.monotonic()
    reading, writing = os.pipe()
    # A pipe holds 64 KiB, more than a run says.
    child = begin(words, writing, before)
    _, status = os.waitpid(child, 0)
    with open(reading, encoding="utf-8", errors="replace") as said:
        return Ended(os.waitstatus_to_exitcode(status), said.read(), time.monotonic() - began)


def kill_after(words: Sequence[object], log: Path, seconds: float) -> Ended:
    """Run the command, but kill it after so many seconds."""
    began = time.monotonic()
    child = begin(words, opened(log))
    while time.monotonic() - began < seconds:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            break
        time.sleep(0.005)
    else:
        os.kill(child, signal.SIGKILL)
    return wait(child, log, began)


class Operations:
    """Counts a process's renames, removals and flushes, and kills it before one of them."""

    def __init__(self, last: int | None = None, note: Path | None = None) -> None:
        """Begin.

        Args:
            last: how many are let through before the kill; None for all.
            note: gets the count.
        """
        self.count, self.last, self.note = 0, last, note

    def __call__(self) -> None:
        """Watch the operations of this process."""
        for name in ("replace", "unlink", "fsync", "mkdir"):
            setattr(os, name, self._watched(getattr(os, name)))

    def _watched(self, function: Callable[..., object]) -> Callable[..., object]:
        def called(*arguments: object, **options: object) -> object:
            if self.count == self.last:
                os.kill(os.getpid(), signal.SIGKILL)
            self.count += 1
            if self.note:
                self.note.write_text(str(self.count))
            return function(*arguments, **options)

        return called


@dataclass(frozen=True)
class Reference:
    """An uninterrupted run, which others are compared with.

    Attributes:
        words: of the command, without `--work`.
        work: its folder, not to be changed.
        files: its content.
        seconds: what it took when features and trials were there.
        operations: how many it made then.
        log: gets what further commands say.
    """

    words: tuple[object, ...]
    work: Path
    files: dict[str, bytes]
    seconds: float
    operations: int
    log: Path

    @classmethod
    def of(cls, method: str, folder: Path) -> Reference:
        """Do a run of a method below a folder, unless it is there, and once more to measure it.

        Raises:
            SystemExit: it fails.
        """
        words, log = ("run", *METHODS[method], *SMALL), folder / "log"
        work, again = folder / "whole", folder / "again"
        folder.mkdir(parents=True, exist_ok=True)
        ended = do((*words, "--work", work), log)
        if ended.code:
            raise SystemExit(f"{method} fails without a kill:\n{ended.said}")
        files = tree(work)
        prepare(work, again)
        note = folder / "operations"
        ended = do((*words, "--work", again), log, Operations(note=note))
        reference = cls(words, work, files, ended.seconds, int(note.read_text()), log)
        if failure := reference.differs(again):
            raise SystemExit(f"{method} differs without a kill: {failure}")
        shutil.rmtree(again)
        return reference

    def command(self, work: Path) -> tuple[object, ...]:
        """Return the words of the command for another folder."""
        return (*self.words, "--work", work)

    def differs(self, work: Path) -> str:
        """Say how the files below a folder differ from this run's; "" if they do not."""
        found = tree(work)
        missing, more = self.files.keys() - found.keys(), found.keys() - self.files.keys()
        other = [name for name in found.keys() & self.files if found[name] != self.files[name]]
        told = {"missing": missing, "left over": more, "other bytes": other}
        return "; ".join(f"{what}: {sorted(names)[:5]}" for what, names in told.items() if names)

    def made_good(self, work: Path) -> str:
        """Run the command in a folder; say what is wrong with its end or files, "" if nothing."""
        ended = do(self.command(work), self.log)
        if ended.code or not ended.plain:
            return f"exit {ended.code}: {ended.said[-2000:]}"
        return self.differs(work)


def prepare(whole: Path, work: Path) -> None:
    """Copy a finished run without all that comes after features and trials."""
    drop(whole, work, lambda name: not name.partition("/subj01/")[2].startswith(PREPARED))


def thin(whole: Path, work: Path, random: Random) -> None:
    """Copy a finished run without a random third of its files."""
    drop(whole, work, lambda name: random.random() < 0.3)


def drop(whole: Path, work: Path, wanted: Callable[[str], bool]) -> None:
    """Copy a folder and remove some of its files."""
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(whole, work)
    for path in sorted(path for path in work.rglob("*") if path.is_file()):
        if wanted(path.relative_to(work).as_posix()):
            path.unlink()
