"""Pictures as data URIs, small enough that a page of a thousand images stays one usable file."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from brainkit.errors import DataError
from brainkit.report.data import Picture

PAGE_BYTES = 26_000_000
"""All pictures together before base64, which adds a third: a page of about 35 MB at most."""
SIDES = (96, 384)
"""Smallest and largest width or height in pixels that a picture is reduced to."""
FRAME_SIDE, FRAME_BYTES = 96, 4000
"""Width or height in pixels, and bytes, of a frame of a refinement."""
BYTES_PER_PIXEL = 0.28
"""What a photograph takes as JPEG at quality 82."""


@dataclass(frozen=True)
class Size:
    """How large one picture may be."""

    side: int
    n_bytes: int


def size_for(n_pictures: int, *, page_bytes: int = PAGE_BYTES) -> Size:
    """Share the page among its pictures.

    >>> size_for(30).side, size_for(3 * 982).side
    (384, 177)
    """
    n_bytes = page_bytes // max(n_pictures, 1)
    side = int(math.sqrt(n_bytes / BYTES_PER_PIXEL))
    return Size(min(max(side, SIDES[0]), SIDES[1]), n_bytes)


def data_uri(picture: Picture, size: Size) -> str:
    """Return a picture as a data URI: PNG where it fits unreduced, else reduced JPEG.

    Raises:
        DataError: the file is missing or is no picture.
    """
    image = _opened(picture)
    if max(image.size) <= size.side:
        exact = _encoded(image, "PNG", optimize=True)
        if len(exact) <= size.n_bytes:
            return _uri("png", exact)
    image.thumbnail((size.side, size.side))
    encoded = b""
    for quality in (82, 70, 55, 40):
        encoded = _encoded(image, "JPEG", quality=quality)
        if len(encoded) <= size.n_bytes:
            break
    return _uri("jpeg", encoded)


def parted(strip: Picture, n_frames: int) -> list[str]:
    """Return each frame of a strip of equally wide ones as a data URI.

    Raises:
        DataError: the file is missing or is no picture.
    """
    image = _opened(strip)
    width = image.width / n_frames
    edges = [round(frame * width) for frame in range(n_frames + 1)]
    size = Size(FRAME_SIDE, FRAME_BYTES)
    cut = (image.crop((left, 0, right, image.height)) for left, right in pairwise(edges))
    return [data_uri(_encoded(frame, "PNG"), size) for frame in cut]


def _opened(picture: Any) -> Any:
    from PIL import Image, UnidentifiedImageError

    try:
        if isinstance(picture, Path):
            return Image.open(picture).convert("RGB")
        if isinstance(picture, bytes):
            return Image.open(io.BytesIO(picture)).convert("RGB")
        return Image.fromarray(picture).convert("RGB")
    except (OSError, UnidentifiedImageError, TypeError, AttributeError) as error:
        shown = picture if isinstance(picture, Path) else f"{type(picture).__name__}"
        raise DataError(
            f"{shown} is not a picture the report can show ({error}); "
            "delete it and run again to make it anew"
        ) from error


def _encoded(image: Any, kind: str, **how: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def _uri(kind: str, encoded: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(encoded).decode('ascii')}"
