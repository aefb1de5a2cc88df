"""What `brainkit checkpoints` prints: every known checkpoint and what the store has of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainkit.console import Say, aligned, human_size
from brainkit.fetch.known import Known, known, named
from brainkit.fetch.state import Leftover, State, leftovers, size_of, state
from brainkit.plugins import Registry

HEADINGS = ("checkpoint", "state", "size", "miniature", "licence", "origin", "needed by")


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
        """Give the table."""
        return "\n".join([f"checkpoint store {self.root}", "", *_table(self.rows), *_tail(self)])

    def json(self) -> str:
        """Give the same as JSON."""
        values = {
            "store": str(self.root),
            "size": self.size,
            "checkpoints": [_entry(one, found) for one, found in self.rows],
            "leftovers": [
                {"path": str(each.path), "size": each.size, "why": each.why}
                for each in self.leftovers
            ],
        }
        return json.dumps(values, indent=2)


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
        rows.append((each, state(each.checkpoint, root, beside=each.beside, verify=verify)))
    others = [] if name else leftovers(root, [each.name for each in chosen])
    return Stored(root, tuple(rows), tuple(others))


def _table(rows: Sequence[tuple[Known, State]]) -> list[str]:
    cells = [HEADINGS, *(_row(one, found) for one, found in rows)]
    lines = []
    for line, why in zip(aligned(cells), ["", *(found.why for _, found in rows)], strict=True):
        lines.append(line)
        lines += [f"    {why}"] if why else []
    return lines


def _row(one: Known, found: State) -> tuple[str, ...]:
    users = ", ".join((*one.methods, *(["scores"] if one.scores else [])))
    record = found.record
    return (
        one.name,
        found.word,
        human_size(found.size) if found.size else "",
        "shipped" if found.miniature else "",
        record.licence.partition(";")[0] if record else "",
        _whence(found),
        users,
    )


def _whence(found: State) -> str:
    if found.record is None:
        return ""
    revision = f"@{found.record.revision[:12]}" if found.record.revision else ""
    return f"{found.record.origin}{revision}"


def _tail(found: Stored) -> list[str]:
    words = [each.word for _, each in found.rows]
    counts = [
        f"{words.count(word)} {word}"
        for word in ("whole", "placed by hand", "damaged", "missing")
        if word in words
    ]
    lines = ["", f"{', '.join(counts) or 'no checkpoints are known'}; {human_size(found.size)}"]
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


def _entry(one: Known, found: State) -> dict[str, Any]:
    record = found.record
    return {
        "name": one.name,
        "state": found.word,
        "why": found.why or None,
        "size": found.size,
        "miniature": found.miniature,
        "licence": record.licence if record else None,
        "origin": record.origin if record else None,
        "revision": (record.revision or None) if record else None,
        "layout": record.layout if record else None,
        "methods": list(one.methods),
        "scores": one.scores,
    }


def doctor_lines(registry: Registry, root: Path) -> list[str]:
    """Give a line for each known checkpoint, and the size of the store."""
    found = stored(registry, root)
    lines = []
    for one, each in found.rows:
        size = f" {human_size(each.size)}" if each.size else ""
        miniature = ", miniature shipped" if each.miniature else ""
        lines.append(f"  {one.name}: {each.word}{size}{miniature}")
    return [*lines, f"  store {root}: {human_size(size_of(root))}"]
