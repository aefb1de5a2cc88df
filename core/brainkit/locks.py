"""One process at a time in a folder, on disks that have locks and on those that have none.

A lock is a file that the system locks, and a note beside it that says who holds it and is touched
while it is held. Disks of clusters may have no locks, or ones that keep nobody out: there a fresh
note does, and one that has grown old is of a process that is no more.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Event, Thread
from uuid import uuid4

from brainkit.console import Say, duration
from brainkit.disk import writing
from brainkit.errors import BrainkitError, UsageError

TIMEOUT = "BRAINKIT_LOCK_TIMEOUT"
"""The environment variable with the seconds that one waits for another process."""
DAY = 86_400.0
"""Seconds one waits unless told: runs on NSD take hours."""
PAUSE = 0.5
"""Seconds between two attempts."""
BEAT = 20.0
"""Seconds between two touches of a note."""
OLD = 180.0
"""Seconds after which a note is of a dead process; network disks show touches a minute late."""
LOCKLESS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS)
NOTE = "-owner.json"
PROCESS = uuid4().hex
"""Tells this process from an earlier one of the same number."""


class BusyError(BrainkitError):
    """Another process holds a lock for longer than one waits."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock: a process, its host, since when, and a word that no other has."""

    pid: int = field(default_factory=os.getpid)
    host: str = field(default_factory=socket.gethostname)
    since: str = field(default_factory=time.ctime)
    token: str = field(default_factory=lambda: f"{PROCESS} {uuid4().hex}")

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"

    @classmethod
    def read(cls, note: Path) -> Holder | None:
        """Return who a note names; None when it is not there or names nobody."""
        try:
            told = json.loads(note.read_bytes())
            token = str(told.get("token", ""))
            return cls(int(told["pid"]), str(told["host"]), str(told["since"]), token)
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return None

    @property
    def runs(self) -> bool:
        """Whether the process may run; of other hosts that is not known."""
        if self.host != socket.gethostname():
            return True
        if self.pid == os.getpid():  # or an earlier process of the same number, as in containers
            return self.token.startswith(PROCESS)
        try:
            os.kill(self.pid, 0)
        except (ProcessLookupError, OverflowError, ValueError):
            return False
        except OSError:
            return True
        return True


@contextmanager
def locked(
    path: Path, what: str, say: Say, *, limit: float | None = None, remedy: str = ""
) -> Iterator[None]:
    """Hold a lock while the block runs; while another process does, say who and wait.

    Args:
        path: of the lock; its folder is made. Beside it lies the note of who holds it.
        what: it protects, for messages.
        say: prints one line.
        limit: seconds to wait; those of `BRAINKIT_LOCK_TIMEOUT`, or a day, unless given.
        remedy: when it cannot be written, e.g. "with --work".

    Raises:
        BusyError: another process still holds it.
        UnwritableError: lock or note cannot be written.
        UsageError: the variable holds no number of seconds.
    """
    limit = _limit() if limit is None else limit
    lock, began, told = _Lock(path), time.monotonic(), False
    try:
        with writing(path.parent, remedy):
            path.parent.mkdir(parents=True, exist_ok=True)
        while not lock.take(remedy):
            if time.monotonic() - began >= limit:
                raise BusyError(
                    f"{what} is in use by {lock.holder()} (lock {path}); wait until that has "
                    f"finished, for longer with {TIMEOUT}=SECONDS"
                )
            if not told:
                say(
                    f"{what} is in use by {lock.holder()}; waiting for it to finish, at most "
                    f"{duration(limit)} (lock {path})"
                )
            told = True
            time.sleep(min(PAUSE, limit))
        with _touched(lock.note):
            yield
    finally:
        lock.leave()


@contextmanager
def held_at_once(paths: Iterable[Path], remedy: str = "") -> Iterator[Path | None]:
    """Hold all of some locks while the block runs, if no other process holds one; never wait.

    Args:
        paths: of the locks; their folders are made.
        remedy: when they cannot be written, e.g. "with --work".

    Returns:
        The lock that another process holds, and then none is held; None if all are.

    Raises:
        UnwritableError: lock or note cannot be written.
    """
    locks: list[_Lock] = []
    try:
        taken = None
        # In one order everywhere, so that of two processes one gets all.
        for path in sorted(paths):
            with writing(path.parent, remedy):
                path.parent.mkdir(parents=True, exist_ok=True)
            locks.append(_Lock(path))
            if not locks[-1].take(remedy):
                taken = path
                break
        if taken is not None:
            _leave(locks)
        with _touched(*(lock.note for lock in locks if taken is None)):
            yield taken
    finally:
        _leave(locks)


