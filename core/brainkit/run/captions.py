"""The file of captions: a line of JSON a draw, each with the stamp of what made it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainkit.run.artefact import Artefact
from brainkit.run.shared import Draw


@dataclass(frozen=True)
class CaptionLine(Artefact):
    """One line of the file.

    Attributes:
        draw: whose caption it is.
        lines: what the file holds, by draw.
    """

    draw: Draw
    lines: Mapping[Draw, Mapping[str, Any]]

    @property
    def current(self) -> bool:
        """Whether the file has the line with its stamp."""
        return bool(self.lines.get(self.draw, {}).get("stamp") == self.stamp)

    def why(self) -> str:
        """Say why the line is not current."""
        return "its latent or the decoder changed" if self.lines else "new"

    def entry(self, caption: str) -> dict[str, Any]:
        """Return the line with a caption, ready for JSON."""
        which = {"sample": self.draw.sample} if self.draw.sample > 1 else {}
        return {
            "image_id": self.draw.image,
            **which,
            "caption": caption,
            "stamp": self.stamp,
        }


def read_captions(path: Path) -> dict[Draw, dict[str, Any]]:
    """Read the file as draw -> line; a line cut off by a kill is left out."""
    lines: dict[Draw, dict[str, Any]] = {}
    if path.is_file():
        for text in path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(text)
                lines[Draw(int(entry["image_id"]), int(entry.get("sample", 1)))] = entry
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
    return lines
