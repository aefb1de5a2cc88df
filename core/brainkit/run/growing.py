"""Safetensors files filled row by row, which a killed run goes on with."""

from __future__ import annotations

import json
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainkit.errors import DataError
from brainkit.run.artefact import RECIPE_KEY, Recipe, read_header, write_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZES = {"F32": 4, "F16": 2, "I32": 4}


@dataclass(frozen=True)
class TensorRows:
    """One tensor of a growing file: its name, dtype ("F16", "F32") and full shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class GrowingTensors:
    """A safetensors file filled row by row; a killed run goes on where it stopped.

    The file has its final size and header from the start, under a `.part` name beside a note that
    says how many rows are whole; `finish` renames it.
    """

    def __init__(self, path: Path, tensors: tuple[TensorRows, ...], recipe: Recipe) -> None:
        """Open or continue the file at `path`."""
        self.path, self.tensors = path, tensors
        self._aside = path.with_name(path.name + ".part")
        self._note = path.with_name(path.name + ".rows")
        header = _header(tensors, recipe)
        self._offset = len(header)
        if read_header(self._aside) != json.loads(header[8:]):
            self._begin(header)
        self.done: dict[str, int] = self._read_note()

    def write(self, name: str, start: int, rows: NDArray[Any]) -> None:
        """Write rows from `start` on and note that everything before their end is whole."""
        import numpy as np

        tensor = next(each for each in self.tensors if each.name == name)
        kind = {"F16": np.float16, "F32": np.float32, "I32": np.int32}[tensor.dtype]
        flat = np.ascontiguousarray(rows, dtype=kind)
        if flat.shape[1:] != tensor.shape[1:]:
            raise DataError(f"{name}: rows of {flat.shape[1:]}, expected {tensor.shape[1:]}")
        if not 0 <= start <= self.done.get(name, 0) or start + len(flat) > tensor.shape[0]:
            raise DataError(
                f"{name}: rows {start} to {start + len(flat)} of {tensor.shape[0]} were given "
                f"when {self.done.get(name, 0)} were whole; write rows in order"
            )
        with open(self._aside, "r+b") as file:
            row_size = _size(tensor) // max(tensor.shape[0], 1)
            file.seek(self._offset + self._begin_of(name) + start * row_size)
            file.write(flat.tobytes())
        self.done[name] = start + len(flat)
        write_text(self._note, json.dumps(self.done))

    def finish(self) -> None:
        """Rename the file to its final name."""
        os.replace(self._aside, self.path)
        self._note.unlink(missing_ok=True)

    def _begin(self, header: bytes) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._note.unlink(missing_ok=True)
        with open(self._aside, "wb") as file:
            file.write(header)
            file.truncate(self._offset + sum(_size(tensor) for tensor in self.tensors))

    def _begin_of(self, name: str) -> int:
        before = 0
        for tensor in self.tensors:
            if tensor.name == name:
                break
            before += _size(tensor)
        return before

    def _read_note(self) -> dict[str, int]:
        try:
            return {str(k): int(v) for k, v in json.loads(self._note.read_text()).items()}
        except (OSError, ValueError):
            return {}


def _size(tensor: TensorRows) -> int:
    size = SIZES[tensor.dtype]
    for length in tensor.shape:
        size *= length
    return size


def _header(tensors: tuple[TensorRows, ...], recipe: Recipe) -> bytes:
    entries: dict[str, Any] = {"__metadata__": {RECIPE_KEY: recipe.text()}}
    position = 0
    for tensor in tensors:
        end = position + _size(tensor)
        entries[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [position, end],
        }
        position = end
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text
