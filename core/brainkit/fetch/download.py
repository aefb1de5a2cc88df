"""Download a file so that a broken transfer goes on where it stopped and nothing wrong is kept."""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from hashlib import sha1, sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from brainkit.console import to_stderr
from brainkit.disk import UnwritableError
from brainkit.errors import CheckpointError
from brainkit.fetch.client import BrokenError, StatusError, UnreachableError, opened
from brainkit.locks import BusyError, locked

PAUSES = (1.0, 2.0, 5.0, 10.0)
"""Seconds before each new attempt; an attempt that brings a byte starts the count again."""
BUSY = (408, 425, 429, 500, 502, 503, 504)
PART = ".part"
ETAG = ".etag"
Progress = Callable[[int, int], Any]


@dataclass(frozen=True)
class Remote:
    """A file as it lies on a server.

    Attributes:
        url: of its content.
        size: bytes; 0 when unknown.
        sha256: hexadecimal, only its first digits, or empty.
        git: hexadecimal SHA-1 as git computes it for a file's content, or empty.
        headers: to be sent along, to no other host than the URL's.
    """

    url: str
    size: int = 0
    sha256: str = ""
    git: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def download(
    remote: Remote,
    path: Path,
    progress: Progress = lambda done, total: None,
    pauses: tuple[float, ...] = PAUSES,
    lock: Path | None = None,
) -> Path:
    """Download a file that is not there yet; what an earlier call left in `path.part` is used.

    Args:
        remote: the file.
        path: where it lies once it is whole and its hash is right; its folder is made.
        progress: told the bytes that are there and all of them, 0 when unknown.
        pauses: seconds before each new attempt after a broken transfer.
        lock: file by which processes that download the same file wait for each other.

    Raises:
        CheckpointError: the server refuses or is not to be reached, the disk is full, or what came
            is another file; then nothing of it is kept.
    """
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if lock is not None:
                stack.enter_context(locked(lock, str(path), to_stderr))
        except OSError as error:
            raise _unwritable(path, error) from error
        except (BusyError, UnwritableError) as error:
            raise CheckpointError(str(error)) from error
        if not path.is_file():
            part = path.with_name(path.name + PART)
            _whole(remote, part, progress, pauses)
            _check(remote, part)
            part.replace(path)
            _tag(part).unlink(missing_ok=True)
    return path


def begun(path: Path) -> int:
    """Return the bytes that an earlier download of a file left."""
    part = path.with_name(path.name + PART)
    return part.stat().st_size if part.is_file() else 0


def remote_size(url: str) -> int:
    """Ask a server for a file's bytes; 0 when it does not say.

    Raises:
        CheckpointError: the server refuses or is not to be reached.
    """
    try:
        with opened("HEAD", url) as response:
            return int(response.headers.get("Content-Length") or 0)
    except StatusError as error:
        if error.code in (403, 405, 501):  # of servers that answer GET only
            return 0
        raise refused(url, error.code) from error
    except (BrokenError, ValueError) as error:
        raise unreachable(url, error) from error


def refused(url: str, code: int) -> CheckpointError:
    """Return the error for a server's refusal."""
    host = urlsplit(url).netloc
    why = "is being refused, so try again later"
    if code in (404, 410):
        why = "is not there any more"
    elif code in (401, 403):
        why = "asks for rights you lack"
    return CheckpointError(
        f"{host} answered {code}: {url} {why}, or give the file with --from PATH"
    )


def unreachable(url: str, error: BaseException) -> UnreachableError:
    """Return the error for a server that is not to be reached."""
    return UnreachableError(
        f"{urlsplit(url).netloc} cannot be reached ({error}); check the connection and "
        "HTTPS_PROXY and run the same command again, which goes on where it stopped, or give the "
        "files with --from PATH"
    )


def _whole(remote: Remote, part: Path, progress: Progress, pauses: tuple[float, ...]) -> None:
    """Transfer until all bytes are there, with new attempts after broken ones."""
    failures = 0
    while True:
        before = part.stat().st_size if part.is_file() else 0
        try:
            if _transfer(remote, part, progress):
                return
            broken: Exception = BrokenError("the connection was closed too early")
        except StatusError as error:
            if error.code not in BUSY:
                raise refused(remote.url, error.code) from error
            broken = error
        except BrokenError as error:
            broken = error
        except OSError as error:
            raise _unwritable(part, error) from error
        came = part.is_file() and part.stat().st_size > before
        failures = 0 if came else failures + 1
        if failures > len(pauses):
            raise unreachable(remote.url, broken) from broken
        time.sleep(pauses[max(failures - 1, 0)] if pauses else 0)


