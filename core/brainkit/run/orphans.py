"""What killed runs left behind and no run would take up again."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from brainkit.run.artefact import read_recipe
from brainkit.run.growing import NOTE, PART
from brainkit.run.journal import STATE

ASIDE = re.compile(r"\.\d+\.part$")
"""Ends the names of files that a process was writing."""
LINES = f".jsonl{PART}"
"""Ends the names of files of lines, each of which is whole by itself."""


def remove_orphans(folder: Path) -> int:
    """Remove what is left over in a folder that this process holds; return how many files.

    What a run with the same or other options would go on from stays: rows with their note, lines,
    and states whose end is not reached, or that of others of their batch.
    """
    count = 0
    # Listed before any is removed: whether a note is left over depends on what lies beside it.
    for path in list(_orphans(folder)):
        path.unlink(missing_ok=True)
        count += 1
    return count


def _orphans(folder: Path) -> Iterator[Path]:
    states: defaultdict[Path, list[Path]] = defaultdict(list)
    for path in folder.rglob("*"):
        name = path.name
        if path.is_dir() and not path.is_symlink():
            continue
        if name.endswith(PART):
            noted = path.with_name(name.removesuffix(PART) + NOTE).is_file()
            if ASIDE.search(name) or not (noted or name.endswith(LINES)):
                yield path
        elif name.endswith(NOTE):
            if not path.with_name(name.removesuffix(NOTE) + PART).is_file():
                yield path
        elif name.endswith(STATE):
            states[path.parent].append(path)
    for beside in states.values():
        yield from _left_over(beside)


def _left_over(states: Sequence[Path]) -> list[Path]:
    """Return which states of a folder no run would take up.

    While one leads on, the others stay: those of its batch are taken up with it.
    """
    recipes = {state: read_recipe(state) for state in states}
    spoilt = [state for state, recipe in recipes.items() if not recipe]
    whole = [state for state in states if recipes[state]]
    ended = all(recipes[state] == read_recipe(_end(state)) for state in whole)
    return [*spoilt, *whole] if ended else spoilt


def _end(state: Path) -> Path:
    """Return the file that a state leads to."""
    return state.with_name(state.name.removesuffix(STATE) + ".safetensors")
