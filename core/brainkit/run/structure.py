"""What can be told of a file from itself: its header, and whether it is whole."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
"""The last chunk of a PNG file."""
LARGEST_HEADER = 100_000_000
"""Bytes that a header has at most, as safetensors' own library has it."""


def read_header(path: Path) -> dict[str, Any]:
    """Return the header of a safetensors file, or {} when there is none."""
    try:
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(path.stat().st_size, LARGEST_HEADER):
                return {}
            return json_object(file.read(length))
    except (OSError, struct.error):
        return {}


def json_object(text: str | bytes) -> dict[str, Any]:
    """Return the JSON object that a text is, or {} when it is none."""
    try:
        value = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def broken(path: Path) -> str:
    """Return how a safetensors or PNG file is not whole, to follow its name; "" if it is.

    Of other files nothing is known.
    """
    if path.suffix == ".safetensors":
        return _broken_tensors(path)
    return _broken_picture(path) if path.suffix == ".png" else ""


def _broken_tensors(path: Path) -> str:
    header = read_header(path)
    try:
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name[:2] != "__"]
        with path.open("rb") as file:
            expected = 8 + struct.unpack("<Q", file.read(8))[0] + max([0, *ends])
    except (TypeError, LookupError, struct.error):
        return "has a damaged header"
    size = path.stat().st_size
    if size < expected:
        return cut_off(size, expected)
    return f"has {size} bytes, but its header speaks of {expected}" if size > expected else ""


def cut_off(size: int, expected: int) -> str:
    """Say that a file has fewer bytes than it should."""
    return f"is cut off: {size} of {expected} bytes"


def _broken_picture(path: Path) -> str:
    from PIL import Image

    # Pillow is content with a picture whose last chunk is missing.
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - len(PNG_END)))
        if file.read() != PNG_END:
            return f"is cut off or longer than its picture ({size} bytes)"
    try:
        with Image.open(path) as picture:
            picture.load()
    except OSError as error:
        # Of the system, and not of Pillow, which gives no number.
        if error.errno is not None:
            raise
        return "cannot be decoded"
    except Exception:  # Pillow's readers raise whatever they stumble over
        return "cannot be decoded"
    return ""
