"""Whose a run's folder is: written down when it is taken, and asked before another run takes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from brainkit.errors import UsageError
from brainkit.locks import locked
from brainkit.run.artefact import write_text
from brainkit.run.folder import LOCKS, REMEDY, Folder, lock_of
from brainkit.run.shared import Run
from brainkit.run.structure import json_object

LAYOUT = 1


def identity(run: Run) -> dict[str, Any]:
    """Return what `identity.json` says of a run, as an object that JSON can hold."""
    return {
        "layout": LAYOUT,
        "identity": run.digest,
        "name": run.name,
        "method": run.method.name,
        "differs": list(run.differing.words()),
        "subject": run.config.subject,
        "data": run.data.name,
        "weights": run.networks,
    }


def read_identity(folder: Folder) -> dict[str, Any]:
    """Return what a folder says of its run; {} when it says nothing that can be read."""
    try:
        return json_object(folder.identity.read_bytes())
    except OSError:
        return {}


def require_own(run: Run) -> None:
    """Check that a run's folder is free, or its own.

    Raises:
        UsageError: it is another run's, or that cannot be told.
    """
    told = read_identity(run.folder).get("identity")
    # A name that was not given ends with digits of the identity.
    own = run.config.name is None and told is None
    if told == run.digest or own or not _holds_files(run.folder.root):
        return
    whose = _whose(run.folder) if told else f"a run, but not whose ({run.folder.identity.name})"
    raise UsageError(
        f"{run.folder.root} holds {whose}; give another --name, or take that run away with "
        f"`brainkit runs {run.folder.work.absolute()} --remove {run.name}`"
    )


def _holds_files(folder: Path) -> bool:
    return folder.is_dir() and any(path.name != LOCKS for path in folder.iterdir())


def _whose(folder: Folder) -> str:
    told = read_identity(folder)
    differs = told.get("differs")
    words = ", ".join(map(str, differs)) if isinstance(differs, list) and differs else "no changes"
    return f"another run, {told.get('method')} with {words}"


def claim(run: Run) -> None:
    """Write down whose a run's folder is, unless it says so already."""
    wanted = identity(run)
    if read_identity(run.folder) != wanted:
        path = run.folder.identity
        with locked(lock_of(path), f"the folder of {run.name}", run.work.say, remedy=REMEDY):
            require_own(run)
            write_text(path, json.dumps(wanted, indent=1, ensure_ascii=False) + "\n")
