"""Where things made or fetched once are kept."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """Return the folder for caches and weights: `BRAINKIT_HOME`, or the user's cache folder."""
    import platformdirs

    chosen = os.environ.get("BRAINKIT_HOME")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("brainkit"))
