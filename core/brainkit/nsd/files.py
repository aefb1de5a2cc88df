"""Where the files of an NSD download lie, and what is wrong with one that cannot be read."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from brainkit.errors import BrainkitError, DataError
from brainkit.names import Subject as Subject
from brainkit.names import subject_name as subject_name
from brainkit.nsd.system import refusal

PREPARATIONS = ("betas_assumehrf", "betas_fithrf", "betas_fithrf_GLMdenoise_RR")
CURATED = "COCO_73k_annots_curated.npy"
SPLITS_OF_COCO = ("train2017", "val2017", "train2014", "val2014")
RECENT_SECONDS = 60.0
POINTER_BYTES = 1024
SIDE_FILE = "._"
# The first field of a NIfTI header is its own size, 348 (or 540 in NIfTI-2), in either byte order.
NIFTI_HEADS = tuple(n.to_bytes(4, order) for n in (348, 540) for order in ("little", "big"))


def design_path(root: Path) -> Path:
    """Return the path of the experimental design, `nsd_expdesign.mat`."""
    return root / "nsddata/experiments/nsd/nsd_expdesign.mat"


def stimulus_table_path(root: Path) -> Path:
    """Return the path of the table with one row per picture."""
    return root / "nsddata/experiments/nsd/nsd_stim_info_merged.csv"


def responses_path(root: Path, subject: Subject) -> Path:
    """Return the path of a subject's behaviour, `responses.tsv`."""
    return root / "nsddata/ppdata" / subject_name(subject) / "behav/responses.tsv"


def trials_path(root: Path, subject: Subject) -> Path:
    """Return the path of what a subject of one's own data saw, `trials.tsv`."""
    return root / "nsddata/ppdata" / subject_name(subject) / "trials.tsv"


def roi_folder(root: Path, subject: Subject, resolution: str) -> Path:
    """Return the folder of a subject's ROI volumes."""
    return root / "nsddata/ppdata" / subject_name(subject) / resolution / "roi"


def betas_folder(root: Path, subject: Subject, *, preparation: str, resolution: str) -> Path:
    """Return the folder of a subject's session files in one preparation."""
    return root / "nsddata_betas/ppdata" / subject_name(subject) / resolution / preparation


def stimuli_path(root: Path) -> Path:
    """Return the path of the picture array, `nsd_stimuli.hdf5`."""
    return root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"


def annotation_paths(root: Path, split: str = "train2017") -> tuple[Path, ...]:
    """Return the files with COCO's captions, the likeliest first.

    The 2017 and 2014 editions share image ids, so the latter serve when the former are absent.
    """
    folder = root / "nsddata_stimuli/stimuli/nsd/annotations"
    splits = sorted(SPLITS_OF_COCO, key=lambda name: name != split)
    names = [f"captions_{name}.json" for name in splits]
    # COCO's archive has `annotations/` in its names, which unpacking there doubles.
    inner = folder / "annotations"
    doubled = not any(exists(folder / name) for name in names) and exists(inner)
    return tuple((inner if doubled else folder) / name for name in names)


def curated_path(root: Path) -> Path | None:
    """Return the path of the curated captions if they lie in one of their usual places."""
    nsd = root / "nsddata_stimuli/stimuli/nsd"
    places = (nsd / "annotations" / CURATED, nsd / CURATED, root / CURATED)
    return next((place for place in places if exists(place)), None)


def colour_table_paths(root: Path, subject: Subject, volume: str) -> tuple[Path, Path]:
    """Return the places of a ROI volume's label names: the subject's own, then fsaverage's."""
    labels = root / "nsddata/freesurfer"
    name = f"{volume}.mgz.ctab"
    return (labels / subject_name(subject) / "label" / name, labels / "fsaverage/label" / name)


def require_root(root: Path) -> Path:
    """Return a folder after a check that it looks like an NSD download.

    Raises:
        DataError: it does not exist or holds neither `nsddata` nor `nsddata_betas`.
    """
    with told(root):
        there = root.is_dir()
        tops = [(root / top).is_dir() for top in ("nsddata", "nsddata_betas", "nsddata_stimuli")]
    if not there:
        raise DataError(f"there is no folder {root}; give the folder that holds nsddata/")
    if not any(tops):
        raise DataError(
            f"{root} holds none of nsddata/, nsddata_betas/ and nsddata_stimuli/; "
            "give the folder into which the bucket natural-scenes-dataset was downloaded"
        )
    return root


def exists(path: Path) -> bool:
    """Say whether a file or folder is there; a link that leads nowhere is not.

    Raises:
        DataError: the system refuses to tell.
    """
    with told(path):
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
    return True


