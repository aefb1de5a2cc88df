"""Take rights away from the process that reads released files, before it opens the first.

Two walls. The kernel's, where it lets this process build it: a network of its own, with nobody on
it. And Python's audit events, everywhere: what would connect, start a program, load a library or
change a file elsewhere raises an error before it happens. Files are read by readers that run
nothing of theirs; these walls are for the day one of them is wrong.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

FORBIDDEN = (
    *("socket.", "subprocess.", "pty.", "os.fork", "os.exec", "os.spawn", "os.posix_spawn"),
    *("os.system", "os.startfile", "os.kill", "signal.pthread_kill", "ctypes.", "pickle."),
    *("os.link", "os.symlink", "os.chmod", "os.chown", "os.lchown", "os.chflags", "os.setxattr"),
    *("os.removexattr", "sqlite3.", "_winapi.CreateProcess"),
)
"""Beginnings of the names of events that reading files never raises."""
PATHS: Mapping[str, tuple[tuple[int, int | None], ...]] = {
    "os.rename": ((0, 2), (1, 3)),
    "os.remove": ((0, 1),),
    "os.mkdir": ((0, 2),),
    "os.rmdir": ((0, 1),),
    "os.truncate": ((0, None),),
    "os.utime": ((0, 3),),
    "shutil.rmtree": ((0, None),),
    "shutil.move": ((0, None), (1, None)),
    "shutil.copyfile": ((1, None),),
    "shutil.copytree": ((1, None),),
    "shutil.unpack_archive": ((1, None),),
    "shutil.make_archive": ((0, None),),
}
"""Where, among an event's arguments, paths stand that are changed, and the open folders that they
may be relative to."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000


class ConfinedError(Exception):
    """Something was tried that a process which reads released files has no need of."""


def confine(below: Path) -> bool:
    """Refuse, for the rest of this process, connections, programs and writing elsewhere.

    Refused are also forks, signals, libraries by ctypes, links, Python's own unpickler, and paths
    to write that are not absolute. What the libraries need has to be loaded before.

    Args:
        below: the only folder in which files and folders may still be written, renamed and deleted.

    Returns:
        whether the kernel has taken the network away too.
    """
    alone = leave_network()
    place = os.path.realpath(below) + os.sep
    sys.addaudithook(_hook(place))
    return alone


def leave_network() -> bool:
    """Move this process into a network of its own, with no way out; say whether the kernel did.

    Linux lets anyone do so while the process has one thread, so it is best done before torch is
    loaded; afterwards it takes an administrator's rights, and threads that run already stay where
    they are. Other systems have nothing of the kind. Doing it twice does no harm.
    """
    if sys.platform != "linux":
        return False
    unshare = _unshare()
    return unshare(CLONE_NEWNET) or unshare(CLONE_NEWUSER | CLONE_NEWNET)


def _unshare() -> Callable[[int], bool]:
    """Give the system call: Python's own from 3.12 on, the C library's before."""
    own = getattr(os, "unshare", None)

    def by_python(flags: int) -> bool:
        try:
            own(flags)  # type: ignore[misc]
        except OSError:
            return False
        return True

    return by_python if own else _by_library


def _by_library(flags: int) -> bool:
    try:
        import ctypes

        return bool(ctypes.CDLL(None).unshare(flags) == 0)
    except (ImportError, OSError, AttributeError):
        return False


def _hook(place: str) -> Callable[[str, tuple[Any, ...]], None]:
    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if flags & WRITING:
                _check(event, path, -1, place)
        elif event in PATHS:
            for path, folder in PATHS[event]:
                _check(event, arguments[path], -1 if folder is None else arguments[folder], place)
        elif event.startswith(FORBIDDEN):
            raise ConfinedError(f"{event} was tried")

    return refuse


def _check(event: str, path: Any, folder: int, place: str) -> None:
    """Refuse a path that is, or leads through links to, another place than the one."""
    if isinstance(path, int):
        return  # a file that is open already
    if not isinstance(path, str | bytes | os.PathLike):
        raise ConfinedError(f"{event} of a {type(path).__name__} was tried")
    name = os.fsdecode(path)
    if folder != -1:
        name = os.path.join(os.path.realpath(f"/proc/self/fd/{folder}"), name)
    itself = os.path.join(os.path.realpath(os.path.dirname(name)), os.path.basename(name))
    for where in (itself, os.path.realpath(name)):
        if not os.path.isabs(name) or not where.startswith(place):
            raise ConfinedError(f"{event}, which changes {where}, was tried")
