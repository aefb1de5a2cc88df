"""For tests of a release: what `brainkit fetch --from` does, without lock and record."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from brainkit.weights import Config, Release
from brainkit.weights.conversion import Conversion, conversions
from brainkit.weights.writing import write


def converted(
    releases: Sequence[Release], place: Path, store: Path, config: Config | None = None
) -> list[Conversion]:
    """Convert what a file or folder holds of some networks.

    Args:
        releases: of the networks.
        place: the file or folder.
        store: folder that gets one folder for each checkpoint; for a `CheckpointStore`.
        config: of networks of other sizes than the published ones.

    Raises:
        CheckpointError: as `brainkit.weights.conversion.conversions`.
    """
    with ExitStack() as stack:
        found = conversions(releases, [place], config, stack)
        for each in found:
            folder = store / each.checkpoint
            folder.mkdir(parents=True)
            write(each, folder)
    return found