def listed(folder: Path, ending: str) -> list[Path]:
    """Return what a folder holds with an ending, sorted, without macOS's side files `._NAME`.

    Raises:
        DataError: the system refuses to list it.
    """
    with told(folder):
        try:
            names = os.listdir(folder)
        except (FileNotFoundError, NotADirectoryError):
            return []
    kept = (name for name in names if name.endswith(ending) and not name.startswith(SIDE_FILE))
    return sorted(folder / name for name in kept)


def left_overs(path: Path) -> list[Path]:
    """Return the partial downloads (`NAME.6eF3a1B2`) an interrupted client left beside a file."""
    length = len(path.name) + 9
    parts = listed(path.parent, "")
    return [p for p in parts if p.name.startswith(f"{path.name}.") and len(p.name) == length]


def growing(path: Path) -> str:
    """Return the remark that a file changed within the last minute, or the empty string."""
    try:
        age = time.time() - path.stat().st_mtime
    except OSError:
        return ""
    recent = 0 <= age < RECENT_SECONDS
    return f" (it changed {age:.0f} s ago: is it still downloading?)" if recent else ""


def flaw(path: Path) -> str | None:
    """Return a clause on why a file cannot hold its data, or None; reads 512 bytes at most."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            return "is a folder, expected a file; download it again"
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            return "is a pipe or a device, expected a file; put the file itself there"
        if status.st_size == 0:
            return f"is empty (0 bytes); download it again{growing(path)}"
        with path.open("rb") as file:
            head = file.read(512)
    except (FileNotFoundError, NotADirectoryError):
        return _absence(path)
    except OSError as error:
        return refusal(error) or f"cannot be opened ({error.strerror}); check its permissions"
    return _impostor(path, head, status.st_size)


def require_file(path: Path) -> Path:
    """Check that a file is there and is not a pointer, an empty file or an error page.

    Raises:
        DataError: it is one of these; the sentence says what to do.
    """
    said = flaw(path)
    if said:
        raise DataError(f"{path} {said}")
    return path


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn what the system refuses about a path into one sentence that names it.

    Raises:
        DataError: with the system's own words and the remedy.
    """
    try:
        yield
    except OSError as error:
        clause = refusal(error) or f"cannot be read: {error.strerror or error}"
        raise DataError(f"{path} {clause}") from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever a reader raises about a file into one sentence that names the file.

    Raises:
        DataError: what the system refused as that, all else as damage of the file.
    """
    require_file(path)
    try:
        yield
    except BrainkitError:
        raise
    except Exception as error:
        raise DataError(f"{path} {refusal(error) or _damage(path, error)}") from error


def _damage(path: Path, error: Exception) -> str:
    why = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, UnicodeDecodeError):
        return f"is no UTF-8 text ({why}); save it as UTF-8 or download it again{growing(path)}"
    with told(path):
        size = path.stat().st_size
    return f"is truncated or damaged ({size} bytes found; {why}); download it again{growing(path)}"


def _absence(path: Path) -> str:
    if path.is_symlink():
        target = str(path.readlink())
        if "annex/objects" in target:
            return f"is a git-annex pointer without content; run `datalad get {path.name}` there"
        return f"is a link to {target}, which does not exist; restore the file it points to"
    unpacked = path.with_suffix("")
    if path.suffix == ".gz" and exists(unpacked):
        return f"is missing, but {unpacked.name} is there; pack it with `gzip {unpacked.name}`"
    parts = left_overs(path)
    if parts:
        return (
            f"is missing, only a partial download {parts[0].name} "
            f"({parts[0].stat().st_size} bytes) is there; download it again"
        )
    return "is missing; download it"


def _impostor(path: Path, head: bytes, size: int) -> str | None:
    if size < POINTER_BYTES and b"/annex/objects/" in head:
        return f"is a git-annex pointer of {size} bytes, not the data; run `datalad get` on it"
    if head.startswith(b"version https://git-lfs"):
        return f"is a Git LFS pointer of {size} bytes, not the data; run `git lfs pull`"
    if head.lstrip().lower().startswith((b"<?xml", b"<!doc", b"<html")):
        return (
            f"holds a web page of {size} bytes, not data: access was refused; "
            "check your permission and download it again"
        )
    if path.suffix == ".gz" and head.startswith(NIFTI_HEADS):
        return (
            f"is not packed although its name says so; rename it to {path.with_suffix('').name} "
            "and pack that with gzip"
        )
    if head.startswith(b"MATLAB 7.3"):
        return (
            "is a file of MATLAB 7.3 (HDF5), saved again by somebody, expected MATLAB 5; save it "
            "with -v7 or download it again"
        )
    return None
