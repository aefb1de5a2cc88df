"""Where things made or fetched once are kept."""

from __future__ import annotations

import os
from pathlib import Path

from brainkit.options import checked_path


def home() -> Path:
    """Return the folder for caches and weights: `BRAINKIT_HOME`, or the user's cache folder.

    Raises:
        UsageError: the variable names the home of nobody.
    """
    import platformdirs

    chosen = os.environ.get("BRAINKIT_HOME")
    if chosen:
        return checked_path(chosen, "BRAINKIT_HOME")
    return Path(platformdirs.user_cache_dir("brainkit"))
