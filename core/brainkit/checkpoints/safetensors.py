"""Safetensors files: checked before a byte is made room for, read and written tensor by tensor.

Everything the header says is compared with the file: nothing is allocated by its word. The rules
are the format's own (https://github.com/huggingface/safetensors, README and tests), with two that
its library leaves out: no name twice, and the header begins with its brace.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import pairwise
from math import prod
from pathlib import Path
from reprlib import Repr
from typing import Any, BinaryIO, NamedTuple, NoReturn

from brainkit.errors import CheckpointError, enumerated

MAX_HEADER = 25_000_000
"""Bytes of a header, a quarter of the format's own limit; 3000 tensors take about 400,000."""
MAX_TENSORS = 100_000
MAX_AXES = 64
MAX_NUMBER = 2**63 - 1
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
"""Bytes of a number, of the dtypes that weights have."""
BITS = {
    **{name: 8 * size for name, size in SIZES.items()},
    **{"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8},
    **{"F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16},
    **{"I32": 32, "U32": 32, "I64": 64, "U64": 64, "C64": 64},
}
"""Bits of a number, of every dtype of the format."""
METADATA = "__metadata__"
INDEX = ".index.json"
"""Ends the names of files that list in which of several files each tensor lies."""
FIELDS = ("dtype", "shape", "data_offsets")


class Entry(NamedTuple):
    """A tensor's dtype, in safetensors' words, and its shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes of the tensor; only for dtypes that weights have."""
        return SIZES[self.dtype] * prod(self.shape)


class SafetensorsHeader(NamedTuple):
    """What the header of a whole safetensors file says.

    Attributes:
        entries: dtype and shape of every tensor.
        places: first byte in the file, and the one behind the last, of every tensor.
        metadata: texts by name.
    """

    entries: dict[str, Entry]
    places: dict[str, tuple[int, int]]
    metadata: dict[str, str]


def check_header(path: Path) -> dict[str, Entry]:
    """Return dtype and shape of every tensor of a safetensors file, reading only its header.

    Raises:
        CheckpointError: the file cannot be read or breaks a rule of the format; the message says
            which, with the tensor, the value met and what was expected.
    """
    return read_header(path).entries


def read_header(path: Path) -> SafetensorsHeader:
    """Return the header of a safetensors file after checking it against the file's length.

    Raises:
        CheckpointError: as of `check_header`.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = _length(file.read(8), size)
            text = file.read(length)
        return _header(_parsed(text), 8 + length, size)
    except OSError as error:
        why = f"it cannot be read: {error.strerror or error}"
        raise _damaged(path, why) from error
    except _FaultError as fault:
        raise _damaged(path, str(fault)) from fault


def _damaged(path: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is not a whole safetensors file ({why}); download or copy it again"
    )


class _FaultError(ValueError):
    """A rule of the format that a file breaks."""


def _length(first: bytes, size: int) -> int:
    if size == 0:
        raise _FaultError("it is empty")
    if len(first) < 8:
        raise _FaultError(f"it has {size} bytes, expected at least 8 with the length of its header")
    length = int.from_bytes(first, "little")
    if length > MAX_HEADER:
        raise _FaultError(
            f"its header is said to have {length} bytes, at most {MAX_HEADER} are allowed"
        )
    if length > size - 8:
        raise _FaultError(
            f"its header is said to have {length} bytes, but only {size - 8} follow; it was cut off"
        )
    if length < 2:
        raise _FaultError(
            f"its header is said to have {length} bytes, expected at least the 2 of {{}}"
        )
    return length


def _parsed(text: bytes) -> dict[str, Any]:
    if text[:1] != b"{":
        raise _FaultError(f"its header begins with {text[:1]!r}, expected an opening brace")
    _check_counts(text)
    try:
        parsed = json.loads(text.decode(), object_pairs_hook=_table, parse_constant=_constant)
    except _FaultError:
        raise
    except UnicodeDecodeError as error:
        raise _FaultError(f"byte {error.start} of its header is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise _FaultError(
            f"its header is not JSON: {error.msg} at character {error.pos}"
        ) from error
    except (ValueError, RecursionError, MemoryError) as error:
        kinds = {RecursionError: "nested too deeply", MemoryError: "larger than the memory"}
        kind = kinds.get(type(error), "not JSON: it has a number of thousands of digits")
        raise _FaultError(f"its header is {kind}") from error
    if type(parsed) is not dict:
        raise _FaultError("its header is not a table of tensors")
    return parsed


def _check_counts(text: bytes) -> None:
    """Refuse a header with more values than are made of it within a second, before any is."""
    for sign, most, what in (
        (b"{", MAX_TENSORS + 2, f"more than {MAX_TENSORS} tensors"),
        (b"[", 2 * MAX_TENSORS, f"more than {2 * MAX_TENSORS} lists"),
        (b",", 12 * MAX_TENSORS, f"more than {12 * MAX_TENSORS} values"),
    ):
        if text.count(sign) > most:
            raise _FaultError(f"its header has {what}")


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise _FaultError(f"its header has {quoted(twice)} twice")
    return found


def _constant(word: str) -> NoReturn:
    raise _FaultError(f"its header is not JSON: it has the word {word}")


def _header(parsed: Mapping[str, Any], start: int, size: int) -> SafetensorsHeader:
    metadata = parsed.get(METADATA)
    if metadata is not None and type(metadata) is not dict:
        raise _FaultError(f"{METADATA} is {quoted(metadata)}, expected texts by name")
    for name, value in (metadata or {}).items():
        if type(value) is not str:
            raise _FaultError(f"{quoted(name)} in {METADATA} is {quoted(value)}, expected a text")
    entries, places = {}, {}
    for name, value in parsed.items():
        if name != METADATA:
            entries[name], places[name] = _tensor(name, value)
    _check_places(places, size - start)
    moved = {name: (begin + start, end + start) for name, (begin, end) in places.items()}
    return SafetensorsHeader(entries, moved, metadata or {})


def _tensor(name: str, value: Any) -> tuple[Entry, tuple[int, int]]:
    """Return a tensor's entry, and its bytes' place in what follows the header."""
    who = f"tensor {quoted(name)}"
    if type(value) is not dict:
        raise _FaultError(f"{who} is {quoted(value)}, expected a table with {', '.join(FIELDS)}")
    if missing := [each for each in FIELDS if each not in value]:
        raise _FaultError(f"{who} lacks its {' and '.join(missing)}")
    dtype, shape, offsets = (value[each] for each in FIELDS)
    if type(dtype) is not str or dtype not in BITS:
        raise _FaultError(f"{who} has the dtype {quoted(dtype)}, expected one of {', '.join(BITS)}")
    _check_numbers(f"{who} has the shape", shape)
    if len(shape) > MAX_AXES:
        raise _FaultError(f"{who} has {len(shape)} axes, at most {MAX_AXES} are allowed")
    _check_numbers(f"{who} has the offsets", offsets)
    if len(offsets) != 2:
        raise _FaultError(f"{who} has the offsets {quoted(offsets)}, expected two numbers")
    begin, end = offsets
    if end < begin:
        raise _FaultError(f"{who} ends at {end}, before it begins at {begin}")
    if end - begin != (expected := _bytes(who, dtype, shape)):
        raise _FaultError(
            f"{who} has {end - begin} bytes by its offsets, expected {expected} of {dtype} and "
            f"shape {quoted(shape)}"
        )
    return Entry(dtype, tuple(shape)), (begin, end)


def _check_numbers(said: str, numbers: Any) -> None:
    whole = type(numbers) is list and all(type(number) is int for number in numbers)
    if not whole or not all(0 <= number <= MAX_NUMBER for number in numbers):
        raise _FaultError(f"{said} {quoted(numbers)}, expected whole numbers from 0 to 2^63 - 1")


def _bytes(who: str, dtype: str, shape: list[int]) -> int:
    count = 0 if 0 in shape else 1
    for number in shape if count else ():
        count *= number
        if count > MAX_NUMBER:
            raise _FaultError(f"{who} has the shape {quoted(shape)}, more than 2^63 - 1 numbers")
    if count * BITS[dtype] % 8:
        raise _FaultError(f"{who} has {count} numbers of {dtype}, which end within a byte")
    return count * BITS[dtype] // 8


def _check_places(places: Mapping[str, tuple[int, int]], size: int) -> None:
    """Check that tensors follow one another without gaps, up to the end of the file."""
    ordered = sorted(places.items(), key=lambda item: item[1])
    for (before, (_, last)), (name, (begin, _)) in pairwise([("", (0, 0)), *ordered]):
        if begin < last:
            raise _FaultError(
                f"tensor {quoted(name)} begins at {begin}, within tensor {quoted(before)}, which "
                f"ends at {last}"
            )
        if begin > last:
            whose = f"tensor {quoted(before)} ends" if before else "the first has to be"
            raise _FaultError(
                f"tensor {quoted(name)} begins at {begin}, but {whose} at {last}: a hole"
            )
    end = max((end for _, end in places.values()), default=0)
    if end > size:
        last_name = max(places, key=lambda name: places[name][1])
        raise _FaultError(
            f"tensor {quoted(last_name)} ends at {end}, but {size} bytes follow the header; it was "
            "cut off"
        )
    if end < size:
        raise _FaultError(f"{size - end} bytes follow the last tensor, expected none")


_SHORT = Repr()
_SHORT.maxlevel = 3
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 100


def quoted(value: Any) -> str:
    """Return a value from a file as it may be printed: short, without control characters."""
    if type(value) is str:
        return ascii(value if len(value) <= 100 else f"{value[:100]}...")
    return _SHORT.repr(value).encode("ascii", "backslashreplace").decode()


def read_bytes(file: BinaryIO, place: tuple[int, int]) -> bytes:
    """Return a tensor's bytes from an open file, by their place in it.

    Raises:
        CheckpointError: the file was cut off since its header was read.
    """
    begin, end = place
    file.seek(begin)
    content = file.read(end - begin)
    if len(content) < end - begin:
        raise CheckpointError(
            f"{file.name} was cut off while it was read; download or copy it again"
        )
    return content


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


def read_index(path: Path) -> dict[str, Path]:
    """Return the file of each tensor that an index lists, all of which lie beside it.

    Raises:
        CheckpointError: the index is damaged, a file it names is missing, or its name leads to
            another folder.
    """
    try:
        if path.stat().st_size > MAX_HEADER:
            raise _no_index(path, f"it has more than {MAX_HEADER} bytes")
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _no_index(path, f"it is not JSON: {quoted(str(error))[1:-1]}") from error
    listed = loaded.get("weight_map") if type(loaded) is dict else None
    if type(listed) is not dict or not listed:
        raise _no_index(path, "it has no weight_map with the file of each tensor")
    shards = {file: _shard(path, file) for file in map(_text(path), listed.values())}
    if missing := sorted(name for name, place in shards.items() if not place.is_file()):
        raise CheckpointError(
            f"{path} lists {enumerated(missing)}, which {'is' if len(missing) == 1 else 'are'} not "
            "beside it; download what is missing"
        )
    return {name: shards[file] for name, file in listed.items()}


def _no_index(path: Path, why: str) -> CheckpointError:
    return CheckpointError(f"{path} is not a whole index of weights ({why}); download it again")


def _text(path: Path) -> Any:
    def check(value: Any) -> str:
        if type(value) is not str:
            raise _no_index(path, f"it names the file {quoted(value)}, expected a text")
        return value

    return check


def _shard(path: Path, file: str) -> Path:
    """Return the place of a shard, which is named by a file name and nothing more."""
    plain = file and file.isprintable() and not set(file) & set('/\\:*?"<>|')
    if not plain or file in {".", ".."} or not file.endswith((".safetensors", ".bin")):
        raise CheckpointError(
            f"{path} names the file {quoted(file)}, expected the name of a file with weights "
            "beside it; download it again"
        )
    return path.with_name(file)
