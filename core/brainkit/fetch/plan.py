"""What a fetch will do: what is there, what would come, how large it is, under which terms."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from brainkit.console import human_size
from brainkit.errors import CheckpointError, UsageError
from brainkit.fetch import hub
from brainkit.fetch.client import UnreachableError
from brainkit.fetch.download import Remote, begun, download, remote_size
from brainkit.fetch.inventory import DOWNLOADS, State, state
from brainkit.fetch.known import Known
from brainkit.weights import Origin, Release, RemoteFile

SPARE = 1 << 26
"""Bytes of disk that have to stay free."""


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
        present = replace(origin, repository=hub.moved(origin.repository))
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
    """Return a folder's name that differs between addresses and can be read."""
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


@dataclass(frozen=True)
class Item:
    """A checkpoint that is wanted.

    Attributes:
        known: it, and who needs it.
        state: what the store has of it.
        release: where it is published; None when nobody says.
        origin: the one of its origins that is taken.
        found: that origin's files; None when they are not needed or not to be had.
        beside: files beside the weights that have origins of their own, by their path in the store.
        problem: why it cannot be fetched, or nothing.
    """

    known: Known
    state: State
    release: Release | None = None
    origin: Origin | None = None
    found: Found | None = None
    beside: Mapping[str, Found] = field(default_factory=dict)
    problem: str = ""

    @property
    def all_found(self) -> list[Found]:
        """Everything that has to be here before it is converted."""
        return [*([self.found] if self.found else []), *self.beside.values()]


@dataclass(frozen=True)
class FetchPlan:
    """What a fetch will do.

    Attributes:
        items: all checkpoints that are wanted.
        store: folder of the store.
    """

    items: tuple[Item, ...]
    store: Path

    @property
    def weights(self) -> list[Found]:
        """The files that become checkpoints, each origin's once."""
        return list({item.found.origin: item.found for item in self.items if item.found}.values())

    @property
    def found(self) -> list[Found]:
        """All files, each origin's once."""
        return list({each.origin: each for item in self.items for each in item.all_found}.values())

    @property
    def problems(self) -> list[str]:
        """What cannot be fetched and why, each reason once."""
        found = grouped((item.problem, item.known.name) for item in self.items if item.problem)
        return [f"{', '.join(names)}: {problem}" for problem, names in found.items()]

    @property
    def lacks(self) -> bool:
        """Whether something that runs need cannot be fetched."""
        return any(item.problem and not item.known.scores for item in self.items)


def plan(
    wanted: Sequence[Known], store: Path, *, connect: bool = True, origin: int = 1
) -> FetchPlan:
    """Find out what there is of checkpoints and what would have to come; nothing is moved.

    Args:
        wanted: the checkpoints.
        store: folder of the checkpoint store.
        connect: whether servers may be asked.
        origin: which of a release's origins is taken, from 1; the first where there are fewer.

    Raises:
        UsageError: no release has so many origins.
    """
    _check_origin(wanted, origin)
    search = Search(store / DOWNLOADS, connect)
    return FetchPlan(tuple(_searched(item, search, origin) for item in there(wanted, store)), store)


def there(wanted: Sequence[Known], store: Path) -> list[Item]:
    """Find out what a store has of checkpoints."""
    return [
        Item(each, state(each.checkpoint, store, beside=each.beside), each.release)
        for each in wanted
    ]


class Search:
    """Ask for each origin once, and no host again that cannot be reached."""

    def __init__(self, downloads: Path, connect: bool) -> None:
        self.downloads, self.connect = downloads, connect
        self.found: dict[Origin, Found] = {}
        self.dead: dict[str, UnreachableError] = {}

    def __call__(self, origin: Origin) -> Found:
        host = "the hub" if origin.repository else urlsplit(origin.url).netloc
        if origin not in self.found:
            try:
                connect = self.connect and host not in self.dead
                self.found[origin] = find(origin, self.downloads, connect=connect)
            except UnreachableError as error:
                self.dead[host] = error
                raise
            except CheckpointError as error:
                raise self.dead.get(host, error) from error
        return self.found[origin]


def _searched(item: Item, search: Search, origin: int) -> Item:
    known, release = item.known, item.release
    if item.state.there:
        return item
    if release is None or not release.origins:
        source = known.checkpoint.source or "nobody says where it is published"
        problem = f"place {known.name}/model.safetensors with config.json into the store by hand"
        return replace(item, problem=f"{problem} ({source})")
    chosen = release.origins[origin - 1 if origin <= len(release.origins) else 0]
    item = replace(item, origin=chosen)
    try:
        found = search(chosen)
        beside = {each.path: search(each.origins[0]) for each in release.companions if each.origins}
    except CheckpointError as error:
        return replace(item, problem=str(error))
    return replace(item, found=found, beside=beside)


def _check_origin(wanted: Sequence[Known], origin: int) -> None:
    all_origins = {each.name: each.release.origins for each in wanted if each.release}
    if origin != 1 and not any(1 <= origin <= len(each) for each in all_origins.values()):
        names = "; ".join(
            f"{name} has {', '.join(numbered(origins))}" for name, origins in all_origins.items()
        )
        raise UsageError(f"--origin is {origin}, but {names or 'nothing is published'}")


def numbered(origins: Sequence[Origin]) -> list[str]:
    """Return a line for each origin, as `--origin` counts them."""
    return [
        f"{number}: {', '.join(file.path for file in origin.files) or 'a file'} of "
        f"{origin.repository or origin.url or origin.page}"
        for number, origin in enumerate(origins, start=1)
    ]


def grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return for each problem the names of those that have it.

    >>> grouped([("late", "a"), ("cold", "b"), ("late", "c")])
    {'late': ['a', 'c'], 'cold': ['b']}
    """
    found: dict[str, list[str]] = {}
    for problem, name in pairs:
        found.setdefault(problem, []).append(name)
    return found


def disks(planned: FetchPlan) -> list[tuple[Path, int, int]]:
    """Return (folder, bytes needed, bytes free) of each file system that is written.

    What is downloaded stays until it is converted, and a checkpoint is about as large as its files.
    """
    needs = {planned.store: sum(sum(found.sizes) for found in planned.weights)}
    for found in planned.found:
        folder = hub.cache_folder() if found.hub else planned.store
        needs[folder] = needs.get(folder, 0) + sum(found.missing)
    by_disk: dict[int, tuple[Path, int, int]] = {}
    for folder, needed in needs.items():
        place = next(each for each in (folder, *folder.absolute().parents) if each.exists())
        disk = place.stat().st_dev
        first, before, free = by_disk.get(disk, (folder, 0, shutil.disk_usage(place).free))
        by_disk[disk] = (first, before + needed, free)
    return list(by_disk.values())


def check_disks(planned: FetchPlan) -> None:
    """Refuse before a byte is moved what the disks have no room for.

    Raises:
        CheckpointError: with the numbers.
    """
    for folder, needed, free in disks(planned):
        if needed and needed + SPARE > free:
            raise CheckpointError(
                f"{folder} has {human_size(free)} free, but {human_size(needed)} are needed for "
                "what is downloaded and what is made of it; make room, give another folder with "
                "--checkpoints, or set HF_HOME for the downloads"
            )
