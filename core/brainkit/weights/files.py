"""Open files with weights without reading them whole, and write a safetensors file likewise.

Pickled files are opened in this process, so only a confined one (`brainkit.weights.confined`) is to
call this; `torch.load(weights_only=True)` reads them.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from brainkit.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

PICKLES = (".ckpt", ".bin", ".pt", ".pth", ".tar")
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
"""Bytes of a number, of the dtypes that weights have."""


class Entry(NamedTuple):
    """A tensor's dtype, in safetensors' words, and its shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes of the tensor; only for dtypes that weights have."""
        return SIZES[self.dtype] * prod(self.shape)


class WeightFile(NamedTuple):
    """An open file with named tensors.

    Attributes:
        path: where it lies.
        entries: dtype and shape of every tensor.
        read: gives the bytes of one, row-major and little-endian.
    """

    path: Path
    entries: Mapping[str, Entry]
    read: Callable[[str], bytes]


@contextmanager
def open_weights(path: Path) -> Iterator[WeightFile]:
    """Open a file with weights: `.safetensors`, its `.index.json`, or a pickled one.

    Raises:
        CheckpointError: the file is missing, damaged, of another kind, or asks for code to be run.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}; check the path or download it again")
    if path.suffix == ".safetensors":
        with _safetensors(path) as opened:
            yield opened
    elif path.suffix in PICKLES:
        yield _pickled(path)
    else:
        raise CheckpointError(
            f"{path} is no file with weights, whose names end in .safetensors or "
            f"{', '.join(PICKLES)}; give one of these or the folder it belongs to"
        )


@contextmanager
def _safetensors(path: Path) -> Iterator[WeightFile]:
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
            entries = {n: Entry(s.get_dtype(), tuple(s.get_shape())) for n, s in slices.items()}

            def read(name: str) -> bytes:
                flat = opened.get_tensor(name).reshape(-1)
                content: bytes = flat.view(torch.uint8).numpy().tobytes()
                return content

            yield WeightFile(path, entries, read)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is not a whole safetensors file ({error}); download or copy it again"
        ) from error


def _pickled(path: Path) -> WeightFile:
    import torch

    try:
        mapped = zipfile.is_zipfile(path)
        tensors = _named(torch.load(path, "cpu", weights_only=True, mmap=mapped))
    except CheckpointError:
        raise
    except Exception as error:
        # Damaged files raise whatever their bytes happen to spell.
        raise _refused(path, str(error).strip() or type(error).__name__) from error
    entries = {name: Entry(_dtype(each), tuple(each.shape)) for name, each in tensors.items()}

    def read(name: str) -> bytes:
        flat = tensors[name].detach().contiguous().reshape(-1)
        content: bytes = flat.view(torch.uint8).numpy().tobytes()
        return content

    return WeightFile(path, entries, read)


def _refused(path: Path, error: str) -> CheckpointError:
    refused = re.search(r"GLOBAL ([\w.]+)", error)
    if refused:
        return CheckpointError(
            f"{path} holds {refused[1]}, code that loading would run, so it was not read; "
            "give the .safetensors file or the diffusers folder of the same weights"
        )
    foreign = error.startswith("Weights only load failed")
    reason = "not what torch writes" if foreign else error.partition(".")[0]
    return CheckpointError(
        f"{path} is not a whole checkpoint ({reason}); download or copy it again"
    )


def _named(loaded: object) -> dict[str, Tensor]:
    """Give the tensors under `state_dict`, where training programs put them, or at the top."""
    import torch

    if isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, Mapping):
        raise ValueError(f"it holds a {type(loaded).__name__} in place of named tensors")
    return {str(name): each for name, each in loaded.items() if isinstance(each, torch.Tensor)}


def _dtype(tensor: Tensor) -> str:
    """Name a tensor's dtype as safetensors does, or anything else about it that is unusual."""
    import torch

    known = {
        torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
        torch.int64: "I64",
    }  # fmt: skip
    plain = tensor.layout is torch.strided and tensor.device.type == "cpu"
    return known.get(tensor.dtype, str(tensor.dtype)) if plain else f"{tensor.layout} tensor"


def write_safetensors(
    path: Path,
    entries: Mapping[str, Entry],
    read: Callable[[str], bytes],
    metadata: Mapping[str, str] | None = None,
    progress: Callable[[int], Any] = lambda size: None,
) -> None:
    """Write a safetensors file tensor by tensor, holding one at a time in memory.

    Args:
        path: written in place; the caller renames it once whole.
        entries: dtype and shape of each tensor.
        read: gives the bytes of a tensor by name.
        metadata: for the file's header.
        progress: is told the bytes of each tensor once it is written.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt", **(metadata or {})}}
    start, names = 0, sorted(entries, key=lambda n: (-SIZES[entries[n].dtype], n))
    for name in names:
        entry = entries[name]
        places = [start, start := start + entry.size]
        header[name] = {"dtype": entry.dtype, "shape": list(entry.shape), "data_offsets": places}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # numbers begin at a multiple of 8 bytes
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            file.write(read(name))
            progress(entries[name].size)
