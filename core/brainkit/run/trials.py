"""The file of trials, and the sessions and warnings that its header states."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainkit.run.artefact import Artefact, read_note

FACTS = "facts"
"""What the metadata of trials call their sessions and warnings."""


@dataclass(frozen=True)
class TrialsFile(Artefact):
    """The file of trials, which says in its header what the report tells of them.

    Attributes:
        older: where an earlier brainkit kept that instead.
    """

    older: Path

    @property
    def current(self) -> bool:
        """Whether the file is there, made by this recipe, and its facts can be read."""
        return super().current and bool(self.facts)

    def why(self, reached: Collection[Path] = ()) -> str:
        """Say why the file is not current."""
        if super().current:
            return f"its facts, {self.older.name}, are lost or damaged"
        return super().why(reached)

    @property
    def facts(self) -> dict[str, list[Any]]:
        """Lists of "sessions" and "warnings"; empty when they are lost."""
        return _facts(read_note(self.path, FACTS)) or _facts(_text(self.older))


def _facts(text: str) -> dict[str, list[Any]]:
    try:
        facts = json.loads(text)
        whole = isinstance(facts["sessions"], list) and isinstance(facts["warnings"], list)
    except (ValueError, TypeError, LookupError, RecursionError):
        return {}
    return facts if whole else {}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
