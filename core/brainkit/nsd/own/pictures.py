"""The pictures of a dataset of one's own: found, named, and brought to one square size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainkit.errors import DataError, UsageError
from brainkit.nsd.files import SIDE_FILE, reading
from brainkit.nsd.stimuli import LARGEST_SIDE

if TYPE_CHECKING:
    from PIL.Image import Image

ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif")
PIXELS = 425
SMALLEST_SIDE = 8
Source = Path | NDArray[Any]
"""A file, or an array (height, width), (height, width, 3) or (..., 4) of uint8."""


@dataclass(frozen=True)
class Pictures:
    """Pictures in the order of their ids.

    Attributes:
        names: of each, distinct.
        sources: of each.
        side: height and width that all are brought to.
    """

    names: tuple[str, ...]
    sources: Sequence[Source]
    side: int

    def arrays(self) -> Iterator[NDArray[np.uint8]]:
        """Return one picture after the other, uint8 (side, side, 3)."""
        for name, source in zip(self.names, self.sources, strict=True):
            if isinstance(source, Path):
                with reading(source):
                    yield _square(_opened(name, source), self.side)
            else:
                yield _square(_opened(name, source), self.side)


def number_of(asked: str | int, numbers: Mapping[str, int]) -> int | None:
    """Return the id of a picture by its name, file name or path, or that id as a text, or None.

    >>> number_of("stimuli/dog.png", {"cat": 0, "dog": 1}), number_of("0", {"cat": 0, "dog": 1})
    (1, 0)
    """
    if isinstance(asked, int | np.integer):
        return int(asked) if 0 <= asked < len(numbers) else None
    plain = asked.replace("\\", "/").rsplit("/", 1)[-1]
    stem = plain[: -len(Path(plain).suffix)] if plain.lower().endswith(ENDINGS) else plain
    for name in (asked, plain, stem):
        if name in numbers:
            return numbers[name]
    # Where pictures are called by numbers, "5" is no other picture's place.
    called = next(iter(numbers), "").isdecimal()
    is_number = asked.isascii() and asked.isdecimal() and int(asked) < len(numbers)
    return int(asked) if is_number and not called else None


def pictures_of(
    sources: Path | NDArray[Any] | Mapping[str, Source], pixels: int | None = None
) -> Pictures:
    """Return the pictures of a folder, of an array or of a table by name.

    Of a folder and those below it all pictures count, in order of their names, which are those of
    the files without ending. Rows of an array (images, height, width, 3) are called by number.

    Args:
        sources: where they are.
        pixels: height and width to bring them to; None keeps them if all are square and of one
            size, and stands for 425 else.

    Raises:
        DataError: there are none, two have one name, or one cannot be read.
        UsageError: `pixels` cannot be.
    """
    named = _named(sources)
    if not named:
        raise DataError(f"{sources} holds no picture ({', '.join(ENDINGS)}); give another folder")
    if pixels is not None and not SMALLEST_SIDE <= pixels <= LARGEST_SIDE:
        raise UsageError(f"pixels is {pixels}, expected {SMALLEST_SIDE} to {LARGEST_SIDE}")
    sizes = {_opened(name, source).size for name, source in named.items()}
    width, height = next(iter(sizes))
    same = len(sizes) == 1 and width == height and SMALLEST_SIDE <= width <= LARGEST_SIDE
    return Pictures(tuple(named), list(named.values()), pixels or (width if same else PIXELS))


def _named(sources: Path | NDArray[Any] | Mapping[str, Source]) -> dict[str, Source]:
    if isinstance(sources, Mapping):
        return dict(sources)
    if not isinstance(sources, Path):
        return {str(number): row for number, row in enumerate(sources)}
    if not sources.is_dir():
        raise DataError(f"there is no folder {sources}; give the folder of the pictures")
    files = (path for path in sources.rglob("*") if path.suffix.lower() in ENDINGS)
    found: dict[str, Source] = {}
    for path in sorted(path for path in files if not path.name.startswith(SIDE_FILE)):
        if path.stem in found:
            raise DataError(
                f"{path} and {found[path.stem]} are both called {path.stem!r}; give each picture a "
                "name of its own"
            )
        found[path.stem] = path
    return dict(sorted(found.items()))


def _opened(name: str, source: Source) -> Image:
    from PIL import Image

    if isinstance(source, Path):
        with reading(source):
            return Image.open(source)
    array = np.asarray(source)
    if (
        array.dtype != np.uint8
        or array.ndim not in (2, 3)
        or array.shape[2:] not in ((), (3,), (4,))
    ):
        raise DataError(
            f"picture {name} is {array.dtype} {array.shape}, expected uint8 (height, width, 3)"
        )
    return Image.fromarray(array)


def _square(picture: Image, side: int) -> NDArray[np.uint8]:
    """Return the middle square of a picture, resized, uint8 (side, side, 3)."""
    from PIL import Image

    colours = picture.convert("RGB")
    edge = min(colours.size)
    left, top = (colours.width - edge) // 2, (colours.height - edge) // 2
    middle = colours.crop((left, top, left + edge, top + edge))
    if edge != side:
        middle = middle.resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(middle)
