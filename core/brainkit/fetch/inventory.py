"""What the store has of each checkpoint (whole, missing, damaged, by hand), and what else."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from brainkit.checkpoints import WEIGHTS, CheckpointStore
from brainkit.checkpoints.limits import check_holes, read_json
from brainkit.checkpoints.record import Record, differences, listed
from brainkit.console import Say, human_size
from brainkit.data import Checkpoint
from brainkit.errors import CheckpointError
from brainkit.fetch.known import Known, known, named
from brainkit.locks import NOTE
from brainkit.plugins import Registry
from brainkit.schema import CheckpointEntry, StoreEntry
from brainkit.schema import State as Word
from brainkit.tables import Block, TextTable, laid_out
from brainkit.weights.convert import LOCK

DOWNLOADS = "downloads"
"""Folder of the store that files lie in until they are converted."""
FETCHING = ".fetch.lock"
"""Keeps a second fetch out of the store."""
OWN = (DOWNLOADS, *(name + end for name in (FETCHING, LOCK) for end in ("", NOTE)))


@dataclass(frozen=True)
class State:
    """What there is of one checkpoint.

    Attributes:
        checkpoint: it is.
        word: "whole" when it is as fetched, "placed by hand" when nothing says what it should be.
        why: what is wrong, of damaged ones.
        size: bytes on disk.
        record: where it is from; None when it was placed by hand or is missing.
        miniature: whether packages ship small weights of it.
        faults: what is wrong with what its plugin says of it, each with the distribution.
    """

    checkpoint: Checkpoint
    word: Word
    why: str = ""
    size: int = 0
    record: Record | None = None
    miniature: bool = False
    faults: tuple[str, ...] = ()

    @property
    def there(self) -> bool:
        """Whether it can be used."""
        return self.word in ("whole", "placed by hand")


@dataclass(frozen=True)
class Leftover:
    """A file or folder of the store that belongs to no checkpoint."""

    path: Path
    size: int
    why: str


def state(
    checkpoint: Checkpoint, root: Path, *, beside: Sequence[str] = (), verify: bool = False
) -> State:
    """Say what the store has of a checkpoint.

    Args:
        checkpoint: any.
        root: folder of the store.
        beside: files, such as a tokenizer's, that a fetch writes beside the weights.
        verify: whether every file is read and hashed; without, sizes and headers are compared.
    """
    folder = root / checkpoint.name
    miniature = has_miniature(checkpoint)
    if not folder.is_dir() or not listed(folder):
        return State(checkpoint, "missing", miniature=miniature)
    record, said = None, []
    try:
        record = Record.read(folder)
        said = _damages(folder, record, verify=verify)
        if record:
            said += [
                f"{path} is missing" for path in beside if not _accounted(folder, path, record)
            ]
    except CheckpointError as error:
        said = [str(error)]
    word: Word = "damaged" if said else ("whole" if record else "placed by hand")
    return State(checkpoint, word, "; ".join(said), size_of(folder), record, miniature)


def leftovers(root: Path, checkpoints: list[str]) -> list[Leftover]:
    """Return what lies in the store beside known checkpoints: strays, parts of killed fetches."""
    if not root.is_dir():
        return []
    found = []
    for path in listed(root):
        if path.name == DOWNLOADS:
            found += _downloads(path)
        elif path.name not in (*OWN, *checkpoints):
            found.append(Leftover(path, size_of(path), _why(path)))
    return found


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder."""
    if path.is_dir():
        return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
    return path.stat().st_size if path.is_file() else 0


def _why(path: Path) -> str:
    if path.suffix in (".part", ".old"):
        return "left by a fetch that was stopped, may be deleted"
    return "belongs to no checkpoint of the installed plugins"


def _downloads(folder: Path) -> list[Leftover]:
    """Return downloaded files that wait for their conversion or for the rest of them."""
    found = []
    for path in (each for each in listed(folder, "**/*") if each.is_file()):
        if path.suffix == ".part":
            found.append(
                Leftover(path, size_of(path), "a download that the next fetch goes on with")
            )
        elif path.suffix not in (".etag", ".lock"):
            found.append(Leftover(path, size_of(path), "downloaded, not converted yet"))
    return found


def _accounted(folder: Path, path: str, record: Record) -> bool:
    return path in record.files or (folder / path).is_file()


def _damages(folder: Path, record: Record | None, *, verify: bool) -> list[str]:
    said = [] if record is None else differences(folder, record, whole=verify)
    named = {each.partition(" ")[0] for each in said}
    weights, config = folder / WEIGHTS, folder / "config.json"
    if weights.is_file():
        said += [] if WEIGHTS in named else _content(weights, verify=verify)
    elif WEIGHTS not in named:
        said.append(f"{WEIGHTS} is missing")
    if "config.json" not in named:
        said += _configuration(config)
    return said


def _content(path: Path, *, verify: bool) -> list[str]:
    """Say what is wrong with the header of weights and, if they are read, with their numbers."""
    from brainkit.checkpoints.finite import unfinite_sentence
    from brainkit.checkpoints.safetensors import check_header

    try:
        check_header(path)
        check_holes(path)
        unfinite = unfinite_sentence(path) if verify else ""
    except CheckpointError as error:
        return [str(error)]
    return [unfinite] if unfinite else []


def _configuration(path: Path) -> list[str]:
    if not path.is_file():
        return [f"{path.name} is missing"]
    try:
        loaded = read_json(path)
    except (OSError, ValueError) as error:
        return [f"{path.name} is not a network configuration ({error})"]
    return [] if isinstance(loaded, dict) else [f"{path.name} is not a network configuration"]


