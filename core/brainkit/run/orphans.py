"""What killed runs left behind and no run would take up again."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from brainkit.locks import held_at_once
from brainkit.run.artefact import read_recipe
from brainkit.run.folder import lock_of
from brainkit.run.growing import NOTE, PART
from brainkit.run.journal import STATE

ASIDE = re.compile(r"\.\d+\.part$")
"""Ends the names of files that a process was writing."""
RECIPE = ".recipe"
"""Ends the names of the hidden files that keep a recipe."""
LINES = f".jsonl{PART}"
"""Ends the names of files of lines, each of which is whole by itself."""


def remove_orphans(folder: Path, passed_over: Collection[Path] = ()) -> int:
    """Remove what is left over in a folder and below; return how many files.

    What a run with the same or other options would go on from stays: rows with their note, lines,
    and states whose end is not reached, or that of others of their batch. So does what belongs to
    a file that another process makes now.

    Args:
        folder: to look through.
        passed_over: folders in it that are left as they are.
    """
    count = 0
    # Listed before any is removed: whether a note is left over depends on what lies beside it.
    for path in list(_orphans(folder, passed_over)):
        with held_at_once([lock_of(made_of(path))]) as taken:
            if not taken and path in _orphans(path.parent, passed_over):
                path.unlink(missing_ok=True)
                count += 1
    return count


def made_of(path: Path) -> Path:
    """Return the file of results that a file which is left over belongs to.

    >>> made_of(Path("nsd00001.png.77.part")).name, made_of(Path(".a.json.recipe.77.part")).name
    ('nsd00001.png', 'a.json')
    """
    name = ASIDE.sub("", path.name).removesuffix(PART).removesuffix(NOTE)
    if name.endswith(RECIPE):
        name = name.removesuffix(RECIPE).removeprefix(".")
    if name.endswith(STATE):
        return _end(path.with_name(name))
    return path.with_name(name)


def _orphans(folder: Path, passed_over: Collection[Path]) -> Iterator[Path]:
    states: defaultdict[Path, list[Path]] = defaultdict(list)
    for path in _files(folder, passed_over):
        name = path.name
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


def _files(folder: Path, passed_over: Collection[Path]) -> Iterator[Path]:
    for here, below, names in os.walk(folder):
        below[:] = [name for name in below if Path(here, name) not in passed_over]
        yield from (Path(here, name) for name in names)


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
