"""Bring released files into the store: all is checked first, and nothing half-written stays."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from brainkit.checkpoints import WEIGHTS
from brainkit.checkpoints.record import FileFacts, Record, differences, facts_below
from brainkit.console import human_size, to_stderr
from brainkit.disk import UnwritableError
from brainkit.errors import CheckpointError
from brainkit.locks import BusyError, locked
from brainkit.weights import Config, Origin, Release, release
from brainkit.weights.conversion import Conversion, conversions
from brainkit.weights.writing import write

PART = ".part"
OLD = ".old"
LOCK = ".lock"
"""Of the store, while files are written into it."""
SPARE = 1 << 26
"""Bytes of disk that have to stay free."""

Progress = Callable[[str, int, int], Any]
"""Told a checkpoint's name, the bytes of it that are written, and all of its bytes."""


@dataclass(frozen=True)
class ReleasedFiles:
    """Released files that are there.

    Attributes:
        places: files or folders, searched in order.
        beside: folders with the files beside the weights, by the path these have in the store.
        origin: where they were published; None when the user gave them.
        revision: the commit they were taken from.
    """

    places: tuple[Path, ...]
    beside: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    origin: Origin | None = None
    revision: str = ""

    @property
    def whence(self) -> str:
        """The repository, the URL, or "by hand"."""
        return self.origin.repository or self.origin.url if self.origin else "by hand"


@dataclass(frozen=True)
class Converted:
    """What became of one checkpoint.

    Attributes:
        checkpoint: its name.
        folder: of it in the store.
        size: bytes of its tensors.
        tensors: how many.
        layout: of the released files.
        kept: whether the same weights were there already.
        notes: sentences for the user.
        lacks: files beside the weights that are still to be had.
    """

    checkpoint: str
    folder: Path
    size: int
    tensors: int
    layout: str
    kept: bool
    notes: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()


def convert(
    references: Sequence[str],
    source: ReleasedFiles,
    store: Path,
    *,
    config: Config | None = None,
    progress: Progress = lambda checkpoint, done, size: None,
) -> list[Converted]:
    """Write what released files hold of some networks into the store.

    All is checked before anything is written. A checkpoint that is there from the same files is
    kept; one from other files is never replaced.

    Args:
        references: "module:NAME" of each network's `Release`.
        source: the files.
        store: folder of the checkpoint store, made when missing.
        config: of networks of other sizes than the published ones.
        progress: told a checkpoint's name, the bytes of it that are written, and all of its bytes.

    Raises:
        CheckpointError: a file is missing, damaged or refused, does not fit (differences are
            counted and the first are named), the store holds other weights, or the disk is full.
    """
    releases = [release(reference) for reference in references]
    with _writable(store), _locked(store), ExitStack() as stack:
        with _readable(source):
            found = _checked(releases, source, config, store, stack)
            facts = {path: FileFacts.of(path) for each in found for path in each.files}
        records = {each.checkpoint: _record(each, releases, source, facts) for each in found}
        lacking = [each for each in found if not _is_there(store, each, records)]
        _check_disk(store, lacking)
        _write(store, lacking, records, progress)
    written = {each.checkpoint for each in lacking}
    return [_converted(store, each, kept=each.checkpoint not in written) for each in found]


@contextmanager
def _readable(source: ReleasedFiles) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = error.filename or " and ".join(map(str, source.places))
        raise CheckpointError(
            f"{where} cannot be read ({error.strerror or error}); check its rights"
        ) from error
    except MemoryError as error:
        raise CheckpointError("reading it took more memory than there is") from error


@contextmanager
def _writable(store: Path) -> Iterator[None]:
    try:
        store.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise CheckpointError(
            f"{store} cannot be written ({error.strerror or error}); make room, or give another "
            "folder with --checkpoints"
        ) from error


def _checked(
    releases: Sequence[Release],
    source: ReleasedFiles,
    config: Config | None,
    store: Path,
    stack: ExitStack,
) -> list[Conversion]:
    """Return what there is of some networks, with what their releases remark on it."""
    remarks = {each.name: each.remarks for each in releases if each.remarks}
    return [
        replace(each, notes=(*each.notes, *remark(each, store, stack)))
        if (remark := remarks.get(each.checkpoint))
        else each
        for each in conversions(releases, source.places, config, stack, source.beside)
    ]


