"""An open file with named tensors, whatever its format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from brainkit.checkpoints.safetensors import Entry
from brainkit.weights.state_dict import prefix


class WeightFile(NamedTuple):
    """An open file with named tensors.

    Attributes:
        path: where it lies.
        entries: dtype and shape of every tensor.
        read: gives the bytes of one, row-major and little-endian.
        shards: the files of those that `path` is the index of.
        keys: of a pickled table in which no tensors were found.
    """

    path: Path
    entries: Mapping[str, Entry]
    read: Callable[[str], bytes]
    shards: tuple[Path, ...] = ()
    keys: tuple[str, ...] = ()

    @property
    def unwrapped(self) -> WeightFile:
        """The same without what DataParallel or torch.compile put before every name."""
        if not (before := prefix(self.entries)):
            return self
        entries = {name.removeprefix(before): each for name, each in self.entries.items()}
        return self._replace(entries=entries, read=lambda name: self.read(before + name))
