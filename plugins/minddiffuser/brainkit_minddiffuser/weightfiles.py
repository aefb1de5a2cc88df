"""Open files with weights without reading them whole, and write a safetensors file likewise."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from math import prod
from pathlib import Path
from typing import IO, NamedTuple

from brainkit.errors import CheckpointError

PICKLES = (".ckpt", ".bin", ".pt", ".pth")
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
    """Open a `.safetensors` file, or a pickled one in a child process that runs none of its code.

    Raises:
        CheckpointError: the file is missing, damaged, of another kind, or asks for code to be run.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}; check the path or download it again")
    if path.suffix == ".safetensors":
        with _safetensors(path) as opened:
            yield opened
    elif path.suffix in PICKLES:
        with _pickled(path) as opened:
            yield opened
    else:
        raise CheckpointError(
            f"{path} is no file with weights, whose names end in .safetensors or "
            f"{', '.join(PICKLES)}; give one of these or a diffusers folder"
        )


@contextmanager
def _safetensors(path: Path) -> Iterator[WeightFile]:
    with ExitStack() as stack:
        yield _opened(path, stack)


def _opened(path: Path, stack: ExitStack) -> WeightFile:
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        opened = stack.enter_context(safe_open(path, framework="pt"))
        slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is not a whole safetensors file ({error}); download or copy it again"
        ) from error
    entries = {n: Entry(s.get_dtype(), tuple(s.get_shape())) for n, s in slices.items()}

    def read(name: str) -> bytes:
        flat = opened.get_tensor(name).reshape(-1)
        content: bytes = flat.view(torch.uint8).numpy().tobytes()
        return content

    return WeightFile(path, entries, read)


@contextmanager
def _pickled(path: Path) -> Iterator[WeightFile]:
    script = Path(__file__).with_name("unpickle.py")
    command = [sys.executable, "-P", str(script), str(path.resolve())]
    pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nowhere) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        asked, answer = child.stdin, child.stdout
        try:
            entries = _entries(path, answer)

            def read(name: str) -> bytes:
                asked.write(json.dumps(name).encode() + b"\n")
                asked.flush()
                return _exactly(path, answer, entries[name].size)

            yield WeightFile(path, entries, read)
        finally:
            child.kill()


def _entries(path: Path, answer: IO[bytes]) -> dict[str, Entry]:
    try:
        said = json.loads(answer.readline())
    except ValueError as error:
        raise CheckpointError(
            f"{path} could not be read, the process that read it stopped; download it again"
        ) from error
    if "refused" in said:
        raise CheckpointError(
            f"{path} holds {said['refused']}, code that loading would run, so it was not read; "
            "give the .safetensors file or the diffusers folder of the same weights"
        )
    if "damaged" in said:
        raise CheckpointError(
            f"{path} is not a whole checkpoint ({said['damaged']}); download or copy it again"
        )
    return {name: Entry(dtype, tuple(shape)) for name, (dtype, shape) in said["tensors"].items()}


def _exactly(path: Path, answer: IO[bytes], size: int) -> bytes:
    content = answer.read(size)
    if len(content) < size:
        raise CheckpointError(f"{path} ended within a tensor; download or copy it again")
    return content


def write_safetensors(
    path: Path, entries: Mapping[str, Entry], read: Callable[[str], bytes]
) -> None:
    """Write a safetensors file tensor by tensor, holding one at a time in memory.

    Args:
        path: written in place; the caller renames it once whole.
        entries: dtype and shape of each tensor.
        read: gives the bytes of a tensor by name.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
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
