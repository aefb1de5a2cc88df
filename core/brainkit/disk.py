"""Write files whole or not at all; what the system refuses is one sentence with path and remedy."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from brainkit.errors import BrainkitError, DataError

UNNAMED = "a file or standard output"
AGAIN = "then run the same command again"
SHORTER = "name a shorter path"
RIGHTS = "check the rights to it and to the folders above it, or name another folder"
ROOM = f"make room on that disk, {AGAIN}, or name another folder"
IN_THE_WAY = "something else is in the way: move it, or name another folder"
DISK = f"look after that disk or its connection, {AGAIN}"
FILES = f"close other programs or raise the limit (ulimit -n), {AGAIN}"
REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), ROOM),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), RIGHTS),
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ELOOP), IN_THE_WAY),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), FILES),
    errno.ENAMETOOLONG: SHORTER,
    errno.ENOENT: f"it vanished, or a link leads nowhere: put it back, {AGAIN}",
}


class UnwritableError(BrainkitError):
    """A file or folder cannot be written."""


def unwritable(error: Exception, path: Path, remedy: str = "") -> UnwritableError | None:
    """Return the error for a file that cannot be written; None if the system did not refuse.

    Args:
        error: as it came, an `OSError` or a library's that holds the system's number.
        path: what was being written.
        remedy: besides the usual one, e.g. "or give --work".
    """
    number = _number(error)
    if number is None:
        return None
    advice = " ".join(filter(None, (REMEDIES.get(number, DISK), remedy)))
    return UnwritableError(f"{path} cannot be written: {os.strerror(number)}; {advice}")


@contextmanager
def writing(path: Path, remedy: str = "") -> Iterator[None]:
    """Tell in one sentence when the system refuses what the block writes.

    Args:
        path: of the file or folder.
        remedy: besides the usual one.

    Raises:
        UnwritableError: the disk is full or may not be written, or something is in the way.
    """
    try:
        yield
    except Exception as error:
        told = unwritable(error, path, remedy)
        if told is None:
            raise
        raise told from error


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Lend a temporary path beside `path` that replaces it if the block ends well.

    It is named for the process, and what it holds is on disk before it gets its name.

    Raises:
        DataError: there is a folder of that name.
        UnwritableError: the system refuses, e.g. because the disk is full.
    """
    aside = path.with_name(f"{path.name}.{os.getpid()}.part")
    with writing(path):
        require_no_folder(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield aside
            sync(aside)
            os.replace(aside, path)
        except BaseException:
            with suppress(OSError):  # the error that led here says more
                aside.unlink()
            raise


def require_no_folder(path: Path) -> None:
    """Check that a file can be written, before work on it begins.

    Raises:
        DataError: there is a folder of that name.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder, but a file is to be written there; move it away")


def sync(path: Path) -> None:
    """Wait until what was written to a file is on disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def require_utf8(path: Path, address: str) -> None:
    """Check that a path can be written down, as reports and run files do.

    Raises:
        UnwritableError: its name is no UTF-8.
    """
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError as error:
        name = os.fsencode(path).decode(errors="backslashreplace")
        raise UnwritableError(
            f"{address} is {name}, whose name is not UTF-8; name another folder"
        ) from error


def refusal(error: OSError) -> str:
    """Return one sentence for an error of the system that nobody expected where it came."""
    text = " ".join(str(error).split()) or type(error).__name__
    if error.errno is None:  # a library's own words
        return f"{text}; --debug shows where"
    path = error.filename if error.filename2 is None else error.filename2
    where = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else UNNAMED
    reason, advice = os.strerror(error.errno), REMEDIES.get(error.errno, DISK)
    return f"{where} cannot be read or written: {reason}; {advice}"


def _number(error: Exception) -> int | None:
    """Return the system's number of an error; safetensors and HDF5 write it into texts alone."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    written = re.search(r"\b(?:Os \{ code:|os error|errno =) (\d+)", str(error))
    return int(written[1]) if written else None
