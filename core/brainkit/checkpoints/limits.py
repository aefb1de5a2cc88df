"""Limits on what files of others may ask for: nested JSON, files that are mostly holes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from brainkit.errors import CheckpointError

MAX_JSON = 10_000_000
"""Bytes of a configuration or record; usual ones have under 100 kB."""
LARGEST_SIZE = 1 << 31
"""Whole number that no size in a configuration reaches: widths, depths, sides, ids of tokens."""
LARGE = 1 << 28
"""Bytes from which on a file is looked at for holes."""


def read_json(path: Path) -> Any:
    """Return the value of a small JSON file, with or without a byte order mark.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no JSON, too large, or nested too deeply.
    """
    if (size := path.stat().st_size) > MAX_JSON:
        raise ValueError(f"it has {size} bytes, at most {MAX_JSON} are usual")
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def check_sizes(config: Any) -> None:
    """Refuse a configuration with a number that no network has, before anything is made of it.

    Args:
        config: the value of its file.

    Raises:
        ValueError: names the key and the number.
    """
    left = [("", config)]
    while left:
        name, value = left.pop()
        if isinstance(value, dict):
            left += [(f"{name}.{key}" if name else str(key), inner) for key, inner in value.items()]
        elif isinstance(value, list):
            left += [(name, inner) for inner in value]
        elif isinstance(value, int) and abs(value) >= LARGEST_SIZE:
            raise ValueError(f"its {name} is {value}, sizes are below {LARGEST_SIZE}")


def check_holes(path: Path) -> None:
    """Refuse a large file of which the disk holds less than a tenth.

    Such a file was made room for and never written, as a download that stopped leaves it; to read
    its holes would take the time and memory of the whole.

    Raises:
        CheckpointError: it is such a file.
    """
    facts = path.stat()
    there = 512 * getattr(facts, "st_blocks", 0)
    # Some file systems do not tell, which reads as no block at all.
    if facts.st_size >= LARGE and 0 < there < facts.st_size // 10:
        raise CheckpointError(
            f"{path} is not whole: it has {facts.st_size} bytes, of which the disk holds {there}; "
            "download or copy it again"
        )
