"""Open files with weights without reading them whole.

A new format is a module beside this one, and a line in `FORMATS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from brainkit.checkpoints.limits import check_holes
from brainkit.checkpoints.safetensors import INDEX, Entry, read_bytes, read_header, read_index
from brainkit.errors import CheckpointError, enumerated
from brainkit.weights import torchfile
from brainkit.weights.file import WeightFile

__all__ = ["FORMATS", "READABLE", "Entry", "WeightFile", "open_weights"]


class Format(NamedTuple):
    """A format of files with weights.

    Attributes:
        suffixes: that names of such files end in.
        open: opens one, which the stack closes.
    """

    suffixes: tuple[str, ...]
    open: Callable[[Path, ExitStack], WeightFile]


@contextmanager
def open_weights(path: Path) -> Iterator[WeightFile]:
    """Open a file with weights: `.safetensors`, an `.index.json` of several, or one of torch's.

    Raises:
        CheckpointError: the file is missing, damaged, of another kind, or asks for code to be run.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}; check the path or download it again")
    check_holes(path)
    _refuse_placeholder(path)
    chosen = next((each for each in FORMATS if path.name.endswith(each.suffixes)), None)
    if chosen is None:
        raise CheckpointError(
            f"{path} is no file with weights, whose names end in {', '.join(READABLE)}; give one "
            "of these or the folder it belongs to"
        )
    with ExitStack() as stack:
        yield chosen.open(path, stack)


def _refuse_placeholder(path: Path) -> None:
    """Refuse what is often saved in place of weights: a page of a web site, or git's pointer."""
    with open(path, "rb") as file:
        begin = file.read(64).lstrip().lower()
    if begin.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise CheckpointError(
            f"{path} is a web page saved under the name of the weights, such as a request to log "
            "in or to confirm; open the address in a browser and download the file itself"
        )
    if begin.startswith(b"\x00\x05\x16\x07"):
        raise CheckpointError(
            f"{path} is a side file of macOS in place of the weights; give the file without ._ "
            "before its name"
        )
    if begin.startswith(b"version https://git-lfs"):
        raise CheckpointError(
            f"{path} is a pointer of git-lfs in place of the weights; run `git lfs pull` where it "
            "was cloned, or download the file itself"
        )


def _open_safetensors(path: Path, stack: ExitStack) -> WeightFile:
    header = read_header(path)
    file = stack.enter_context(open(path, "rb"))  # noqa: SIM115 (the stack closes it)
    return WeightFile(path, header.entries, lambda name: read_bytes(file, header.places[name]))


def _open_index(path: Path, stack: ExitStack) -> WeightFile:
    """Open all files of an index; a tensor that two of them have is taken as listed.

    Raises:
        CheckpointError: a file lacks a tensor that is listed in it.
    """
    listed = read_index(path)
    files = {each: stack.enter_context(open_weights(each)) for each in sorted({*listed.values()})}
    absent = sorted(name for name, each in listed.items() if name not in files[each].entries)
    if absent:
        places = enumerated([f"{name} in {listed[name].name}" for name in absent])
        raise CheckpointError(
            f"{path} lists {places}, but it is not there; download these files again"
        )
    holders = {name: file for file in files.values() for name in file.entries}
    holders |= {name: files[each] for name, each in listed.items()}
    entries: Mapping[str, Entry] = {name: file.entries[name] for name, file in holders.items()}
    return WeightFile(path, entries, lambda name: holders[name].read(name), tuple(files))


FORMATS = (
    Format((INDEX,), _open_index),
    Format((".safetensors",), _open_safetensors),
    Format(torchfile.SUFFIXES, torchfile.open_torch),
)
READABLE = tuple(suffix for each in FORMATS for suffix in each.suffixes)
"""What names of files with weights end in."""
