"""Read pictures: a folder of images, or an array in a `.npy`, `.npz`, safetensors or HDF5 file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainkit.errors import BrainkitError, DataError, UsageError, enumerated
from brainkit.evaluate.items import ImageSample, added, item_of, normal

Picture = NDArray[np.uint8]
"""uint8 (height, width, 3)."""
ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
IDS = ("image_ids", "image_id", "nsd_ids", "nsd_id", "ids")
"""What an array of ids may be called."""


def is_pictures(path: Path) -> bool:
    """Say whether a path is read as pictures: a folder, or a file of arrays."""
    return path.is_dir() or path.suffix.lower() in READERS


def read_pictures(
    path: Path,
    *,
    numbered: bool,
    several: bool = False,
    ids: Sequence[str] | None = None,
    array: str | None = None,
) -> dict[ImageSample, Picture]:
    """Return pictures by whose they are.

    Args:
        path: of a folder or file.
        numbered: whether images are told by numbers.
        several: whether there may be several of each image.
        ids: of the pictures in their order, for a folder the order of names; None to find them in
            the names, or in the file.
        array: name of the array in a file that has several.

    Raises:
        UsageError: the kind of file is unknown, or the array is not told.
        DataError: a file is unreadable, of another shape or range, or ids do not fit.
    """
    if path.is_dir():
        return _of_folder(path, numbered=numbered, several=several, ids=ids)
    return _of_arrays(path, _arrays(path), array, ids)


def _arrays(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise DataError(f"there is no {path}; give a folder of pictures or a file of arrays")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise UsageError(
            f"{path.name} is no kind of file that pictures are read from; give a folder, or one of "
            f"{', '.join(READERS)}"
        )
    try:
        return reader(path)
    except BrainkitError:
        raise
    except Exception as error:  # each library raises its own
        raise DataError(
            f"{path} cannot be read ({' '.join(str(error).split())}); write it again"
        ) from error


def read_draws(path: Path, *, array: str | None = None) -> list[Picture]:
    """Return all pictures in a folder or file, whatever images their names tell.

    Raises:
        BrainkitError: as of `read_pictures`.
    """
    if path.is_dir():
        files = _files(path)
        pictures = [_opened(each) for each in files]
        _require_one_size(zip(files, pictures, strict=True))
        return pictures
    arrays = _arrays(path)
    chosen = _chosen(path, arrays, array)
    return list(as_uint8(arrays[chosen], f"{path}: {chosen}")[:, 0])


def _files(folder: Path) -> list[Path]:
    files = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in ENDINGS and not path.name.startswith(".")
    )
    if not files:
        raise DataError(f"{folder} has no pictures ({', '.join(ENDINGS)}); name their folder")
    return files


def _of_folder(
    folder: Path, *, numbered: bool, several: bool, ids: Sequence[str] | None
) -> dict[ImageSample, Picture]:
    files = _files(folder)
    if ids is not None:
        _require_as_many(ids, len(files), f"{folder} has", "pictures")
    given: dict[ImageSample, Picture] = {}
    for row, path in enumerate(files):
        item = item_of(path.stem, numbered=numbered, several=several) if ids is None else None
        added(given, item or ImageSample(str((ids or ())[row]), 1), _opened(path), str(path))
    _require_one_size(zip(files, given.values(), strict=True))
    return given


def _opened(path: Path) -> Picture:
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
            return _converted(path, image)
    except DataError:
        raise
    except Exception as error:  # Pillow's readers raise whatever they stumble over
        raise DataError(
            f"{path} is not a picture that can be read ({error}); make it anew"
        ) from error


def _converted(path: Path, image: Any) -> Picture:
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        raise DataError(f"{path} has {image.mode} pixels, expected 8 bits a channel; convert it")
    if image.has_transparency_data and image.convert("RGBA").getextrema()[3][0] < 255:
        raise DataError(
            f"{path} is transparent in places, which has no colour; lay it on one first"
        )
    return np.asarray(image.convert("RGB"))


def _require_one_size(pictures: Iterable[tuple[Path, Picture]]) -> None:
    (first, shown), *rest = pictures
    for path, other in rest:
        if other.shape != shown.shape:
            sizes = [f"{width} x {height}" for height, width, _ in (shown.shape, other.shape)]
            raise DataError(
                f"{first} has {sizes[0]} pixels but {path} has {sizes[1]}; bring all to one size"
            )


def _npy(path: Path) -> dict[str, Any]:
    return {path.stem: np.load(path, allow_pickle=False, mmap_mode="r")}


def _npz(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _safetensors(path: Path) -> dict[str, Any]:
    from safetensors.numpy import load_file

    return dict(load_file(path))


def _hdf5(path: Path) -> dict[str, Any]:
    import h5py

    with h5py.File(path, "r", locking=False) as file:
        return {name: each[()] for name, each in file.items() if isinstance(each, h5py.Dataset)}


READERS: Mapping[str, Callable[[Path], dict[str, Any]]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".safetensors": _safetensors,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
}


def _of_arrays(
    path: Path, arrays: Mapping[str, Any], name: str | None, ids: Sequence[str] | None
) -> dict[ImageSample, Picture]:
    chosen = _chosen(path, arrays, name)
    pictures = as_uint8(arrays[chosen], f"{path}: {chosen}")
    if ids is None:
        ids = _own_ids(path, arrays)
    _require_as_many(ids, len(pictures), f"{path}: {chosen} has", "images")
    given: dict[ImageSample, Picture] = {}
    for image, of_image in zip(ids, pictures, strict=True):
        for sample, picture in enumerate(of_image, start=1):
            added(given, ImageSample(image, sample), picture, f"{path}: a row of image {image}")
    return given


def _chosen(path: Path, arrays: Mapping[str, Any], name: str | None) -> str:
    if name is not None and name not in arrays:
        raise UsageError(f"--array is {name!r}, but {path} has {enumerated(sorted(arrays))}")
    fitting = [each for each, array in arrays.items() if np.ndim(array) in (4, 5)]
    if name is None and len(fitting) != 1:
        shapes = [f"{each} {np.shape(array)}" for each, array in arrays.items()]
        raise DataError(
            f"{path} has {len(fitting)} arrays that may be pictures, (images, height, width, 3), "
            f"among {enumerated(shapes) or 'none'}; name one with --array"
        )
    return name or fitting[0]


def _own_ids(path: Path, arrays: Mapping[str, Any]) -> list[str]:
    name = next((each for each in IDS if each in arrays), None)
    if name is None:
        raise DataError(
            f"{path} does not tell whose its pictures are; give their ids in order with --ids, or "
            f"put an array {IDS[0]!r} beside them"
        )
    return ids_of(arrays[name], f"{path}: {name}")


def ids_of(array: Any, where: str) -> list[str]:
    """Return an array of ids or names as texts.

    Raises:
        DataError: it is no list of whole numbers or texts.
    """
    ids = np.asarray(array)
    if ids.ndim == 2 and 1 in ids.shape:
        ids = ids.ravel()
    whole = ids.dtype.kind in "iuU" or (ids.dtype.kind == "f" and bool((ids % 1 == 0).all()))
    if ids.ndim != 1 or not whole:
        raise DataError(
            f"{where} is {ids.dtype} {ids.shape}, expected whole numbers or names (images,)"
        )
    return [normal(int(each) if ids.dtype.kind == "f" else each) for each in ids.tolist()]


def _require_as_many(ids: Sequence[str], count: int, who: str, what: str) -> None:
    if len(ids) != count:
        raise DataError(f"{who} {count} {what}, but there are {len(ids)} ids; give one for each")


def as_uint8(array: Any, where: str) -> NDArray[np.uint8]:
    """Return pictures as uint8 (images, samples, height, width, 3).

    Args:
        array: uint8, or floats from 0 to 1; (images, height, width, 3) or (images, samples, height,
            width, 3), or with channels before height.
        where: names it in messages.

    Raises:
        DataError: another shape, kind of number or range.
    """
    if np.ndim(array) not in (4, 5) or 0 in np.shape(array):
        raise _of_shape(array, where)
    pictures = np.asarray(array)
    if pictures.shape[-1] != 3 and pictures.shape[-3] == 3:
        # Sums depend on the order in memory, and scores of one picture are to be the same.
        pictures = np.ascontiguousarray(np.moveaxis(pictures, -3, -1))
    if pictures.shape[-1] != 3:
        raise _of_shape(array, where)
    if pictures.ndim == 4:
        pictures = pictures[:, None]
    if pictures.dtype == np.uint8:
        return pictures
    return _scaled(pictures, where)


def _scaled(pictures: NDArray[Any], where: str) -> NDArray[np.uint8]:
    """Return floats from 0 to 1 as uint8, rounded to the nearest."""
    if pictures.dtype.kind != "f":
        raise DataError(f"{where} is {pictures.dtype}, expected uint8 or floats from 0 to 1")
    low, high = float(pictures.min()), float(pictures.max())
    if not (low >= 0 and high <= 1):
        reason = "NaN" if np.isnan([low, high]).any() else f"numbers from {low:g} to {high:g}"
        raise DataError(
            f"{where} is {pictures.dtype} with {reason}, expected uint8, or floats from 0 to 1; "
            "bring it to one of the two, since what its numbers mean is not guessed"
        )
    return (pictures.astype(np.float32) * 255 + 0.5).astype(np.uint8)


def _of_shape(array: Any, where: str) -> DataError:
    return DataError(
        f"{where} has the shape {np.shape(array)}, expected (images, height, width, 3) or (images, "
        "samples, height, width, 3)"
    )
