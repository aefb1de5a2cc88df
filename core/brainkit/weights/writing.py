"""Write a conversion as the store keeps checkpoints, refusing numbers that are not finite."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from brainkit.checkpoints import WEIGHTS
from brainkit.checkpoints.finite import count_unfinite
from brainkit.checkpoints.safetensors import SIZES, write_safetensors
from brainkit.errors import CheckpointError
from brainkit.weights.conversion import Conversion


def write(
    conversion: Conversion, aside: Path, progress: Callable[[int], Any] = lambda size: None
) -> None:
    """Write a checkpoint's files into a folder beside its place.

    Args:
        conversion: without differences.
        aside: an empty folder, which the caller renames once all is whole.
        progress: is told the bytes of each tensor once it is written.

    Raises:
        CheckpointError: a tensor has a number that is NaN or infinite.
    """
    config = json.dumps(dict(conversion.config), indent=2, sort_keys=True) + "\n"
    (aside / "config.json").write_text(config, encoding="utf-8")
    for path, content in conversion.companions.items():
        (aside / path).parent.mkdir(parents=True, exist_ok=True)
        (aside / path).write_bytes(content)
    metadata = {"layout": conversion.layout, **conversion.metadata}
    read = _finite(conversion)
    write_safetensors(aside / WEIGHTS, conversion.entries, read, metadata, progress)


def _finite(conversion: Conversion) -> Callable[[str], bytes]:
    """Return what reads tensors, and refuses those with a number that is NaN or infinite."""

    def read(name: str) -> bytes:
        content, entry = conversion.read(name), conversion.entries[name]
        if count := count_unfinite(content, entry.dtype):
            where = " and ".join(map(str, conversion.files))
            raise CheckpointError(
                f"{where} has {count} numbers of {len(content) // SIZES[entry.dtype]} in tensor "
                f"{name} of {conversion.checkpoint} that are NaN or infinite; download it again, "
                "or give the file of another step or precision"
            )
        return content

    return read
