"""An open file with named tensors, whatever its format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from brainkit.checkpoints.safetensors import Entry


class WeightFile(NamedTuple):
    """An open file with named tensors.

    Attributes:
        path: where it lies.
        entries: dtype and shape of every tensor.
        read: gives the bytes of one, row-major and little-endian.
        shards: the files of those that `path` is the index of.
    """

    path: Path
    entries: Mapping[str, Entry]
    read: Callable[[str], bytes]
    shards: tuple[Path, ...] = ()
