"""Open arrays that others wrote: betas, masks and stimuli in any of the usual formats."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainkit.errors import DataError, UsageError
from brainkit.nsd.files import SIDE_FILE, reading
from brainkit.nsd.hdf5 import opened

NIFTI = (".nii", ".nii.gz")
HDF5 = (".hdf5", ".h5", ".mat", ".he5")
FORMATS = (*NIFTI, ".npy", *HDF5, ".safetensors")
DATASET = "betas"
AXES = "xyzt"
USUAL = {2: "tv", 4: AXES}
SESSION = re.compile(r"(?:^|[_.-])ses(?:sion)?[-_]?([A-Za-z0-9]+)")


def split_name(text: str) -> tuple[Path, str]:
    """Part "FILE:DATASET"; the dataset is empty where none is named.

    >>> split_name("betas.h5:betasmd"), split_name("betas.npy")[1]
    ((PosixPath('betas.h5'), 'betasmd'), '')
    """
    path, colon, name = text.rpartition(":")
    # A colon may be part of a path, as in C:\\data.
    named = bool(colon) and path.endswith((*HDF5, ".safetensors"))
    return (Path(path), name) if named else (Path(text), "")


@dataclass(frozen=True)
class SessionFiles:
    """Betas of one session in one file or several, read when NumPy asks for them.

    Attributes:
        paths: each FILE or FILE:DATASET; their trials follow each other.
        axes: of t (trials), v (voxels), x, y and z, in the order in which NumPy sees them; by
            default tv of two, xyzt of four.
    """

    paths: Sequence[str]
    axes: str = ""

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """(trials, voxels) or (X, Y, Z, trials), from the headers alone.

        Raises:
            DataError: a file is missing or damaged, or its voxels are others than those before.
            UsageError: an ending, or the axes, are not known.
        """
        shapes = [self._shape(each) for each in self.paths]
        place = 0 if len(shapes[0]) == 2 else 3
        voxels = {(*shape[:place], *shape[place + 1 :]) for shape in shapes}
        if len(voxels) > 1:
            raise DataError(
                f"{self.paths[0]} and others of its session have voxels of {sorted(voxels)}; all "
                "files of a session need the same"
            )
        first = shapes[0]
        return (*first[:place], sum(shape[place] for shape in shapes), *first[place + 1 :])

    @cached_property
    def values(self) -> NDArray[Any]:
        """The numbers, kept."""
        return np.asarray(self)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Read all files."""
        read = [read_array(each) for each in self.paths]
        orders = [
            _order(path, array.shape, self.axes)
            for path, array in zip(self.paths, read, strict=True)
        ]
        turned = [array.transpose(order) for array, order in zip(read, orders, strict=True)]
        joined = np.concatenate(turned, 0 if turned[0].ndim == 2 else 3)
        return joined if dtype is None else joined.astype(dtype, copy=False)

    def _shape(self, text: str) -> tuple[int, ...]:
        shape = shape_of(text)
        return tuple(shape[each] for each in _order(text, shape, self.axes))