def _converted(store: Path, conversion: Conversion, kept: bool) -> Converted:
    return Converted(
        checkpoint=conversion.checkpoint,
        folder=store / conversion.checkpoint,
        size=conversion.size,
        tensors=len(conversion.entries),
        layout=conversion.layout,
        kept=kept,
        notes=conversion.notes,
        lacks=conversion.lacks,
    )


@contextmanager
def _locked(store: Path) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(store / LOCK, str(store), to_stderr, limit=0.0))
        except (BusyError, UnwritableError) as error:
            raise CheckpointError(str(error)) from error
        yield


def _record(
    conversion: Conversion,
    releases: Sequence[Release],
    source: ReleasedFiles,
    facts: Mapping[Path, FileFacts],
) -> Record:
    return Record(
        origin=source.whence,
        revision=source.revision,
        licence=source.origin.licence if source.origin else _licence(conversion, releases),
        layout=conversion.layout,
        sources={path.name: facts[path] for path in conversion.files},
    )


def _licence(conversion: Conversion, releases: Sequence[Release]) -> str:
    """Return the licences under which a network is published, for files of the user's own."""
    origins = [o for each in releases if each.name == conversion.checkpoint for o in each.origins]
    return " or ".join(dict.fromkeys(origin.licence for origin in origins))


def _is_there(store: Path, conversion: Conversion, records: Mapping[str, Record]) -> bool:
    """Say whether the store has the same weights already, and all of them.

    Raises:
        CheckpointError: it has others, or a file in place of the folder.
    """
    folder, record = store / conversion.checkpoint, records[conversion.checkpoint]
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(f"{folder} is a file, but a folder is to be written; move it away")
    if not (folder / WEIGHTS).is_file():
        return False
    there = Record.read(folder)
    same = there is not None and there.sources == record.sources
    if there is not None and same and there.layout == record.layout:
        beside = [folder / path for path in conversion.companions]
        return not differences(folder, there, whole=False) and all(p.is_file() for p in beside)
    what = f"the {there.layout} of these files" if there and same else "weights of other files"
    whence = f"from {there.origin}" if there else "that were placed by hand"
    raise CheckpointError(
        f"{folder} holds {what} already, {whence}; delete or move that folder, or "
        "give another store with --checkpoints"
    )


def _check_disk(store: Path, lacking: Sequence[Conversion]) -> None:
    needed, free = sum(each.size for each in lacking), shutil.disk_usage(store).free
    if lacking and needed + SPARE > free:
        raise CheckpointError(
            f"{store} has {human_size(free)} free, but {human_size(needed)} are to be written; "
            "make room, or give another folder with --checkpoints"
        )


def _write(
    store: Path, lacking: Sequence[Conversion], records: Mapping[str, Record], progress: Progress
) -> None:
    """Write beside their places, and move all there once all are whole."""
    names = [each.checkpoint for each in lacking]
    try:
        for conversion in lacking:
            aside = store / f"{conversion.checkpoint}{PART}"
            shutil.rmtree(aside, ignore_errors=True)  # of a run that was killed
            aside.mkdir()
            write(conversion, aside, _counted(conversion, progress))
            replace(records[conversion.checkpoint], files=facts_below(aside)).write(aside)
        for name in names:
            _move(store / f"{name}{PART}", store / name)
    finally:
        for name in names:
            shutil.rmtree(store / f"{name}{PART}", ignore_errors=True)


def _counted(conversion: Conversion, progress: Progress) -> Callable[[int], None]:
    """Return what sums up the bytes that are written and tells them."""
    done = 0

    def count(size: int) -> None:
        nonlocal done
        done += size
        progress(conversion.checkpoint, done, conversion.size)

    return count


def _move(aside: Path, folder: Path) -> None:
    """Put a whole folder in its place; what lay there without weights goes."""
    old = folder.with_name(folder.name + OLD)
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.replace(old)
    aside.replace(folder)
    shutil.rmtree(old, ignore_errors=True)
