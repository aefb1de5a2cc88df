"""Write `docs/cli.md` from the commands themselves; with --check, only compare."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from typer.main import get_command
from typer.testing import CliRunner

from brainkit.cli import app

PAGE = Path(__file__).parent / "cli.md"
INTRO = """# Command line

Written by `python docs/generate.py` from the commands themselves. Data go to stdout, progress to
stderr. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped.
"""


def page() -> str:
    """Give the text of the page."""
    os.environ["COLUMNS"] = "96"
    names = sorted(get_command(app).commands)  # type: ignore[attr-defined]
    sections = [_section([])] + [_section([name]) for name in names]
    return INTRO + "".join(sections)


def _section(words: list[str]) -> str:
    shown = CliRunner().invoke(app, [*words, "--help"], prog_name="brainkit").stdout
    title = " ".join(["brainkit", *words])
    text = "\n".join(line.rstrip() for line in shown.strip().splitlines())
    return f"\n## {title}\n\n```text\n{text}\n```\n"


if __name__ == "__main__":
    new = page()
    if "--check" in sys.argv:
        if not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != new:
            sys.exit("docs/cli.md is out of date; run python docs/generate.py")
    else:
        PAGE.write_text(new, encoding="utf-8")
