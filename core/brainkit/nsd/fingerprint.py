"""Recognise changed NSD files in a fraction of a second, without reading gigabytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path

from brainkit.checkpoints.contents import revision
from brainkit.data import Selection
from brainkit.nsd import files
from brainkit.nsd.layout import read_layout
from brainkit.nsd.sessions import find_sessions
from brainkit.nsd.trials import TrialsPlan

BLOCK = 4096
BLOCKS = 16


def fingerprints(root: Path, subject: files.Subject, plan: TrialsPlan) -> dict[str, str]:
    """Fingerprint the files behind a selection, in three groups.

    A file that holds something else than it was known to hold on this machine has another
    fingerprint, even if size, time and blocks are the same.

    Returns:
        16 hex digits each for "betas" (sessions, ROI volumes and their labels, design), "images"
        and "captions".
    """
    groups = input_files(root, subject, plan)
    labels = groups.pop("labels")
    return {
        name: _revised(root, paths, labels if name == "betas" else ())
        for name, paths in groups.items()
    }


def input_files(root: Path, subject: files.Subject, plan: TrialsPlan) -> dict[str, list[Path]]:
    """Return the files behind a selection: the groups of `fingerprints`, and "labels"."""
    person = root / "nsddata/ppdata" / files.subject_name(subject)
    volumes = sorted(
        path for path in person.glob("*/roi/*.nii.gz") if not path.name.startswith(files.SIDE_FILE)
    )
    sessions = [file.path for file in plan.files]
    curated = files.curated_path(root)
    captions = [*files.annotation_paths(root), files.stimulus_table_path(root)]
    return {
        "betas": [
            *(*sessions, *volumes, files.design_path(root)),
            files.trials_path(root, subject),
        ],
        "captions": [*captions, *([curated] if curated else [])],
        "images": [files.stimuli_path(root)],
        "labels": _labels(root, subject),
    }


def _labels(root: Path, subject: files.Subject) -> list[Path]:
    """Return the colour tables, which name the regions of ROI volumes."""
    tables = files.colour_table_paths(root, subject, "*")
    return [path for pattern in tables for path in files.listed(pattern.parent, ".mgz.ctab")]


def images_fingerprint(root: Path) -> str:
    """Fingerprint the picture array alone, 16 hex digits."""
    return _revised(root, [files.stimuli_path(root)])


def experiment(root: Path) -> str:
    """Identify whose data a download holds, by its design and its pictures; 16 hex digits.

    It stays the same when the folder is moved and when sessions or subjects arrive.
    """
    # Data of one's own have no such design, but name their test images beside the pictures.
    named = [files.stimulus_table_path(root)] if read_layout(root).dataset else []
    return _fingerprint(root, [files.design_path(root), files.stimuli_path(root), *named])


def first_session(root: Path, subject: files.Subject, selection: Selection) -> str:
    """Identify a subject's responses by the first session of a selection; 16 hex digits.

    Simulations of one experiment differ in their responses alone.

    Raises:
        BrainkitError: there are no such sessions.
    """
    layout = read_layout(root)
    preparation, resolution = layout.preparation(selection.preparation), layout.resolution
    folder = files.betas_folder(root, subject, preparation=preparation, resolution=resolution)
    total = layout.subject(subject).sessions
    sessions = find_sessions(folder, selection.sessions, total=total, beta_format="auto")
    return _fingerprint(root, [sessions[0].path])


def _revised(root: Path, paths: Sequence[Path], beside: Sequence[Path] = ()) -> str:
    """Fingerprint files; another digest once one holds what it was not first known to hold.

    Args:
        root: of the download.
        paths: of the files.
        beside: files of which only such changes count.
    """
    fingerprint = _fingerprint(root, paths)
    keys = {path: _fingerprint(root, [path]) for path in paths}
    keys |= dict.fromkeys(beside, fingerprint)
    revisions = [_revision(root, path, key) for path, key in keys.items() if path.is_file()]
    if not any(revisions):
        return fingerprint
    return sha256(" ".join([fingerprint, *revisions]).encode()).hexdigest()[:16]


def _revision(root: Path, path: Path, key: str) -> str:
    with files.told(path):
        return revision(f"{path.relative_to(root).as_posix()} {key}", path)


def _fingerprint(root: Path, paths: Iterable[Path]) -> str:
    """Hash name, size and evenly spaced blocks of each file.

    The blocks include the last one, which in gzip files holds a checksum of all content.
    """
    digest = sha256()
    for path in paths:
        with files.told(path):
            if not path.is_file():
                continue
            size = path.stat().st_size
            digest.update(f"{path.relative_to(root).as_posix()} {size}\n".encode())
            for block in _blocks(path, size):
                digest.update(block)
    return digest.hexdigest()[:16]


def _blocks(path: Path, size: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        for index in range(BLOCKS):
            file.seek(max(0, size - BLOCK) * index // (BLOCKS - 1))
            yield file.read(BLOCK)
