"""Betas of the chosen voxels and sessions: split, standardised, averaged.

`plan_trials` makes every cheap check (existence, size, headers, design) before `load_trials` reads
the first gigabyte. Sessions are read one by one and added into the result at once.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainkit.console import human_size
from brainkit.data import Selection, Split, Trials
from brainkit.errors import BrainkitWarning, DataError, UsageError, did_you_mean
from brainkit.nsd.betas import (
    SessionGrid,
    SessionHeader,
    bytes_to_read,
    inspect,
    looks_cut,
    read_session,
)
from brainkit.nsd.design import CLUSTERS, load_design, which_tested
from brainkit.nsd.files import (
    PREPARATIONS,
    Subject,
    betas_folder,
    design_path,
    require_root,
    trials_path,
)
from brainkit.nsd.flaws import Flaws
from brainkit.nsd.layout import Layout, read_layout
from brainkit.nsd.noise import load_ncsnr
from brainkit.nsd.roi import require_same_affine, roi_voxels
from brainkit.nsd.rows import TrialRows, arrange
from brainkit.nsd.sessions import SessionFile, find_sessions, session_notes
from brainkit.nsd.standardise import MODES, add_raw, add_session_scores, score_by_train
from brainkit.nsd.twins import leak, repeated_photographs

Progress = Callable[[int, int], None]
REPEATS = ("average", "single")
NAN_POLICIES = ("error", "zero", "drop")


@dataclass(frozen=True)
class TrialsPlan:
    """What loading a selection would read and give, known before anything large is read.

    Attributes:
        files: the session files, ascending.
        rows: which row of the result each trial adds to.
        voxel_xyz: int32 (voxels, 3), C order over X, Y, Z.
        grids: what each session file has to look like.
        total_sessions: sessions the subject did in all.
        n_shared: images shared by all subjects; 0 in data of one's own, which name test images.
        bytes_read: bytes read from session files.
        split: what decides which images are test images, as in `Selection`.
        clustered: how many clusters split clusters has and with which seed; empty for others.
        warnings: sentences about valid but surprising input met so far.
    """

    files: tuple[SessionFile, ...]
    rows: TrialRows
    voxel_xyz: NDArray[np.int32]
    grids: tuple[SessionGrid, ...]
    total_sessions: int
    n_shared: int
    bytes_read: int
    split: str
    clustered: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def sessions(self) -> tuple[int, ...]:
        """The 1-based sessions, ascending."""
        return tuple(file.session for file in self.files)

    @property
    def bytes_in_memory(self) -> int:
        """Bytes of the betas in the result."""
        return 4 * len(self.rows.image_ids) * len(self.voxel_xyz)

    @property
    def test_images(self) -> str:
        """Say which images are the test images, with counts; for dry runs and reports."""
        tested, seen = self._counts()
        if self.split == CLUSTERS:
            return (
                f"{tested} of {seen}, whole clusters of images alike by CLIP of which none is in "
                f"training (split clusters, {self.clustered}), so numbers do not compare with the "
                "split shared"
            )
        return which_tested(
            self.split, tested, seen, n_shared=self.n_shared, n_sessions=len(self.files)
        )

    def text(self) -> str:
        """Return one line for people: sessions, rows, voxels and sizes."""
        train = self.rows.n_train
        tested, seen = self._counts()
        of = f" of {self.n_shared} shared" if self.n_shared else ""
        shared = f"{tested}{of} images"
        others = {"shared": shared, CLUSTERS: f"{tested} of {seen} in clusters held out"}
        images = others.get(self.split, f"the last {tested} of {seen} first seen")
        return (
            f"{len(self.files)} of {self.total_sessions} sessions, {train} training and "
            f"{len(self.rows.image_ids) - train} test rows ({images}), {len(self.voxel_xyz)} "
            f"voxels; reads {human_size(self.bytes_read)}, gives "
            f"{human_size(self.bytes_in_memory)}"
        )

    def _counts(self) -> tuple[int, int]:
        """Count the distinct test images, and all distinct images."""
        ids = self.rows.image_ids
        return len(np.unique(ids[self.rows.n_train :])), len(np.unique(ids))


def plan_trials(
    root: Path,
    subject: Subject,
    selection: Selection,
    layout: Layout | None = None,
    *,
    beta_format: str = "auto",
    units: str | None = None,
    held_out: Sequence[int] = (),
) -> TrialsPlan:
    """Make every cheap check and say what would be read; for `--dry-run` and `load_trials`.

    Args are those of `load_trials`.

    Raises:
        UsageError: the selection names something that does not exist.
        DataError: files are missing, empty, of another shape, or contradict each other.
    """
    _check_selection(selection)
    layout = layout or read_layout(require_root(root))
    of_subject = layout.subject(subject)
    preparation = layout.preparation(selection.preparation)
    folder = betas_folder(root, subject, preparation=preparation, resolution=layout.resolution)
    voxels = roi_voxels(root, subject, selection.roi, layout)
    files = find_sessions(
        folder, selection.sessions, total=of_subject.sessions, beta_format=beta_format
    )
    grids = _grids(layout, subject, files, units)
    headers = {file.path: inspect(file.path, grid) for file, grid in zip(files, grids, strict=True)}
    for path, header in headers.items():
        if header is not None:
            require_same_affine(path, header.affine, voxels.affine)
    design = load_design(root, subject, layout)
    said = list(voxels.notes)
    if selection.sessions == "available":
        said += session_notes(folder, files, of_subject.sessions)
    rows = arrange(
        design,
        files,
        average=selection.repeats == "average",
        split=selection.split,
        held_out=held_out,
    )
    told_by = trials_path(root, subject) if layout.dataset else design_path(root)
    _require_both_sides(rows, told_by, selection.split)
    _require_whole(headers, voxels.xyz, grids)
    return TrialsPlan(
        files=files,
        rows=rows,
        voxel_xyz=voxels.xyz,
        grids=grids,
        total_sessions=of_subject.sessions,
        n_shared=layout.n_shared,
        bytes_read=sum(
            bytes_to_read(file.path, voxels.xyz, grid)
            for file, grid in zip(files, grids, strict=True)
        ),
        split=selection.split,
        clustered=f"{selection.clusters} clusters, seed {selection.cluster_seed}",
        warnings=tuple(said),
    )


def _grids(
    layout: Layout, subject: Subject, files: Sequence[SessionFile], units: str | None
) -> tuple[SessionGrid, ...]:
    volume, lengths = layout.subject(subject).volume, layout.lengths(subject)
    numbers = units or layout.units
    return tuple(SessionGrid(volume, lengths[file.session - 1], numbers) for file in files)


def shown_images(root: Path, subject: Subject, selection: Selection) -> NDArray[np.int32]:
    """Return the distinct 0-based ids of the images in the selected sessions, ascending.

    Raises:
        BrainkitError: as of `plan_trials`.
    """
    layout = read_layout(require_root(root))
    preparation = layout.preparation(selection.preparation)
    folder = betas_folder(root, subject, preparation=preparation, resolution=layout.resolution)
    total = layout.subject(subject).sessions
    files = find_sessions(folder, selection.sessions, total=total, beta_format="auto")
    design = load_design(root, subject, layout)
    shown: NDArray[np.int32] = np.unique(
        design.image_ids[design.trials([file.session for file in files])]
    )
    return shown


def load_trials(
    root: Path,
    subject: Subject,
    selection: Selection | None = None,
    layout: Layout | None = None,
    progress: Progress | None = None,
    *,
    beta_format: str = "auto",
    units: str | None = None,
    nan_policy: str = "error",
    held_out: Sequence[int] = (),
) -> Trials:
    """Load a subject's betas, split into training and test images.

    Standardisation, per voxel:
        "session"  z-scores by mean and population deviation of each session's training trials,
                   then averages an image's repeats;
        "train"    averages repeats, then z-scores by mean and sample deviation (ddof 1) of the
                   training rows, as Brain-Diffuser does;
        "none"     averages repeats; percent signal change.
    A deviation below 1e-8 gives 0. Test trials never enter a statistic.

    Args:
        root: folder that holds `nsddata/` and `nsddata_betas/`.
        subject: 1 to 8, or the name of one in data of your own.
        selection: ROI, sessions, preparation, standardisation, repeats, test images; by default
            what `Selection()` says.
        layout: sizes to check against; the download's own by default.
        progress: called with (sessions done, sessions in all).
        beta_format: "auto" (HDF5 where it is there), "hdf5" or "nifti".
        units: "percent" if the files hold floats in percent signal change, "int16x300" as released;
            None for what the folder declares.
        nan_policy: for such floats, "error", "zero" or "drop" (leave the voxel out).
        held_out: 0-based ids of the test images of split "clusters".

    Returns:
        Trials with rows in ascending image id (single trials of one image as they were shown).

    Raises:
        UsageError: the selection or an option names something that does not exist.
        DataError: a file is missing, damaged or contradicts another.
    """
    selection = selection or Selection()
    if nan_policy not in NAN_POLICIES:
        raise UsageError(f"nan_policy is {nan_policy!r}, expected error, zero or drop")
    plan = plan_trials(
        root,
        subject,
        selection,
        layout,
        beta_format=beta_format,
        units=units,
        held_out=held_out,
    )
    betas = np.zeros((len(plan.rows.image_ids), len(plan.voxel_xyz)), dtype=np.float32)
    flaws = Flaws.of(betas.shape[1])
    for place in range(len(plan.files)):
        _add_session(betas, plan, place, selection.standardise, flaws, nan_policy)
        if progress is not None:
            progress(place + 1, len(plan.files))
    _finish(betas, plan, selection.standardise)
    ncsnr = load_ncsnr(plan.files[0].path.parent, plan.voxel_xyz, plan.grids[0].volume)
    kept = ~flaws.not_finite if nan_policy == "drop" else slice(None)
    leaking = _leak_sentences(root, plan)
    said = (*plan.warnings, *leaking, *flaws.sentences(len(plan.files), selection.roi, nan_policy))
    for sentence in said:
        warnings.warn(sentence, BrainkitWarning, stacklevel=2)
    return _trials(betas, plan, kept, ncsnr, selection.standardise, said)


def _add_session(
    betas: NDArray[np.float32],
    plan: TrialsPlan,
    place: int,
    standardise: str,
    flaws: Flaws,
    nan_policy: str,
) -> None:
    """Read one session and add its trials to their rows; nothing of it outlives this call."""
    file, rows, tested = plan.files[place], plan.rows.of_session[place], plan.rows.is_test[place]
    if standardise == "session":
        _require_training(file, tested)
    grid = plan.grids[place]
    raw = read_session(file.path, plan.voxel_xyz, grid)
    flaws.note(raw, file.path, nan_policy)
    if standardise == "session":
        add_session_scores(betas, raw, rows, fit=~tested, scale=grid.scale)
    else:
        add_raw(betas, raw, rows)


def _finish(betas: NDArray[np.float32], plan: TrialsPlan, standardise: str) -> None:
    """Turn sums over repeats into means and, in mode "train", z-score them; in place."""
    sums_to_unit = 1.0 if standardise == "session" else plan.grids[0].scale
    betas /= (plan.rows.repeats * sums_to_unit).astype(np.float32)[:, None]
    if standardise == "train":
        score_by_train(betas, plan.rows.n_train)


def _trials(
    betas: NDArray[np.float32],
    plan: TrialsPlan,
    kept: Any,
    ncsnr: NDArray[np.float32] | None,
    standardise: str,
    said: tuple[str, ...],
) -> Trials:
    rows = plan.rows
    train, test = slice(None, rows.n_train), slice(rows.n_train, None)
    return Trials(
        train=Split(
            np.ascontiguousarray(betas[train][:, kept]), rows.image_ids[train], rows.repeats[train]
        ),
        test=Split(
            np.ascontiguousarray(betas[test][:, kept]), rows.image_ids[test], rows.repeats[test]
        ),
        voxel_xyz=np.ascontiguousarray(plan.voxel_xyz[kept]),
        ncsnr=None if ncsnr is None else ncsnr[kept],
        sessions=plan.sessions,
        units="percent" if standardise == "none" else "zscore",
        warnings=said,
    )


def _check_selection(selection: Selection) -> None:
    for name, value, known in (
        ("preparation", selection.preparation, PREPARATIONS),
        ("standardise", selection.standardise, MODES),
        ("repeats", selection.repeats, REPEATS),
    ):
        if value not in known:
            hint = did_you_mean(str(value), known)
            raise UsageError(
                f"selection.{name} is {value!r}, expected one of {', '.join(known)}.{hint}"
            )


def _require_both_sides(rows: TrialRows, path: Path, split: str) -> None:
    train, test = rows.image_ids[: rows.n_train], rows.image_ids[rows.n_train :]
    for side, other, name in ((train, test, "training"), (test, train, "test")):
        if not len(side):
            raise DataError(
                f"{path}: none of the images in these sessions ({len(np.unique(other))}) is a "
                f"{name} image with split {split}; choose more selection.sessions, or another "
                "selection.split"
            )
    both = np.intersect1d(train, test)
    if len(both):
        raise DataError(
            f"{path} puts image {both[0]} (0-based) into training and test at once ({len(both)} "
            "such images), since two of the subject's own ids stand for it; download it again"
        )


def _leak_sentences(root: Path, plan: TrialsPlan) -> list[str]:
    ids, n_train = plan.rows.image_ids, plan.rows.n_train
    try:
        photographs = repeated_photographs(root, ids)
    except DataError as error:
        return [f"whether a photograph is on both sides of the split cannot be told: {error}"]
    sentence = leak(photographs, plan.split, ids[:n_train], ids[n_train:])
    return [sentence] if sentence else []


def _require_whole(
    headers: Mapping[Path, SessionHeader | None],
    voxel_xyz: NDArray[np.int32],
    grids: Sequence[SessionGrid],
) -> None:
    """Read those NIfTI files right away whose ending looks wrong, so that a cut one fails first."""
    for (path, header), grid in zip(headers.items(), grids, strict=True):
        if header is not None and looks_cut(path, header):
            read_session(path, voxel_xyz[:1], grid)


def _require_training(file: SessionFile, tested: NDArray[np.bool_]) -> None:
    if tested.all():
        raise DataError(
            f"{file.path}: session {file.session} has no training trials to standardise by; "
            "leave it out, or set selection.standardise to 'train' or 'none'"
        )
