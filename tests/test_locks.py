"""Locks, on disks that have them, have none, or grant them to everybody."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from brainkit import locks
from brainkit.disk import UnwritableError
from brainkit.errors import UsageError
from brainkit.locks import BusyError, locked

LOCKLESS = [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS]
HERE = socket.gethostname()
CHILD = """
import sys, time
from pathlib import Path
from brainkit.locks import locked
with locked(Path(sys.argv[1]), "the folder", print):
    print("held", flush=True)
    time.sleep(60)
"""


def refuse_locks(monkeypatch, number: int) -> None:
    def refuse(handle: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)


def note_of(lock: Path, pid: int, host: str = HERE) -> Path:
    note = lock.with_name(lock.name + "-owner.json")
    note.write_text(json.dumps({"pid": pid, "host": host, "since": "noon", "token": "theirs"}))
    return note


def dead() -> int:
    """Return the number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def taken(lock: Path, limit: float = 0.0) -> list[str]:
    """Take a lock, look that it is held, and return what was said."""
    said: list[str] = []
    with locked(lock, "the folder", said.append, limit=limit):
        note = json.loads(lock.with_name(lock.name + "-owner.json").read_text())
        assert (note["pid"], note["host"]) == (os.getpid(), HERE)
        with pytest.raises(BusyError), locked(lock, "the folder", said.append, limit=0.0):
            pass
    assert [each.name for each in lock.parent.iterdir() if "owner" in each.name] == []
    return said


def refused(lock: Path) -> str:
    with pytest.raises(BusyError) as caught, locked(lock, "the folder", print, limit=0.0):
        pass
    return str(caught.value)


@pytest.fixture
def lock(tmp_path) -> Path:
    return tmp_path / "work" / ".lock"


