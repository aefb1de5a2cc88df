"""Where the files of an NSD download lie, and what is wrong with one that cannot be read."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from brainkit.errors import BrainkitError, DataError

PREPARATIONS = ("betas_assumehrf", "betas_fithrf", "betas_fithrf_GLMdenoise_RR")
CURATED = "COCO_73k_annots_curated.npy"
RECENT_SECONDS = 60.0
POINTER_BYTES = 1024


def subject_name(subject: int) -> str:
    """Give the folder name of a subject.

    >>> subject_name(1)
    'subj01'
    """
    return f"subj{subject:02d}"


def design_path(root: Path) -> Path:
    """Give the path of the experimental design, `nsd_expdesign.mat`."""
    return root / "nsddata/experiments/nsd/nsd_expdesign.mat"


def stimulus_table_path(root: Path) -> Path:
    """Give the path of the table with one row per picture."""
    return root / "nsddata/experiments/nsd/nsd_stim_info_merged.csv"


def responses_path(root: Path, subject: int) -> Path:
    """Give the path of a subject's behaviour, `responses.tsv`."""
    return root / "nsddata/ppdata" / subject_name(subject) / "behav/responses.tsv"


def roi_folder(root: Path, subject: int, resolution: str) -> Path:
    """Give the folder of a subject's ROI volumes."""
    return root / "nsddata/ppdata" / subject_name(subject) / resolution / "roi"


def betas_folder(root: Path, subject: int, *, preparation: str, resolution: str) -> Path:
    """Give the folder of a subject's session files in one preparation."""
    return root / "nsddata_betas/ppdata" / subject_name(subject) / resolution / preparation


def stimuli_path(root: Path) -> Path:
    """Give the path of the picture array, `nsd_stimuli.hdf5`."""
    return root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"


def annotation_paths(root: Path, split: str = "train2017") -> tuple[Path, ...]:
    """Return the files with COCO's captions, the likeliest first.

    The 2017 and 2014 editions share image ids, so the latter serve when the former are absent.
    """
    folder = root / "nsddata_stimuli/stimuli/nsd/annotations"
    splits = [split, "train2017", "val2017", "train2014", "val2014"]
    return tuple(folder / f"captions_{name}.json" for name in dict.fromkeys(splits))


def curated_path(root: Path) -> Path | None:
    """Give the path of the curated captions if they lie in one of their usual places."""
    nsd = root / "nsddata_stimuli/stimuli/nsd"
    places = (nsd / "annotations" / CURATED, nsd / CURATED, root / CURATED)
    return next((place for place in places if place.exists()), None)


def colour_table_paths(root: Path, subject: int, volume: str) -> tuple[Path, Path]:
    """Give the places of a ROI volume's label names: the subject's own, then fsaverage's."""
    labels = root / "nsddata/freesurfer"
    name = f"{volume}.mgz.ctab"
    return (labels / subject_name(subject) / "label" / name, labels / "fsaverage/label" / name)


def require_root(root: Path) -> Path:
    """Check that a folder looks like an NSD download and give it back.

    Raises:
        DataError: it does not exist or holds neither `nsddata` nor `nsddata_betas`.
    """
    if not root.is_dir():
        raise DataError(f"there is no folder {root}; give the folder that holds nsddata/")
    if not any((root / name).is_dir() for name in ("nsddata", "nsddata_betas", "nsddata_stimuli")):
        raise DataError(
            f"{root} holds none of nsddata/, nsddata_betas/ and nsddata_stimuli/; "
            "give the folder into which the bucket natural-scenes-dataset was downloaded"
        )
    return root


def left_overs(path: Path) -> list[Path]:
    """Give the partial downloads (`NAME.6eF3a1B2`) an interrupted client left beside a file."""
    return sorted(path.parent.glob(f"{path.name}.????????")) if path.parent.is_dir() else []


def growing(path: Path) -> str:
    """Give the remark that a file changed within the last minute, or the empty string."""
    try:
        age = time.time() - path.stat().st_mtime
    except OSError:
        return ""
    recent = 0 <= age < RECENT_SECONDS
    return f" (it changed {age:.0f} s ago: is it still downloading?)" if recent else ""


def flaw(path: Path) -> str | None:
    """Give a clause that says why a file cannot hold its data, or None; reads 512 bytes at most."""
    if not path.exists():
        return _absence(path)
    if path.is_dir():
        return "is a folder, expected a file; download it again"
    size = path.stat().st_size
    if size == 0:
        return f"is empty (0 bytes); download it again{growing(path)}"
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        return f"cannot be opened ({error.strerror}); check its permissions"
    return _impostor(head, size)


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
def reading(path: Path) -> Iterator[None]:
    """Turn whatever a reader raises about a file into one sentence that names the file."""
    require_file(path)
    try:
        yield
    except (BrainkitError, MemoryError):
        raise
    except Exception as error:
        size = path.stat().st_size
        why = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{path} is truncated or damaged ({size} bytes found; {why}); "
            f"download it again{growing(path)}"
        ) from error


def _absence(path: Path) -> str:
    if path.is_symlink():
        target = str(path.readlink())
        if "annex/objects" in target:
            return f"is a git-annex pointer without content; run `datalad get {path.name}` there"
        return f"is a link to {target}, which does not exist; restore the file it points to"
    parts = left_overs(path)
    if parts:
        return (
            f"is missing, only a partial download {parts[0].name} "
            f"({parts[0].stat().st_size} bytes) is there; download it again"
        )
    return "is missing; download it"


def _impostor(head: bytes, size: int) -> str | None:
    if size < POINTER_BYTES and b"/annex/objects/" in head:
        return f"is a git-annex pointer of {size} bytes, not the data; run `datalad get` on it"
    if head.startswith(b"version https://git-lfs"):
        return f"is a Git LFS pointer of {size} bytes, not the data; run `git lfs pull`"
    if head.lstrip().lower().startswith((b"<?xml", b"<!doc", b"<html")):
        return (
            f"holds a web page of {size} bytes, not data: access was refused; "
            "check your permission and download it again"
        )
    return None
