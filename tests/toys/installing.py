"""Programs that tests start, and how plugins are installed without a network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

OFFLINE = ("--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check")


def ended(*words: object, cwd: Path, **env: str) -> str:
    """Return what `python -m` of some words printed; it has to end well."""
    done = subprocess.run(
        [sys.executable, "-m", *map(str, words)],
        capture_output=True, text=True, env={**os.environ, **env}, cwd=cwd, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-3000:]
    return done.stdout