@pytest.fixture
def other(lock):
    """A process that holds the lock."""
    process = subprocess.Popen([sys.executable, "-c", CHILD, str(lock)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_lock_is_held_and_left(lock):
    assert taken(lock) == []
    assert taken(lock) == []


def test_a_process_that_holds_it_is_named_and_a_killed_one_is_not_waited_for(lock, other):
    said = refused(lock)
    since = r"\w{3} \w{3} [ \d]\d [\d:]{8} \d{4}"
    assert re.fullmatch(
        rf"the folder is in use by process {other.pid} on {re.escape(HERE)} since {since} "
        rf"\(lock {re.escape(str(lock))}\); wait until that has finished, for longer with "
        "BRAINKIT_LOCK_TIMEOUT=SECONDS",
        said,
    )
    other.kill()
    other.wait()
    began = time.monotonic()
    with locked(lock, "the folder", print):
        assert time.monotonic() - began < 10


def test_waiting_is_told_once_ends_with_the_holder_and_can_be_interrupted(lock, other):
    said: list[str] = []

    def interrupt(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 1.2)
    try:
        with pytest.raises(KeyboardInterrupt), locked(lock, "the folder", said.append):
            pass
    finally:
        signal.signal(signal.SIGALRM, before)
    assert len(said) == 1
    assert f"process {other.pid} on {HERE}" in said[0]
    assert f"waiting for it to finish, at most 24 h 0 min (lock {lock})" in said[0]


def test_the_limit_is_a_variable(lock, other, monkeypatch):
    monkeypatch.setenv("BRAINKIT_LOCK_TIMEOUT", "0.1")
    with pytest.raises(BusyError), locked(lock, "the folder", print):
        pass
    for wrong in ("soon", "-1", "nan", "inf"):
        monkeypatch.setenv("BRAINKIT_LOCK_TIMEOUT", wrong)
        with (
            pytest.raises(UsageError, match=f"BRAINKIT_LOCK_TIMEOUT is '{wrong}', expected sec"),
            locked(lock, "the folder", print),
        ):
            pass


@pytest.mark.parametrize("number", LOCKLESS, ids=errno.errorcode.get)
@pytest.mark.parametrize("left", [False, True], ids=["new", "left over"])
def test_a_disk_without_locks_has_the_note(lock, number, left, monkeypatch):
    if left:
        lock.parent.mkdir()
        lock.touch()
    refuse_locks(monkeypatch, number)
    taken(lock)
    note_of(lock, os.getppid())
    assert f"process {os.getppid()} on {HERE} since noon (lock {lock})" in refused(lock)
    note_of(lock, dead())
    taken(lock)


def test_a_lock_that_is_granted_to_everybody_keeps_out_by_its_note(lock, monkeypatch):
    lock.parent.mkdir()
    monkeypatch.setattr(fcntl, "flock", lambda handle, operation: None)
    note_of(lock, os.getppid())
    assert f"process {os.getppid()} on {HERE}" in refused(lock)


@pytest.mark.parametrize("number", [0, *LOCKLESS])
def test_a_note_of_another_host_counts_while_it_is_touched(lock, number, monkeypatch):
    lock.parent.mkdir()
    if number:
        refuse_locks(monkeypatch, number)
    note = note_of(lock, 1, "elsewhere")
    assert "process 1 on elsewhere since noon" in refused(lock)
    os.utime(note, (time.time() - 1000,) * 2)
    with locked(lock, "the folder", print, limit=0.0):
        assert json.loads(note.read_text())["host"] == HERE


def test_a_note_is_touched_while_it_is_held(lock, monkeypatch):
    monkeypatch.setattr(locks, "BEAT", 0.01)
    with locked(lock, "the folder", print):
        note = lock.with_name(".lock-owner.json")
        os.utime(note, (0, 0))
        end = time.monotonic() + 20
        while note.stat().st_mtime == 0 and time.monotonic() < end:
            time.sleep(0.01)
        assert note.stat().st_mtime > 0


@pytest.mark.parametrize(
    "text", [b"", b"{}", b"[]", b"null", b"\xff\xfe", b'{"pid": "x", "host": 3}', b"[" * 100_000]
)
def test_a_note_that_names_nobody_is_replaced(lock, text):
    lock.parent.mkdir()
    lock.with_name(".lock-owner.json").write_bytes(text)
    with locked(lock, "the folder", print, limit=0.0):
        pass


def test_a_number_that_is_no_process_is_of_none(lock):
    lock.parent.mkdir()
    for pid in (10**30, os.getpid()):
        note_of(lock, pid)
        with locked(lock, "the folder", print, limit=0.0):
            pass


def test_what_is_in_the_way_of_lock_or_note_is_told(lock):
    lock.mkdir(parents=True)
    with (
        pytest.raises(UnwritableError, match=r"\.lock cannot be written: Is a directory; somethi"),
        locked(lock, "the folder", print),
    ):
        pass
    lock.rmdir()
    lock.with_name(".lock-owner.json").mkdir()
    with (
        pytest.raises(UnwritableError, match=r"owner.json cannot be written: Is a directory; som"),
        locked(lock, "the folder", print),
    ):
        pass
    lock.parent.joinpath("file").touch()
    with (
        pytest.raises(UnwritableError, match=r"file cannot be written: .*; something else is in"),
        locked(lock.parent / "file" / ".lock", "the folder", print),
    ):
        pass


def test_a_read_only_disk_is_told(lock, monkeypatch):
    from filelock import FileLock

    def refuse(*words, **named):
        raise OSError(errno.EROFS, "Read-only file system", str(lock))

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with (
        pytest.raises(UnwritableError, match=r"cannot be written: Read-only .* with --work$"),
        locked(lock, "the folder", print, remedy="with --work"),
    ):
        pass


@pytest.mark.parametrize("number", LOCKLESS, ids=errno.errorcode.get)
def test_a_run_goes_on_a_disk_without_locks(cli, nsd, number, monkeypatch):
    words = ("run", "toy", "--nsd", nsd, "--images", 2, "--no-ceiling", "--work", "w")
    cli(*words)
    refuse_locks(monkeypatch, number)
    assert "0 steps computed" in cli(*words).stderr
