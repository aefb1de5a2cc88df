"""Tell what the system refused, so that a sound file is not called damaged."""

from __future__ import annotations

import errno
import os
import re

AGAIN = "then run the same command again"
PERMISSION = "check its permissions and those of the folders above it"
CONNECTION = f"the network disk does not answer: mount it again, {AGAIN}"
SOUND = f"the file may be whole: look after its disk, {AGAIN}"
OPEN_FILES = f"close other programs or raise the limit (ulimit -n), {AGAIN}"
FULL = f"free some space on that disk, {AGAIN}"
LOCKS = (
    "another program has it open or the file system offers no locks; close that program, or set "
    "HDF5_USE_FILE_LOCKING=FALSE"
)
REMEDIES = {
    **dict.fromkeys((errno.EACCES, errno.EPERM), PERMISSION),
    **dict.fromkeys((errno.EAGAIN, errno.ENOLCK, errno.EDEADLK), LOCKS),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), OPEN_FILES),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), FULL),
    **dict.fromkeys(
        (
            *(errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN),
            *(errno.EHOSTUNREACH, errno.ENXIO, errno.ENODEV),
        ),
        CONNECTION,
    ),
    errno.EIO: f"the disk or its connection failed; {SOUND}",
    errno.ENOENT: f"it vanished while it was read: put it back, {AGAIN}",
    errno.ENOMEM: f"memory ran out: close other programs or ask for more, {AGAIN}",
    errno.ELOOP: "a link leads back to itself: restore the file it should lead to",
    errno.ENAMETOOLONG: "move the download to a shorter path",
}
# What a reader gets that seeks or maps by numbers from a damaged file.
DAMAGE = {0, errno.EINVAL, errno.EOVERFLOW, errno.ESPIPE}


def refusal(error: BaseException) -> str | None:
    """Return a clause that tells what the system refused and the remedy; None if it did not.

    >>> import errno
    >>> refusal(OSError(errno.EACCES, "Permission denied"))[:33]
    'cannot be read: Permission denied'
    >>> refusal(OSError("truncated file: eof = 96"))
    """
    if isinstance(error, MemoryError):
        return "cannot be read: memory ran out; close other programs or ask for more memory"
    text = str(error)
    if "already open for" in text:
        return f"is marked as being written; close that program, or run `h5clear -s` on it, {AGAIN}"
    number = _number(error, text)
    if number is None or number in DAMAGE:
        return None
    said = os.strerror(number)
    if "unable to lock file" in text or number in (errno.EAGAIN, errno.ENOLCK):
        return f"may be whole, but its lock was refused ({said}): {LOCKS}"
    return f"cannot be read: {said}; {REMEDIES.get(number, SOUND)}"


def _number(error: BaseException, text: str) -> int | None:
    """Return the system's number of an error; HDF5 often writes it into its text alone."""
    if not isinstance(error, OSError | RuntimeError):
        return None
    number = getattr(error, "errno", None)
    if number is not None:
        return int(number)
    written = re.search(r"\berrno = (\d+)", text)
    return int(written[1]) if written else None