def has_miniature(checkpoint: Checkpoint) -> bool:
    """Say whether a package ships small weights of a checkpoint."""
    with suppress(CheckpointError):  # told as a fault of what its plugin says
        return CheckpointStore(Path(), miniature=True).has(checkpoint)
    return False


def _described(one: Known) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the files beside the weights, and what is wrong with what a plugin says of them."""
    beside: tuple[str, ...] = ()
    faults = []
    try:
        beside = one.beside
    except CheckpointError as error:
        faults.append(str(error))
    try:
        CheckpointStore(Path(), miniature=True).has(one.checkpoint)
    except CheckpointError as error:
        faults.append(str(error))
    owner = f" ({one.owner})" if one.owner else ""
    return beside, tuple(f"{fault}{owner}" for fault in faults)


HEADINGS = ("checkpoint", "state", "size", "miniature", "needed by")
STYLES = {"damaged": "bold red", "whole": "green", "placed by hand": "green", "missing": "dim"}
"""How a terminal shows the states of checkpoints."""


@dataclass(frozen=True)
class Stored:
    """What a store holds.

    Attributes:
        root: its folder.
        rows: each known checkpoint and what there is of it.
        leftovers: what else lies there; looked for when all checkpoints are asked for.
    """

    root: Path
    rows: tuple[tuple[Known, State], ...]
    leftovers: tuple[Leftover, ...] = ()

    @property
    def damaged(self) -> bool:
        """Whether a checkpoint is not what it was or has to be."""
        return any(found.word == "damaged" for _, found in self.rows)

    @property
    def size(self) -> int:
        """Bytes of the checkpoints on disk."""
        return sum(found.size for _, found in self.rows)

    def text(self) -> str:
        """Return what `checkpoints` prints as plain text."""
        return laid_out(self.blocks())

    def blocks(self) -> list[Block]:
        """Return the table of checkpoints, their counts, and what else lies in the store."""
        rows = [_row(one, found) for one, found in self.rows]
        table = TextTable(HEADINGS, rows, right={2}, styles=STYLES)
        whence = [_whence(one, found) for one, found in self.rows if found.record]
        origins = TextTable(("fetched", "licence", "from"), whence)
        return [
            *(f"checkpoint store {self.root}", "", table),
            *(("", origins) if whence else ()),
            *_tail(self),
        ]

    def json(self) -> StoreEntry:
        """Return the same for programs."""
        return {
            "store": str(self.root),
            "size": self.size,
            "checkpoints": [_entry(one, found) for one, found in self.rows],
            "leftovers": [
                {"path": str(each.path), "size": each.size, "why": each.why}
                for each in self.leftovers
            ],
        }


def stored(
    registry: Registry,
    root: Path,
    name: str | None = None,
    *,
    verify: bool = False,
    say: Say = lambda text: None,
) -> Stored:
    """Say what a store has.

    Args:
        registry: of the installed plugins.
        root: folder of the store.
        name: of a method or checkpoint; None for all there are.
        verify: whether every file is read and hashed; without, sizes and headers are compared.
        say: told what is read, which takes a while.

    Raises:
        UsageError: there is no method or checkpoint of that name.
    """
    chosen = named(registry, name) if name else list(known(registry).values())
    rows = []
    for each in chosen:
        size = size_of(root / each.name)
        if verify and size:
            say(f"reading {each.name}, {human_size(size)}")
        beside, faults = _described(each)
        of_it = state(each.checkpoint, root, beside=beside, verify=verify)
        rows.append((each, replace(of_it, faults=faults)))
    others = [] if name else leftovers(root, [each.name for each in chosen])
    return Stored(root, tuple(rows), tuple(others))


def _row(one: Known, found: State) -> tuple[str, ...]:
    users = ", ".join((*one.methods, *(["scores"] if one.scores else [])))
    return (
        one.name,
        found.word,
        human_size(found.size) if found.size else "",
        "shipped" if found.miniature else "",
        users,
    )


def _whence(one: Known, found: State) -> tuple[str, ...]:
    assert found.record
    revision = f"@{found.record.revision[:12]}" if found.record.revision else ""
    licence = found.record.licence.partition(";")[0]
    return one.name, licence, f"{found.record.origin}{revision}"


def _tail(found: Stored) -> list[Block]:
    words = [each.word for _, each in found.rows]
    why = [f"{one.name} is damaged: {each.why}" for one, each in found.rows if each.why]
    why += [f"{one.name}: {fault}" for one, each in found.rows for fault in each.faults]
    counts = [
        f"{words.count(word)} {word}"
        for word in ("whole", "placed by hand", "damaged", "missing")
        if word in words
    ]
    sum_of_all = f"{', '.join(counts) or 'no checkpoints are known'}; {human_size(found.size)}"
    lines: list[Block] = [*([""] if why else []), *why, "", sum_of_all]
    if found.leftovers:
        size = sum(each.size for each in found.leftovers)
        lines += ["", f"also in the store, {human_size(size)}:"]
        lines += [
            f"  {each.path.relative_to(found.root)}, {human_size(each.size)}: {each.why}"
            for each in found.leftovers
        ]
    damaged = [one.name for one, each in found.rows if each.word == "damaged"]
    if damaged:
        lines += ["", f"to mend: delete the folder and run brainkit fetch {damaged[0]}"]
    return lines


def _entry(one: Known, found: State) -> CheckpointEntry:
    record = found.record
    return {
        "name": one.name,
        "state": found.word,
        "why": found.why or None,
        "faults": list(found.faults),
        "size": found.size,
        "miniature": found.miniature,
        "licence": record.licence if record else None,
        "origin": record.origin if record else None,
        "revision": (record.revision or None) if record else None,
        "layout": record.layout if record else None,
        "methods": list(one.methods),
        "scores": one.scores,
    }
