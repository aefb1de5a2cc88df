"""Folders of the Hugging Face hub's cache that users give in place of a folder with weights."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from brainkit.checkpoints.record import listed
from brainkit.errors import CheckpointError
from brainkit.fetch.hub import cached_repository, names
from brainkit.fetch.plan import Item
from brainkit.weights import Origin, Release, RemoteFile
from brainkit.weights.open import READABLE

BLOB = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
"""Names that the cache gives contents: git's hash of small files, the SHA-256 of large ones."""


@contextmanager
def given(path: Path, items: Sequence[Item]) -> Iterator[tuple[Path, ...]]:
    """Yield the places in which weights are searched for, from the one that the user gave.

    Of a repository in the hub's cache, or of its `snapshots` or `blobs`, that is the folder of one
    commit. Contents without snapshots are called as they are published while the block runs.

    Raises:
        CheckpointError: contents lie there of which nothing says what they are.
    """
    if places := _snapshots(path, items):
        yield places
    elif blobs := _blobs(path):
        releases = [item.release for item in items if item.release]
        with TemporaryDirectory(prefix="brainkit-blobs-") as aside:
            _link(path, blobs, releases, Path(aside))
            try:
                yield (Path(aside),)
            except CheckpointError as error:
                raise CheckpointError(str(error).replace(aside, str(path))) from error
    else:
        yield (path,)


def _snapshots(path: Path, items: Sequence[Item]) -> tuple[Path, ...]:
    """Return the folder of one commit of each repository that a path of the cache stands for."""
    origins = [origin for item in items if item.release for origin in _all_origins(item.release)]
    revisions = {origin.revision for origin in origins if origin.revision}
    if path.name in ("snapshots", "blobs"):
        repositories = [path.absolute().parent]
    else:
        ids = [each for o in origins if o.repository for each in names(o.repository)]
        roots = (path, path / "hub")
        below = [root / cached_repository(each) for root in roots for each in dict.fromkeys(ids)]
        repositories = [path, *below]
    found = (_snapshot(repository, revisions) for repository in repositories)
    return tuple(each for each in found if each)


def _all_origins(release: Release) -> list[Origin]:
    return [*release.origins, *(o for each in release.companions for o in each.origins)]


def _snapshot(repository: Path, revisions: set[str]) -> Path | None:
    """Return a commit's folder: a published one, or main's, or the one with the most bytes.

    A folder without weights is taken only when no other is there, as programs that look at a
    configuration leave one.
    """
    folder, main = repository / "snapshots", repository / "refs" / "main"
    if not folder.is_dir():
        return None
    newest = main.read_text(encoding="utf-8").strip() if main.is_file() else ""

    def rank(commit: Path) -> tuple[bool, bool, bool, int]:
        files = [each for each in commit.rglob("*") if each.is_file()]
        weights = any(each.name.endswith(READABLE) for each in files)
        size = sum(each.stat().st_size for each in files)
        return weights, commit.name in revisions, commit.name == newest, size

    commits = [each for each in listed(folder) if each.is_dir()]
    return max(commits, key=rank, default=None)


def _blobs(path: Path) -> list[Path]:
    """Return the contents that a path stands for: of a folder `blobs`, or one of them alone."""
    files = listed(path) if path.is_dir() and path.name == "blobs" else [path]
    return [each for each in files if each.is_file() and BLOB.fullmatch(each.name)]


def _link(path: Path, blobs: Sequence[Path], releases: Sequence[Release], aside: Path) -> None:
    """Make links of contents under the names they are published by."""
    origins = [origin for release in releases for origin in _all_origins(release)]
    files = [file for origin in origins for file in origin.files if file.sha256]
    known = {blob: [file for file in files if _is(blob, file)] for blob in blobs}
    for blob, published in known.items():
        for file in published:
            _name(blob, aside / file.path)
    unknown = {blob: kind for blob in blobs if not known[blob] and (kind := _kind(blob))}
    if not any(known.values()) and len(unknown) > 1:
        raise CheckpointError(
            f"{path} has {len(unknown)} files with weights, and nothing says of which network; "
            "give one of them, or the folder snapshots that belongs to it"
        )
    if len(unknown) == 1 and not any(known.values()):
        ((blob, kind),) = unknown.items()
        _name_as_layouts(blob, kind, releases, aside)


def _is(blob: Path, file: RemoteFile) -> bool:
    return len(blob.name) == 64 and blob.name.startswith(file.sha256.lower())


def _name_as_layouts(blob: Path, kind: str, releases: Sequence[Release], aside: Path) -> None:
    """Call a content whose hash is not published what the only file of a layout may be called."""
    for release in releases:
        for layout in release.layouts:
            for name in layout.files[0] if len(layout.files) == 1 else ():
                if name.endswith(".safetensors") == (kind == "safetensors"):
                    _name(blob, aside / name)


def _name(blob: Path, link: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(blob.absolute())


def _kind(blob: Path) -> str:
    """Return what a content begins as: "torch", "safetensors", or nothing."""
    with open(blob, "rb") as file:
        begin = file.read(9)
    if begin.startswith((b"PK\x03\x04", b"\x80\x02")):
        return "torch"
    return "safetensors" if begin[8:] == b"{" and not any(begin[4:8]) else ""