def _transfer(remote: Remote, part: Path, progress: Progress) -> bool:
    """Make one request and write what comes; say whether all is there now."""
    start = _start(remote, part)
    if remote.size and start == remote.size:
        return True
    try:
        with opened("GET", remote.url, _headers(remote, part, start)) as response:
            return _received(response, remote, part, start, progress)
    except StatusError as error:
        if error.code != 416:
            raise
        part.unlink()  # it does not fit the file there is now
        return False


def _received(response: Any, remote: Remote, part: Path, start: int, progress: Progress) -> bool:
    """Write a response's body behind what there is; say whether all is there now."""
    if response.status_code != 206:
        start = 0
    total = _total(response, start)
    if remote.size and total and total != remote.size:
        raise CheckpointError(
            f"{remote.url} has {total} bytes, expected {remote.size}; another file has taken "
            "its place, so give the one that was published with --from PATH"
        )
    _remember(response, part)
    done = _write(response, part, start, lambda so_far: progress(so_far, total or remote.size))
    return bool(done == (total or remote.size or done))


def _start(remote: Remote, part: Path) -> int:
    """Return the bytes that need not be transferred again."""
    if not part.is_file():
        return 0
    size = part.stat().st_size
    known = remote.sha256 or remote.git or _tag(part).is_file()
    if not known or (remote.size and size > remote.size):
        part.unlink()
        return 0
    return size


def _headers(remote: Remote, part: Path, start: int) -> dict[str, str]:
    headers, tag = dict(remote.headers), _tag(part)
    if start:
        headers["Range"] = f"bytes={start}-"
        if tag.is_file():
            headers["If-Range"] = tag.read_text(encoding="utf-8")
    return headers


def _total(response: Any, start: int) -> int:
    if response.status_code == 206:
        told = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        if not told or int(told[1]) != start:
            raise BrokenError("it sent another part of the file than was asked for")
        return int(told[2])
    return int(response.headers.get("Content-Length") or 0)


def _remember(response: Any, part: Path) -> None:
    """Keep what identifies the content, for the case that the transfer breaks."""
    tag = response.headers.get("ETag", "")
    if tag and not tag.startswith("W/"):
        _tag(part).write_text(tag, encoding="utf-8")
    else:
        _tag(part).unlink(missing_ok=True)


def _tag(part: Path) -> Path:
    return part.with_name(part.name + ETAG)


def _write(response: Any, part: Path, done: int, progress: Callable[[int], Any]) -> int:
    with open(part, "ab" if done else "wb") as file:
        progress(done)
        for block in response.iter_raw():
            file.write(block)
            done += len(block)
            progress(done)
    return done


def _check(remote: Remote, part: Path) -> None:
    """Compare size and hash with what is published; a wrong file is deleted."""
    size = part.stat().st_size
    wrong = remote.size and size != remote.size and f"{size} bytes, expected {remote.size}"
    if not wrong and remote.sha256:
        found = _digest(part, sha256())
        if not found.startswith(remote.sha256.lower()):
            wrong = f"the SHA-256 {found}, expected {remote.sha256}"
    if not wrong and remote.git:
        found = _digest(part, sha1(b"blob %d\0" % size))
        if found != remote.git:
            wrong = f"the git hash {found}, expected {remote.git}"
    if wrong:
        part.unlink()
        _tag(part).unlink(missing_ok=True)
        raise CheckpointError(
            f"{remote.url} brought a file with {wrong}, so nothing was kept; run the same command "
            "again, and if that happens twice give the published file with --from PATH"
        )


def _digest(path: Path, digest: Any) -> str:
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return str(digest.hexdigest())


def _unwritable(part: Path, error: OSError) -> CheckpointError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    what = "make room" if full else "check the folder's rights"
    return CheckpointError(
        f"{part} cannot be written ({error.strerror or error}); {what} and run the same command "
        "again, which goes on where it stopped"
    )
