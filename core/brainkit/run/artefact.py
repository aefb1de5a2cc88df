"""Files of a run: written aside and renamed, each carrying the recipe of what made it.

A recipe names the step, the part with all its options, its distribution, the hashes of its weights
and the stamps of its inputs. The stamp is a hash of the recipe, so it is known before anything is
computed, and a file whose stamp is current need not be made again. Recipes are read from headers
without importing torch or numpy.
"""

from __future__ import annotations

import ast
import json
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainkit.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

LAYOUT = 1
KEY = "brainkit"
SIZES = {"F32": 4, "F16": 2, "I32": 4}


@dataclass(frozen=True)
class Recipe:
    """What made an artefact.

    Attributes:
        step: name of the step, e.g. "features/clip_image".
        made_by: `repr` of each part involved, or another exact description.
        versions: distribution and minor version of each part.
        weights: SHA-256 of each checkpoint.
        inputs: stamp of each artefact or file group that was read.
    """

    step: str
    made_by: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    weights: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def stamp(self) -> str:
        """The first 16 hex digits of a SHA-256 over everything above and the layout version."""
        return sha256(self.text().encode()).hexdigest()[:16]

    def text(self) -> str:
        """Give the recipe as one line of JSON."""
        return json.dumps({"layout": LAYOUT, **asdict(self)}, sort_keys=True)

    def changes(self, old: Mapping[str, Any]) -> str:
        """Say in a few words what differs from an older recipe."""
        said: list[str] = []
        before, now = list(old.get("made_by", [])), list(self.made_by)
        for first, second in zip(before, now, strict=False):
            said += _option_changes(first, second)
        if len(before) != len(now):
            said.append("another set of parts")
        for what, mine in (("weights", self.weights), ("inputs", self.inputs)):
            theirs = old.get(what, {})
            word = "weights of " if what == "weights" else ""
            said += [f"{word}{key} changed" for key in mine if mine[key] != theirs.get(key)]
        if list(old.get("versions", [])) != list(self.versions):
            said.append(f"version {list(old.get('versions', []))} -> {list(self.versions)}")
        if old.get("layout") != LAYOUT:
            said.append("artefact layout changed")
        return ", ".join(said) or "changed"


def _option_changes(before: str, now: str) -> list[str]:
    if before == now:
        return []
    old, new = _fields(before), _fields(now)
    if before.partition("(")[0] != now.partition("(")[0] or not old:
        return [f"{before} -> {now}"]
    return [
        f"{name} {old.get(name)} -> {new.get(name)}"
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    ]


def _fields(text: str) -> dict[str, str]:
    """Split a dataclass repr into its fields; {} for any other text."""
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError):
        return {}
    if not isinstance(tree, ast.Call) or tree.args:
        return {}
    return {each.arg: ast.unparse(each.value) for each in tree.keywords if each.arg}


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` that replaces it if the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".part")
    yield aside
    os.replace(aside, path)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_tensors(path: Path, tensors: Mapping[str, Tensor], recipe: Recipe) -> None:
    """Write named tensors with their recipe in the header, whole or not at all."""
    from safetensors.torch import save_file

    with written_aside(path) as aside:
        save_file(
            {name: tensor.contiguous() for name, tensor in tensors.items()},
            aside,
            metadata={KEY: recipe.text()},
        )


def read_header(path: Path) -> dict[str, Any]:
    """Give the header of a safetensors file, or {} when there is none."""
    try:
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(path.stat().st_size, 100_000_000):
                return {}
            return _table(file.read(length))
    except (OSError, struct.error):
        return {}


def read_recipe(path: Path) -> dict[str, Any]:
    """Give the recipe kept in or beside a file, or {} when it has none."""
    if path.suffix == ".safetensors":
        metadata = read_header(path).get("__metadata__")
        text = metadata.get(KEY, "{}") if isinstance(metadata, dict) else "{}"
    elif path.suffix == ".png":
        text = _png_text(path)
    else:
        beside = sidecar(path)
        text = beside.read_text(encoding="utf-8") if path.is_file() and beside.is_file() else "{}"
    return _table(text)


def _table(text: str | bytes) -> dict[str, Any]:
    try:
        loaded = json.loads(text)
    except (ValueError, TypeError):
        return {}
    return loaded if isinstance(loaded, dict) else {}


def _png_text(path: Path) -> str:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return str(getattr(image, "text", {}).get(KEY, "{}"))
    except OSError:
        return "{}"


def sidecar(path: Path) -> Path:
    """Give the hidden file that keeps the recipe of a file with no room for it."""
    return path.with_name(f".{path.name}.recipe")


def is_current(path: Path, recipe: Recipe) -> bool:
    """Say whether a file was made by exactly this recipe."""
    return bool(read_recipe(path) == json.loads(recipe.text()))


def write_png(path: Path, image: NDArray[np.uint8], recipe: Recipe) -> None:
    """Write uint8 (height, width, 3) as PNG with its recipe."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text(KEY, recipe.text())
    with written_aside(path) as aside:
        Image.fromarray(image).save(aside, format="png", pnginfo=info)


@dataclass(frozen=True)
class Rows:
    """One tensor of a growing file: its name, dtype ("F16", "F32") and full shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class GrowingTensors:
    """A safetensors file filled row by row; a killed run goes on where it stopped.

    The file has its final size and header from the start, under a `.part` name beside a note that
    says how many rows are whole; `finish` renames it.
    """

    def __init__(self, path: Path, tensors: tuple[Rows, ...], recipe: Recipe) -> None:
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

        tensor = next(found for found in self.tensors if found.name == name)
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
        """Give the file its final name."""
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


def _size(tensor: Rows) -> int:
    size = SIZES[tensor.dtype]
    for length in tensor.shape:
        size *= length
    return size


def _header(tensors: tuple[Rows, ...], recipe: Recipe) -> bytes:
    entries: dict[str, Any] = {"__metadata__": {KEY: recipe.text()}}
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