def who_holds(path: Path) -> str:
    """Say which process holds a lock, as its note has it."""
    return _Lock(path).holder()


def _leave(locks: Sequence[_Lock]) -> None:
    for lock in locks:
        lock.leave()


def _limit() -> float:
    text = os.environ.get(TIMEOUT, "")
    try:
        seconds = float(text or DAY)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UsageError(f"{TIMEOUT} is {text!r}, expected seconds, e.g. 3600; correct or unset it")
    return seconds


class _Lock:
    """The file that the system locks, and the note."""

    def __init__(self, path: Path) -> None:
        from filelock import FileLock

        self.path, self.note = path, path.with_name(path.name + NOTE)
        self._file = FileLock(path)
        self._me = Holder()

    def take(self, remedy: str) -> bool:
        """Try once; a lock that others hold, by the system's word or by a fresh note, is not taken.

        Raises:
            UnwritableError: the system refuses for another reason.
        """
        with writing(self.path, remedy):
            granted = self._granted()
        if not granted and not lockless(self.path):
            return False
        with writing(self.note, remedy):
            if self._noted(granted):
                return True
        self._file.release()
        return False

    def holder(self) -> str:
        """Say who holds the lock."""
        return str(Holder.read(self.note) or "another process")

    def leave(self) -> None:
        """Let others in; does nothing when the lock was not taken."""
        if Holder.read(self.note) == self._me:
            with suppress(OSError):  # a note that stays grows old
                self.note.unlink()
                # While it is held: who gets this file still finds no note, or another's.
                self.path.unlink()
        with suppress(OSError):
            self._file.release()

    def _granted(self) -> bool:
        """Say whether the system gave the lock; not if another has it or the disk has none."""
        from filelock import Timeout

        try:
            self._file.acquire(timeout=0)
        except (Timeout, NotImplementedError):
            return False
        except OSError as error:
            if error.errno not in LOCKLESS:
                raise
            return False
        return True

    def _noted(self, granted: bool) -> bool:
        """Write the note, in place of one of a dead process."""
        if not self._write():
            if self._alive(granted):
                return False
            self.note.unlink(missing_ok=True)
            if not self._write():
                return False
            if not granted:  # another may have found the same dead note at the same time
                time.sleep(PAUSE)
        return Holder.read(self.note) == self._me

    def _write(self) -> bool:
        try:
            file = open(self.note, "x", encoding="utf-8")  # noqa: SIM115 (closed below)
        except FileExistsError:
            return False
        try:
            with file:
                json.dump(asdict(self._me), file)
        except OSError:  # of a full disk an empty note stays
            with suppress(OSError):
                self.note.unlink()
            raise
        return True

    def _alive(self, granted: bool) -> bool:
        """Say whether the process that a note names still holds the lock."""
        holder = Holder.read(self.note)
        if holder is None and granted:
            return False
        # Touched now: both times are the disk's, whose clock may be another.
        self.path.touch()
        try:
            age = self.path.stat().st_mtime - self.note.stat().st_mtime
        except FileNotFoundError:
            return False
        return age < OLD and (holder is None or holder.runs)


def lockless(path: Path) -> bool:
    """Say whether the disk that a file lies on has no locks.

    So are NFS without its lock daemon and Lustre mounted without flock.
    """
    try:
        import fcntl
    except ImportError:  # Windows, whose disks have them
        return False
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in LOCKLESS
    finally:
        os.close(handle)
    return False


@contextmanager
def _touched(*notes: Path) -> Iterator[None]:
    """Touch notes now and then while the block runs, to show that their process lives."""
    done = Event()

    def beat() -> None:
        while not done.wait(BEAT):
            for note in notes:
                with suppress(OSError):
                    os.utime(note)

    thread = Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
