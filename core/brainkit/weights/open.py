"""Open files with weights without reading them whole, and write a safetensors file likewise.

Pickled files are opened in this process, so only a confined one (`brainkit.weights.confined`) is to
call this. Their opcodes are followed as data first (`brainkit.weights.torchfile`), then
`torch.load(weights_only=True)` reads them; there is no other way in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from brainkit.checkpoints.safetensors import SIZES, Entry, Header, check_header, read_header
from brainkit.checkpoints.shards import INDEX, read_index
from brainkit.errors import CheckpointError
from brainkit.weights.archives import DamagedError, RefusedError
from brainkit.weights.pickle import CodeError
from brainkit.weights.torchfile import check_file

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["SIZES", "Entry", "WeightFile", "check_header", "open_weights", "write_safetensors"]

PICKLES = (".ckpt", ".bin", ".pt", ".pth", ".tar")
WRAPPERS = ("state_dict", "model", "net")
"""Where training programs put the tensors, when they are not at the top."""


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


@contextmanager
def open_weights(path: Path) -> Iterator[WeightFile]:
    """Open a file with weights: `.safetensors`, an `.index.json` of several, or a pickled one.

    Raises:
        CheckpointError: the file is missing, damaged, of another kind, or asks for code to be run.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}; check the path or download it again")
    _refuse_placeholder(path)
    with ExitStack() as stack:
        if path.name.endswith(INDEX):
            yield _joint(path, stack)
        elif path.suffix == ".safetensors":
            header = read_header(path)
            yield _safetensors(path, header, stack.enter_context(open(path, "rb")))
        elif path.suffix in PICKLES:
            yield _pickled(path)
        else:
            raise CheckpointError(
                f"{path} is no file with weights, whose names end in .safetensors or "
                f"{', '.join(PICKLES)}; give one of these or the folder it belongs to"
            )


def _refuse_placeholder(path: Path) -> None:
    """Refuse what is often saved in place of weights: a page of a web site, or git's pointer."""
    with open(path, "rb") as file:
        begin = file.read(64).lstrip().lower()
    if begin.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise CheckpointError(
            f"{path} is a web page saved under the name of the weights, such as a request to log "
            "in or to confirm; open the address in a browser and download the file itself"
        )
    if begin.startswith(b"version https://git-lfs"):
        raise CheckpointError(
            f"{path} is a pointer of git-lfs in place of the weights; run `git lfs pull` where it "
            "was cloned, or download the file itself"
        )


def _safetensors(path: Path, header: Header, file: BinaryIO) -> WeightFile:
    def read(name: str) -> bytes:
        begin, end = header.places[name]
        file.seek(begin)
        content = file.read(end - begin)
        if len(content) < end - begin:
            raise CheckpointError(
                f"{path} was cut off while it was read; download or copy it again"
            )
        return content

    return WeightFile(path, header.entries, read)


def _joint(path: Path, stack: ExitStack) -> WeightFile:
    """Open all files of an index; a tensor that two of them have is taken as listed.

    Raises:
        CheckpointError: a file lacks a tensor that is listed in it.
    """
    listed = read_index(path)
    files = {each: stack.enter_context(open_weights(each)) for each in sorted({*listed.values()})}
    absent = sorted(name for name, each in listed.items() if name not in files[each].entries)
    if absent:
        raise CheckpointError(
            f"{path} lists {', '.join(f'{n} in {listed[n].name}' for n in absent)}, but it is not "
            "there; download these files again"
        )
    places = {name: file for file in files.values() for name in file.entries}
    places |= {name: files[each] for name, each in listed.items()}
    entries = {name: file.entries[name] for name, file in places.items()}
    return WeightFile(path, entries, lambda name: places[name].read(name), tuple(files))


def _pickled(path: Path) -> WeightFile:
    import torch

    try:
        mapped = check_file(path)
        tensors = _named(torch.load(path, "cpu", weights_only=True, mmap=mapped))
    except CodeError as error:
        raise _refused(path, f"{error}, code that loading would run") from error
    except RefusedError as error:
        raise _refused(path, f"{error}, which no file with weights has") from error
    except Exception as error:
        # Damaged files raise whatever their bytes happen to spell.
        raise _damaged(path, error) from error
    entries = {name: Entry(_dtype(each), tuple(each.shape)) for name, each in tensors.items()}
    return WeightFile(path, entries, partial(_content, tensors))


def _content(tensors: Mapping[str, Tensor], name: str) -> bytes:
    import torch

    flat = tensors[name].detach().contiguous().reshape(-1)
    content: bytes = flat.view(torch.uint8).numpy().tobytes()
    return content


def _refused(path: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"{path} holds {what}, so it was not read; give the .safetensors file or the diffusers "
        "folder of the same weights"
    )


def _damaged(path: Path, error: Exception) -> CheckpointError:
    said = " ".join(str(error).split()) or type(error).__name__
    if not isinstance(error, DamagedError | _NoTensorsError):
        said = "not what torch writes" if "Weights only load" in said else said.partition(".")[0]
    return CheckpointError(
        f"{path} is not a whole checkpoint ({said[:200]}); download or copy it again"
    )


class _NoTensorsError(ValueError):
    """A file of torch's holds something other than named tensors."""


def _named(loaded: object) -> dict[str, Tensor]:
    """Give the tensors at the top, or where training programs put them."""
    import torch

    if not isinstance(loaded, Mapping):
        raise _NoTensorsError(f"it holds a {type(loaded).__name__} in place of named tensors")
    found = [loaded[name] for name in WRAPPERS if isinstance(loaded.get(name), Mapping)]
    bare = not any(isinstance(each, torch.Tensor) for each in loaded.values())
    inner = found and (bare or found[0] is loaded.get("state_dict"))
    table: Mapping[Any, Any] = found[0] if inner else loaded
    return {str(name): each for name, each in table.items() if isinstance(each, torch.Tensor)}


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
