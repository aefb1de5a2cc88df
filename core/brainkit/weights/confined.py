"""Take rights away from the process that reads released files, before it opens the first."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

FORBIDDEN = ("socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class ConfinedError(Exception):
    """Something was tried that a process which reads released files has no need of."""


def confine(below: Path) -> None:
    """Refuse, for the rest of this process, connections, programs and writing elsewhere.

    Args:
        below: the only folder in which files may still be written.
    """
    place = str(below.resolve()) + os.sep

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith(FORBIDDEN):
            raise ConfinedError(f"{event} was tried")
        if event == "open":
            path, _, flags = arguments
            if flags & WRITING and isinstance(path, str | bytes | os.PathLike):
                where = os.path.realpath(os.fsdecode(path))
                if not where.startswith(place):
                    raise ConfinedError(f"writing {where} was tried")

    sys.addaudithook(refuse)
