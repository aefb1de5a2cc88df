"""Bring released files into the store: a confined child reads and writes, this end decides."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from brainkit.checkpoints import WEIGHTS
from brainkit.checkpoints.record import FileFacts, Record, differences, facts_below
from brainkit.errors import CheckpointError
from brainkit.weights import Config, Origin

PART = ".part"
OLD = ".old"
SPARE = 1 << 26
"""Bytes of disk that have to stay free."""


@dataclass(frozen=True)
class Source:
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
    source: Source,
    store: Path,
    *,
    config: Config | None = None,
    progress: Callable[[str, int, int], Any] = lambda checkpoint, done, size: None,
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
        CheckpointError: a file is missing, damaged or refused, does not fit (all differences are
            listed), the store holds other weights, or the disk is full.
    """
    try:
        store.mkdir(parents=True, exist_ok=True)
        with _locked(store), _child(references, source, store, config) as child:
            plan = child.answer("plan")
            facts = {path: FileFacts.of(Path(path)) for each in plan for path in each["files"]}
            made = [(each, _record(each, source, facts)) for each in plan]
            kept = {each["checkpoint"] for each, record in made if _is_there(store, each, record)}
            _check_disk(store, [each for each in plan if each["checkpoint"] not in kept])
            _write(store, made, kept, child, progress)
    except OSError as error:
        raise CheckpointError(
            f"{store} cannot be written ({error.strerror or error}); make room, or give another "
            "folder with --checkpoints"
        ) from error
    return [_converted(store, each, each["checkpoint"] in kept) for each in plan]


def _converted(store: Path, plan: Mapping[str, Any], kept: bool) -> Converted:
    return Converted(
        checkpoint=plan["checkpoint"],
        folder=store / plan["checkpoint"],
        size=plan["size"],
        tensors=plan["tensors"],
        layout=plan["layout"],
        kept=kept,
        notes=tuple(plan["notes"]),
        lacks=tuple(plan["lacks"]),
    )


@contextmanager
def _locked(store: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    try:
        with FileLock(store / ".lock", timeout=0):
            yield
    except Timeout as error:
        raise CheckpointError(
            f"{store} is being written by another process; wait until it has finished"
        ) from error


class _Child:
    """The confined process, and the lines it is sent and answers with."""

    def __init__(self, process: subprocess.Popen[str], said: IO[str], shown: str) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.asked: IO[str] = process.stdin
        self.answers: IO[str] = process.stdout
        self.process, self.said, self.shown = process, said, shown

    def ask(self, **values: Any) -> None:
        """Send a line."""
        try:
            self.asked.write(json.dumps(values) + "\n")
            self.asked.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def answer(self, wanted: str, progress: Callable[[int], Any] = lambda done: None) -> Any:
        """Wait for an answer of a kind; errors that the process tells are raised here."""
        for line in self.answers:
            said = json.loads(line)
            if "error" in said:
                raise CheckpointError(said["error"])
            if wanted in said:
                return said[wanted]
            progress(said["done"])
        raise self._ended()

    def _ended(self) -> CheckpointError:
        code = self.process.wait()
        self.said.seek(0)
        why = (self.said.read().strip().splitlines() or [f"exit status {code}"])[-1]
        why = f"signal {-code}" if code < 0 else why
        return CheckpointError(
            f"the process that read {self.shown} ended ({why}); give it more memory if that ran "
            "out, otherwise download the file again"
        )


@contextmanager
def _child(
    references: Sequence[str], source: Source, store: Path, config: Config | None
) -> Iterator[_Child]:
    paths = os.pathsep.join(path for path in sys.path if path)
    quiet = {"HF_HUB_OFFLINE": "1", "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""}
    quiet["PYTHONDONTWRITEBYTECODE"] = "1"  # it writes below the store only
    command = [sys.executable, "-P", "-m", "brainkit.weights.child"]
    pipe, shown = subprocess.PIPE, " and ".join(map(str, source.places))
    with (
        TemporaryFile("w+", encoding="utf-8", errors="replace") as said,
        subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=said, encoding="utf-8",
            env={**os.environ, **quiet},
        ) as process,
    ):  # fmt: skip
        child = _Child(process, said, shown)
        try:
            child.ask(
                releases=list(references),
                places=[str(place.resolve()) for place in source.places],
                beside={n: [str(p.resolve()) for p in each] for n, each in source.beside.items()},
                config=None if config is None else dict(config),
                store=str(store.resolve()),
            )
            yield child
        finally:
            process.kill()


def _record(plan: Mapping[str, Any], source: Source, facts: Mapping[str, FileFacts]) -> Record:
    return Record(
        origin=source.whence,
        revision=source.revision,
        licence=source.origin.licence if source.origin else plan["licence"],
        layout=plan["layout"],
        sources={Path(path).name: facts[path] for path in plan["files"]},
    )


def _is_there(store: Path, plan: Mapping[str, Any], record: Record) -> bool:
    """Say whether the store has the same weights already, and all of them.

    Raises:
        CheckpointError: it has others, or a file in place of the folder.
    """
    folder = store / plan["checkpoint"]
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(f"{folder} is a file, but a folder is to be written; move it away")
    if not (folder / WEIGHTS).is_file():
        return False
    there = Record.read(folder)
    same = there is not None and there.sources == record.sources
    if there is not None and same and there.layout == record.layout:
        beside = [folder / path for path in plan["companions"]]
        return not differences(folder, there, whole=False) and all(p.is_file() for p in beside)
    what = f"the {there.layout} of these files" if there and same else "weights of other files"
    whence = f"from {there.origin}" if there else "that were placed by hand"
    raise CheckpointError(
        f"{folder} holds {what} already, {whence}; delete or move that folder, or "
        "give another store with --checkpoints"
    )


def _check_disk(store: Path, plans: Sequence[Mapping[str, Any]]) -> None:
    needed, free = sum(each["size"] for each in plans), shutil.disk_usage(store).free
    if plans and needed + SPARE > free:
        raise CheckpointError(
            f"{store} has {free / 1e9:.1f} GB free, but {needed / 1e9:.1f} GB are to be written; "
            "make room, or give another folder with --checkpoints"
        )


def _write(
    store: Path,
    made: Sequence[tuple[Mapping[str, Any], Record]],
    kept: set[str],
    child: _Child,
    progress: Callable[[str, int, int], Any],
) -> None:
    """Write beside their places, and move all there once all are whole."""
    lacking = [(each, record) for each, record in made if each["checkpoint"] not in kept]
    names = [each["checkpoint"] for each, _ in lacking]
    try:
        for plan, record in lacking:
            name, size = plan["checkpoint"], plan["size"]
            aside = store / f"{name}{PART}"
            shutil.rmtree(aside, ignore_errors=True)  # of a run that was killed
            aside.mkdir()
            child.ask(checkpoint=name, aside=str(aside.resolve()))
            child.answer("written", partial(_told, progress, name, size))
            progress(name, size, size)
            replace(record, files=facts_below(aside)).write(aside)
        for name in names:
            _move(store / f"{name}{PART}", store / name)
    finally:
        for name in names:
            shutil.rmtree(store / f"{name}{PART}", ignore_errors=True)


def _told(progress: Callable[[str, int, int], Any], name: str, size: int, done: int) -> None:
    progress(name, done, size)


def _move(aside: Path, folder: Path) -> None:
    """Put a whole folder in its place; what lay there without weights goes."""
    old = folder.with_name(folder.name + OLD)
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.replace(old)
    aside.replace(folder)
    shutil.rmtree(old, ignore_errors=True)
