"""Processes at work on a subject: each says so, and who removes files of runs asks first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from brainkit.console import Say
from brainkit.locks import BusyError, held_at_once, locked, who_holds
from brainkit.run.folder import LOCKS, REMEDY

GATE = "removing.lock"
"""The lock of who removes files."""
WORKING = "working-{}.lock"
"""The lock that a process holds as long as it works."""


@contextmanager
def present(subject: Path, say: Say) -> Iterator[None]:
    """Say that this process works on a subject while the block runs: no file of it is removed.

    Args:
        subject: its folder.
        say: shows one line, if files are being removed and one has to wait.

    Raises:
        BrainkitError: the folder cannot be written, or files are removed for longer than one waits.
    """
    gate, mine = subject / LOCKS / GATE, subject / LOCKS / WORKING.format(uuid4().hex)
    with locked(mine, str(subject), say, remedy=REMEDY):
        # Said before it is looked: who removes files looks after the gate is shut.
        with held_at_once([gate], REMEDY) as taken:
            pass
        if taken:
            with locked(gate, f"{subject}, of which files are removed,", say, remedy=REMEDY):
                pass
        yield


@contextmanager
def removing(subject: Path, say: Say) -> Iterator[None]:
    """Keep processes from a subject while the block removes files of it.

    Raises:
        BusyError: a process is at work there.
        BrainkitError: the folder cannot be written.
    """
    locks = subject / LOCKS
    with (
        locked(locks / GATE, f"{subject}, of which files are removed,", say, remedy=REMEDY),
        held_at_once(locks.glob(WORKING.format("*")), REMEDY) as taken,
    ):
        if taken:
            raise BusyError(
                f"{subject} is in use by {who_holds(taken)}, so nothing of it is removed; try "
                "again when that has finished"
            )
        yield
