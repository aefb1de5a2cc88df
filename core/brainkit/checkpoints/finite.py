"""Find NaN and infinity in weights, by the bits of their numbers."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path

from brainkit.checkpoints.safetensors import SIZES, quoted, read_bytes, read_header
from brainkit.errors import CheckpointError, enumerated

EXPONENTS = {"F64": 0x7FF << 52, "F32": 0xFF << 23, "F16": 0x1F << 10, "BF16": 0xFF << 7}
"""Bits of the exponent; all of them are set in NaN and in infinity alone (IEEE 754; bfloat16)."""
BLOCK = 1 << 22
"""Bytes that are looked at together."""


def count_unfinite(content: bytes, dtype: str) -> int:
    """Count the numbers that are NaN or infinite.

    Args:
        content: of a tensor, little-endian.
        dtype: in safetensors' words; 0 is returned for those that are no floating point.

    >>> import struct
    >>> count_unfinite(struct.pack("<3f", 1.0, float("nan"), float("-inf")), "F32")
    2
    """
    if dtype not in EXPONENTS:
        return 0
    import numpy as np

    kind = np.dtype(f"<u{SIZES[dtype]}")
    mask = kind.type(EXPONENTS[dtype])
    numbers = np.frombuffer(content, kind)
    blocks = (numbers[at : at + BLOCK] for at in range(0, len(numbers), BLOCK))
    return sum(int(np.count_nonzero((block & mask) == mask)) for block in blocks)


def unfinite_tensors(path: Path) -> Iterator[tuple[str, int, int]]:
    """Return (name, numbers that are NaN or infinite, all numbers) of each tensor that has any.

    Args:
        path: a safetensors file; `BLOCK` bytes of it are held at a time.

    Raises:
        CheckpointError: it is damaged.
    """
    header = read_header(path)
    with open(path, "rb") as file:
        for name, (begin, end) in header.places.items():
            dtype, shape = header.entries[name]
            parts = ((at, min(at + BLOCK, end)) for at in range(begin, end, BLOCK))
            count = sum(count_unfinite(read_bytes(file, part), dtype) for part in parts)
            if count:
                yield name, count, prod(shape)


def unfinite_sentence(path: Path) -> str:
    """Say which tensors of a safetensors file have NaN or infinity, or nothing if none has.

    Raises:
        CheckpointError: it cannot be read or is damaged.
    """
    try:
        counts = list(unfinite_tensors(path))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    found = [f"{quoted(name)} has {count} of {total}" for name, count, total in counts]
    return f"{path.name} has numbers that are NaN or infinite: {enumerated(found)}" if found else ""
