"""What a folder of results holds, to compare runs by."""

from __future__ import annotations

import re
from pathlib import Path

TIMES = re.compile(
    rb'"date": "[^"]*"|"seconds": [\d.]+|"steps": \{[^}]*\}'
    rb"|<span>scored <time.*?</span>|<span>computed in .*?</span>"
    rb"|\s*<details>\s*<summary>Time taken</summary>.*?</details>\s*",
    re.DOTALL,
)
"""What of scores and reports tells when they were made and how long it took, if that is known."""


def tree(folder: Path) -> dict[str, bytes]:
    """Return the content of each file by its path; times in scores and reports are left out."""
    files = (each for each in folder.rglob("*") if each.is_file() and not passed_over(each))
    return {each.relative_to(folder).as_posix(): timeless(each) for each in files}


def timeless(path: Path) -> bytes:
    """Return the content of a file without the times that scores and reports tell."""
    content = path.read_bytes()
    return TIMES.sub(b"", content) if path.name in ("metrics.json", "report.html") else content


def passed_over(path: Path) -> bool:
    """Say whether a file is a lock, or records of when others were written."""
    return ".lock" in path.name or path.name == ".records.jsonl"
