"""An origin's files, wherever they are published: found first, brought when all is agreed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from brainkit.errors import CheckpointError
from brainkit.fetch import hub
from brainkit.fetch.download import Remote, begun, download, remote_size
from brainkit.fetch.moved import moved
from brainkit.weights import Origin, RemoteFile


@dataclass(frozen=True)
class Found:
    """Files of an origin.

    Attributes:
        origin: with the id its repository has now.
        sizes: bytes of each file, 0 when unknown.
        missing: bytes of each that have to come.
        commit: of the repository; empty elsewhere.
        hub: the files on the hub.
        direct: the files with an address of their own, each with its place.
    """

    origin: Origin
    sizes: tuple[int, ...]
    missing: tuple[int, ...]
    commit: str = ""
    hub: tuple[hub.HubFile, ...] = ()
    direct: tuple[tuple[Remote, Path], ...] = ()

    @property
    def whence(self) -> str:
        """Where the files are, in short."""
        if self.origin.repository:
            return f"{self.origin.repository}@{self.commit[:12]}"
        return self.origin.url

    @property
    def complete(self) -> bool:
        """Whether all files are on this machine."""
        return not any(self.missing) and all(self.sizes)


def find(origin: Origin, downloads: Path, *, connect: bool) -> Found:
    """Find out what there is of an origin's files here, and what would have to come.

    Args:
        origin: any.
        downloads: folder for files that are not on the hub.
        connect: whether servers may be asked.

    Raises:
        CheckpointError: a file is not to be had; says why and what to do.
    """
    if origin.repository:
        files = hub.find(origin, connect=connect)
        present = replace(origin, repository=moved(origin.repository))
        sizes = tuple(file.size for file in files)
        missing = tuple(file.missing for file in files)
        return Found(present, sizes, missing, files[0].commit if files else "", hub=tuple(files))
    if not origin.url:
        raise _by_hand(origin)
    return _direct(origin, downloads / _folder_of(origin.url), connect=connect)


def bring(found: Found, progress: Callable[[str, int, int], Any]) -> Path:
    """Bring all files here and give the folder that they lie in by their paths.

    Args:
        found: the files.
        progress: told a file's path, its bytes that are here and all of its bytes.

    Raises:
        CheckpointError: a server refuses, the connection breaks for good, the disk is full, or a
            file has another hash than is published.
    """
    folder = Path()
    for file in found.hub:
        folder = hub.snapshot(hub.fetch(file, partial(progress, file.path)), file)
    if found.direct:
        for (remote, path), named in zip(found.direct, found.origin.files, strict=True):
            download(remote, path, partial(progress, named.path))
            folder = path.parents[len(Path(named.path).parts) - 1]
    return folder


def _by_hand(origin: Origin) -> CheckpointError:
    wanted = ", ".join(file.path for file in origin.files) or "the file"
    return CheckpointError(
        f"{wanted} cannot be fetched by a program; open {origin.page or 'the page of its paper'}, "
        "save it by hand, and give it with --from PATH"
    )


def _folder_of(url: str) -> str:
    """Give a folder's name that differs between addresses and can be read."""
    return f"{urlsplit(url).netloc}-{sha256(url.encode()).hexdigest()[:8]}".replace(":", "-")


def _direct(origin: Origin, folder: Path, *, connect: bool) -> Found:
    asked = [_one(origin, file, folder / file.path, connect=connect) for file in origin.files]
    sizes = tuple(remote.size for remote, _ in asked)
    missing = tuple(
        0 if path.is_file() else max(remote.size - begun(path), 0) for remote, path in asked
    )
    return Found(origin, sizes, missing, direct=tuple(asked))


def _one(origin: Origin, file: RemoteFile, path: Path, *, connect: bool) -> tuple[Remote, Path]:
    url = f"{origin.url.rstrip('/')}/{quote(file.path)}"
    if path.is_file():
        return Remote(url, path.stat().st_size, file.sha256), path
    if not connect:
        raise CheckpointError(
            f"{path} is not there, and no connection may be made; download {url} on another "
            "machine and give it with --from PATH, or copy that machine's checkpoint store"
        )
    return Remote(url, file.size or remote_size(url), file.sha256), path
