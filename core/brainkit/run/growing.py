"""Safetensors files filled row by row, which a killed run goes on with."""

from __future__ import annotations

import json
import os
import struct
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainkit.disk import sync, writing
from brainkit.errors import DataError
from brainkit.run.artefact import RECIPE_KEY, Recipe, write_text

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

    from numpy.typing import NDArray

SIZES = {"F32": 4, "F16": 2, "I32": 4}
PART, NOTE = ".part", ".rows"
"""End the names of a file that grows, and of the note of how far it is."""
BLOCK = 1 << 20
"""Bytes read at a time."""


@dataclass(frozen=True)
class TensorRows:
    """One tensor of a growing file: its name, dtype ("F16", "F32") and full shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class GrowingTensors:
    """A safetensors file filled row by row; a killed run goes on where it stopped.

    The file has its final size and header from the start, under a `.part` name beside a note that
    says how many rows are whole and their SHA-256; `finish` renames it. A file that is not as its
    note says is begun anew.
    """

    def __init__(self, path: Path, tensors: tuple[TensorRows, ...], recipe: Recipe) -> None:
        """Open or continue the file at `path`."""
        self.path, self.tensors = path, tensors
        self._aside = path.with_name(path.name + PART)
        self._note = path.with_name(path.name + NOTE)
        header = _header(tensors, recipe)
        self._offset = len(header)
        self._hashes = {tensor.name: sha256() for tensor in tensors}
        self.done: dict[str, int] = self._continued(header)
        if not self.done:
            self._begin(header)

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
        if start != self.done.get(name, 0):
            self._hashes[name] = self._hashed(tensor, start)
        written = flat.tobytes()
        with writing(self.path), open(self._aside, "r+b") as file:
            file.seek(self._offset + self._begin_of(name) + start * _row_size(tensor))
            file.write(written)
        self._hashes[name].update(written)
        self.done[name] = start + len(flat)
        # Rows reach the disk before the note of them, also when the power fails.
        with writing(self.path):
            sync(self._aside)
        note = {each: [rows, self._hashes[each].hexdigest()] for each, rows in self.done.items()}
        write_text(self._note, json.dumps(note))

    def finish(self) -> None:
        """Rename the file to its final name."""
        with writing(self.path):
            sync(self._aside)
            os.replace(self._aside, self.path)
            self._note.unlink(missing_ok=True)

    def _begin(self, header: bytes) -> None:
        self._hashes = {tensor.name: sha256() for tensor in self.tensors}
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._note.unlink(missing_ok=True)
            self._aside.unlink(missing_ok=True)
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

    def _continued(self, header: bytes) -> dict[str, int]:
        """Return how many rows of each tensor are whole, none unless file and note agree."""
        size = self._offset + sum(_size(tensor) for tensor in self.tensors)
        try:
            if self._aside.stat().st_size != size or self._header() != header:
                return {}
            note = json.loads(self._note.read_bytes())
            done = {
                each.name: int(note[each.name][0]) for each in self.tensors if each.name in note
            }
            for tensor in self.tensors:
                rows = done.get(tensor.name, 0)
                self._hashes[tensor.name] = self._hashed(tensor, rows)
                digest = self._hashes[tensor.name].hexdigest()
                if tensor.name in done and digest != note[tensor.name][1]:
                    return {}
        except (OSError, ValueError, TypeError, LookupError, RecursionError):
            return {}
        return done

    def _header(self) -> bytes:
        with self._aside.open("rb") as file:
            return file.read(self._offset)

    def _hashed(self, tensor: TensorRows, rows: int) -> Hash:
        """Return the SHA-256 of a tensor's first rows in the file, which more can be added to."""
        if not 0 <= rows <= tensor.shape[0]:
            raise ValueError(f"{rows} rows of {tensor.shape[0]}")
        digest, left = sha256(), rows * _row_size(tensor)
        with self._aside.open("rb") as file:
            file.seek(self._offset + self._begin_of(tensor.name))
            while left:
                block = file.read(min(left, BLOCK))
                if not block:
                    raise ValueError(f"{self._aside} is cut off")
                digest.update(block)
                left -= len(block)
        return digest


def _size(tensor: TensorRows) -> int:
    size = SIZES[tensor.dtype]
    for length in tensor.shape:
        size *= length
    return size


def _row_size(tensor: TensorRows) -> int:
    return _size(tensor) // max(tensor.shape[0], 1)


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