@dataclass(frozen=True)
class SomeTrials:
    """Some trials of a session's files, which are read once for all that share them.

    Attributes:
        of: the files.
        rows: 0-based trials.
    """

    of: SessionFiles
    rows: Sequence[int]

    @property
    def shape(self) -> tuple[int, ...]:
        """(trials, voxels) or (X, Y, Z, trials)."""
        whole = self.of.shape
        return (len(self.rows), whole[1]) if len(whole) == 2 else (*whole[:3], len(self.rows))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Read the files, and take the trials."""
        taken = np.take(self.of.values, self.rows, axis=0 if self.of.values.ndim == 2 else 3)
        return taken if dtype is None else taken.astype(dtype, copy=False)


def read_volume(path: Path) -> NDArray[Any]:
    """Read a mask or labels, (X, Y, Z) or (voxels,); what is not finite is 0.

    Raises:
        DataError: the file is missing or damaged, or holds something else.
        UsageError: its ending is not known.
    """
    volume = read_array(str(path))
    if volume.ndim == 4 and volume.shape[3] == 1:
        volume = volume[..., 0]
    if volume.ndim not in (1, 3):
        raise DataError(f"{path} has the shape {volume.shape}, expected a volume (X, Y, Z)")
    return volume if np.isfinite(volume).all() else np.nan_to_num(volume, nan=0.0)


def read_array(text: str) -> NDArray[Any]:
    """Read an array of real numbers as it lies in FILE or FILE:DATASET; `.npy` stays on disk.

    A dataset is looked for in HDF5, MATLAB 7.3 and safetensors, and is `betas`, or the only one.

    Raises:
        DataError: the file is missing or damaged, lacks the dataset, holds pickled objects or no
            real numbers.
        UsageError: its ending is not known.
    """
    path, name = split_name(text)
    ending = _ending(path)
    if ending in NIFTI:
        array = _nifti(path)
    elif ending == ".npy":
        array = _npy(path)
    else:
        array = (_safetensors if ending == ".safetensors" else _hdf5)(path, name)
    if array.dtype.kind not in "biuf":
        raise DataError(f"{text} holds {array.dtype}, expected real numbers")
    return array


def shape_of(text: str) -> tuple[int, ...]:
    """Return what `read_array` would have as its shape, from the file's header.

    Raises:
        DataError: as `read_array`.
        UsageError: as `read_array`.
    """
    path, name = split_name(text)
    ending = _ending(path)
    if ending in NIFTI:
        return tuple(int(size) for size in open_image(path).shape)
    if ending == ".npy":
        return _npy(path).shape
    if ending == ".safetensors":
        with _tensors(path, name) as (file, chosen):
            return tuple(file.get_slice(chosen).get_shape())
    with opened(path, _dataset(path, name)) as dataset:
        return tuple(dataset.shape)


def _ending(path: Path) -> str:
    ending = next((each for each in FORMATS if path.name.lower().endswith(each)), "")
    if not ending:
        raise UsageError(f"{path} ends in none of {', '.join(FORMATS)}; convert it to one of these")
    return ending


def _order(text: str, shape: Sequence[int], axes: str) -> list[int]:
    """Return which axis of an array comes first, second and so on of tv or xyzt."""
    named = USUAL.get(len(shape), "") if not axes or text.endswith(NIFTI) else axes
    wanted = next((each for each in USUAL.values() if sorted(each) == sorted(named)), None)
    if wanted is None or len(named) != len(shape):
        raise UsageError(
            f"{text} has the shape {tuple(shape)}, but the axes are {axes or 'not named'}; give "
            "--axes as tv or xyzt in the file's order, such as vt or tzyx"
        )
    return [named.index(each) for each in wanted]


def expanded(texts: Sequence[str], endings: Sequence[str] = FORMATS) -> list[str]:
    """Return files as named, a folder or a pattern with * replaced by what it holds, in order.

    Numbers in names count as such: `ses-2` comes before `ses-10`.

    Raises:
        DataError: a folder or pattern holds no such file.
    """
    files: list[str] = []
    for text in texts:
        path, name = split_name(text)
        if not path.is_dir() and "*" not in text:
            files.append(text)
            continue
        folder, pattern = (path, "*") if path.is_dir() else (path.parent, path.name)
        found = [
            each for each in folder.glob(pattern) if each.name.lower().endswith(tuple(endings))
        ]
        kept = [each for each in found if not each.name.startswith(SIDE_FILE)]
        if not kept:
            raise DataError(f"{text} holds no file that ends in {', '.join(endings)}")
        files += [f"{each}:{name}" if name else str(each) for each in sorted(kept, key=_natural)]
    return files


def _natural(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdecimal() else (0, part) for part in parts]


def grouped(paths: Sequence[str]) -> list[list[str]]:
    """Group files by the session that their names tell (`ses-01`, `session01`), else one by one.

    >>> grouped(["a_ses-1_run-1.nii", "a_ses-1_run-2.nii", "a_ses-2_run-1.nii"])[0]
    ['a_ses-1_run-1.nii', 'a_ses-1_run-2.nii']
    """
    labels = [SESSION.search(split_name(each)[0].name) for each in paths]
    if not all(labels):
        return [[each] for each in paths]
    groups: dict[str, list[str]] = {}
    for path, label in zip(paths, labels, strict=True):
        groups.setdefault(label[1] if label else "", []).append(path)
    return list(groups.values())


def open_image(path: Path) -> Any:
    """Open a `.nii` or `.nii.gz` without reading its data: a `nibabel` image.

    Raises:
        DataError: it is missing, damaged or no NIfTI.
    """
    import nibabel

    with reading(path):
        return nibabel.load(path)


def _nifti(path: Path) -> NDArray[Any]:
    image = open_image(path)
    with reading(path):
        values: NDArray[Any] = np.asanyarray(image.dataobj)
    return values


def _npy(path: Path) -> NDArray[Any]:
    try:
        with reading(path):
            array: Any = np.load(path, mmap_mode="r", allow_pickle=False)
    except DataError as error:
        if "pickle" in str(error.__cause__).lower() or "object" in str(error.__cause__).lower():
            raise DataError(
                f"{path} holds pickled objects, which could run code, expected one array; where "
                "you trust it, load it with allow_pickle and save the array in it with numpy.save"
            ) from error
        raise
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path} is an archive of arrays, expected one array")
    return array


def _hdf5(path: Path, name: str) -> NDArray[Any]:
    with opened(path, _dataset(path, name)) as dataset, reading(path):
        array: NDArray[Any] = dataset[...]
    return array


def _dataset(path: Path, name: str) -> str:
    import h5py

    with reading(path), h5py.File(path, "r", locking=False) as file:
        return _chosen(path, name, [each for each in file if isinstance(file[each], h5py.Dataset)])


def _safetensors(path: Path, name: str) -> NDArray[Any]:
    with _tensors(path, name) as (file, chosen):
        array: NDArray[Any] = file.get_tensor(chosen)
    return array


@contextmanager
def _tensors(path: Path, name: str) -> Iterator[tuple[Any, str]]:
    from safetensors import safe_open

    with reading(path), safe_open(path, "np") as file:
        names = list(file.keys())
        chosen = _chosen(path, name, names)
        if chosen not in names:
            raise DataError(f"{path} has no tensor {chosen!r} (it has {_listed(names)})")
        yield file, chosen


def _chosen(path: Path, name: str, found: Sequence[str]) -> str:
    if name:
        return name
    if DATASET in found or len(found) == 1:
        return DATASET if DATASET in found else found[0]
    raise DataError(f"{path} holds {_listed(found)}; say which to read, as {path.name}:NAME")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(list(names)[:5]) + (", ..." if list(names)[5:] else "") or "nothing"
