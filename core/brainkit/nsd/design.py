"""Which image each trial showed: `nsd_expdesign.mat`, checked against `responses.tsv`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainkit.errors import DataError, UsageError, did_you_mean
from brainkit.nsd.files import (
    Subject,
    design_path,
    exists,
    reading,
    responses_path,
    stimulus_table_path,
    trials_path,
)
from brainkit.nsd.layout import Layout, read_layout
from brainkit.nsd.tables import integers, read_columns, require_rows, whole

KEYS = ("masterordering", "subjectim", "sharedix")
SPLITS = ("shared", "first-seen-85")
"""Splits that follow from the design alone."""
CLUSTERS = "clusters"
"""The split whose test images are given."""


@dataclass(frozen=True)
class Design:
    """The images of one subject's trials, in the order they were shown.

    Attributes:
        image_ids: int32 (trials,), 0-based rows of the NSD picture array, all sessions.
        is_shared: bool (trials,), whether the image is one of those shared by all subjects; in data
            of one's own, one of the test images.
        lengths: trials of each session.
    """

    image_ids: NDArray[np.int32]
    is_shared: NDArray[np.bool_]
    lengths: tuple[int, ...]

    def trials(self, sessions: Sequence[int]) -> NDArray[np.int64]:
        """Return the 0-based trials of some 1-based sessions, in the order given."""
        ends = np.cumsum(self.lengths, dtype=np.int64)
        spans = (np.arange(ends[n - 1] - self.lengths[n - 1], ends[n - 1]) for n in sessions)
        return np.concatenate([np.zeros(0, np.int64), *spans])

    def tested(
        self, sessions: Sequence[int], split: str = "shared", held_out: Sequence[int] = ()
    ) -> NDArray[np.bool_]:
        """Say which trials of some sessions showed a test image; bool, in the order of `trials`.

        Args:
            sessions: 1-based; "first-seen-85" depends on them.
            split: "shared": the test images are those for which `is_shared`. "first-seen-85": of
                the distinct images in order of their first presentation in these sessions, the
                first floor(85 %) are training images and the rest test images. "clusters": the
                test images are those held out.
            held_out: 0-based ids, for "clusters".

        Raises:
            UsageError: there is no such split, or no image is held out.
        """
        trials = self.trials(sessions)
        if split == CLUSTERS:
            return _held_out(self.image_ids[trials], held_out)
        if split not in SPLITS:
            known = (*SPLITS, CLUSTERS)
            raise UsageError(
                f"selection.split is {split!r}, expected one of {', '.join(known)}."
                f"{did_you_mean(split, known)}"
            )
        if split == "shared":
            return self.is_shared[trials]
        ordered = _as_first_seen(self.image_ids[np.sort(trials)])
        return np.isin(self.image_ids[trials], ordered[len(ordered) * 85 // 100 :])

    def presented(
        self, sessions: Sequence[int], *, test: bool, split: str = "shared"
    ) -> NDArray[np.int32]:
        """Return the distinct training or test images in order of their first presentation."""
        ordered = sorted(sessions)
        shown = self.image_ids[self.trials(ordered)]
        return _as_first_seen(shown[self.tested(ordered, split) == test])


def which_tested(split: str, tested: int, seen: int, *, n_shared: int, n_sessions: int) -> str:
    """Say which images are the test images of a split that follows from the design.

    Args:
        split: its name.
        tested: distinct test images.
        seen: distinct images in all.
        n_shared: images shared by all subjects; 0 where the data name their test images.
        n_sessions: sessions they are from.
    """
    if split == "shared" and not n_shared:
        return f"the {tested} that the data name (of {seen} seen)"
    if split == "shared":
        some = f"{tested}" if tested == n_shared else f"{tested} of the {n_shared}"
        return f"the {some} shared by all subjects (split shared)"
    return (
        f"the last 15 % first seen in the {n_sessions} sessions loaded, {tested} of {seen} "
        f"(split {split}), so numbers do not compare with the split shared"
    )


def load_design(root: Path, subject: Subject, layout: Layout | None = None) -> Design:
    """Read which image each trial of a subject showed.

    With `tenk = masterordering[t]`, the image is `subjectim[subject - 1, tenk - 1] - 1`, and it is
    shared by all subjects if `tenk <= shared`. Compared with 73KID of `responses.tsv` when that is
    there.

    Data of one's own have `trials.tsv` instead, and the test images in the stimulus table.

    Raises:
        DataError: a file is damaged, lacks a field, is not 1-based, or contradicts the other.
    """
    layout = layout or read_layout(root)
    if layout.dataset:
        return _own_design(root, subject, layout)
    path = design_path(root)
    fields = _read_fields(path)
    _check_fields(path, fields, layout)
    lengths = layout.lengths(subject)
    n_trials = sum(lengths)
    order = fields["masterordering"].ravel()
    if len(order) < n_trials:
        raise DataError(
            f"{path}: masterordering has {len(order)} trials, expected at least {n_trials} "
            f"for subject {subject}; download it again"
        )
    own = order[:n_trials]
    ids = fields["subjectim"][int(subject) - 1, own - 1] - 1
    design = Design(ids.astype(np.int32), own <= layout.shared, lengths)
    _check_responses(responses_path(root, subject), subject, design)
    return design


def _own_design(root: Path, subject: Subject, layout: Layout) -> Design:
    path, table = trials_path(root, subject), stimulus_table_path(root)
    lengths = layout.lengths(subject)
    columns = read_columns(path, ("session", "image"), delimiter="\t")
    sessions, images = (integers(path, columns, name) for name in ("session", "image"))
    expected = np.repeat(np.arange(len(lengths)) + 1, lengths)
    if not np.array_equal(sessions, expected):
        raise DataError(
            f"{path} has {len(sessions)} trials, expected sessions of {_some(lengths)} trials in "
            "this order, as brainkit-layout.toml says; import these data again"
        )
    tests = np.array(read_columns(table, ("shared1000",), delimiter=",")["shared1000"]) == "True"
    require_rows(table, images, len(tests))
    return Design(images.astype(np.int32), tests[images], lengths)


def _some(lengths: Sequence[int]) -> str:
    return ", ".join(map(str, lengths[:5])) + (f", ... ({len(lengths)})" if lengths[5:] else "")


def load_presentations(root: Path, subjects: Sequence[int]) -> dict[int, NDArray[np.int64]]:
    """Read when each picture was to be shown to some subjects, from the stimulus table.

    Returns:
        For each subject int64 (stimuli, 3), 1-based trials of all planned sessions, 0 for never.

    Raises:
        DataError: the table is damaged or lacks a column.
    """
    path = stimulus_table_path(root)
    names = {each: [f"subject{each}_rep{repeat}" for repeat in range(3)] for each in subjects}
    columns = read_columns(path, [name for each in subjects for name in names[each]], delimiter=",")
    return {
        each: np.stack([integers(path, columns, name) for name in names[each]], axis=1)
        for each in subjects
    }


def check_presentations(
    root: Path, subject: Subject, design: Design, presented: NDArray[np.int64]
) -> None:
    """Check the trial numbers of the stimulus table against the design.

    Raises:
        DataError: `subjectK_rep0..2` place an image at a trial that showed another.
    """
    images, repeats = np.nonzero((presented > 0) & (presented <= len(design.image_ids)))
    trials = presented[images, repeats] - 1
    wrong = np.flatnonzero(design.image_ids[trials] != images)
    if len(wrong):
        first = wrong[0]
        raise DataError(
            f"{stimulus_table_path(root)}: subject{subject}_rep{repeats[first]} says trial "
            f"{trials[first] + 1} showed image {images[first]} (0-based), but nsd_expdesign.mat "
            f"says {design.image_ids[trials[first]]}; one of the two belongs to another download, "
            "get both again"
        )


def _held_out(shown: NDArray[np.int32], held_out: Sequence[int]) -> NDArray[np.bool_]:
    if not len(held_out):
        raise UsageError(
            "selection.split is 'clusters', but no test images are given; `brainkit run` clusters "
            "the images by itself, in Python give their ids as held_out"
        )
    return np.isin(shown, held_out)


def _as_first_seen(shown: NDArray[np.int32]) -> NDArray[np.int32]:
    _, first = np.unique(shown, return_index=True)
    ordered: NDArray[np.int32] = shown[np.sort(first)]
    return ordered


def _read_fields(path: Path) -> dict[str, NDArray[np.int64]]:
    import scipy.io

    with reading(path):
        loaded = scipy.io.loadmat(path, variable_names=KEYS)
        for key in KEYS:
            if key not in loaded:
                raise DataError(f"{path} has no field {key!r}; download it again")
    return {key: _whole_numbers(path, key, loaded[key]) for key in KEYS}


def _whole_numbers(path: Path, key: str, values: Any) -> NDArray[np.int64]:
    numbers = np.atleast_2d(values)
    if numbers.dtype.kind not in "iuf" or numbers.ndim != 2:
        raise DataError(
            f"{path}: {key} is {numbers.dtype} {numbers.shape}, expected a table of whole numbers; "
            "download it again"
        )
    wrong = numbers[~whole(numbers)]
    if len(wrong):
        raise DataError(
            f"{path}: {key} holds {wrong[0]}, expected whole numbers (ids, counted from 1); "
            "download it again"
        )
    return numbers.astype(np.int64)


def _check_fields(path: Path, fields: dict[str, NDArray[np.int64]], layout: Layout) -> None:
    for key, values in fields.items():
        if values.size == 0 or values.min() < 1:
            found = values.min() if values.size else "nothing"
            raise DataError(
                f"{path}: {key} has {found} as its lowest id, but ids are 1-based in the release; "
                "someone shifted or emptied it, download it again"
            )
    subjectim = fields["subjectim"]
    rows = max(map(int, layout.subjects))
    if subjectim.shape[0] < rows or subjectim.shape[1] < fields["masterordering"].max():
        raise DataError(
            f"{path}: subjectim is {subjectim.shape}, expected {rows} rows (subjects) and at "
            f"least {fields['masterordering'].max()} columns (images); download it again"
        )
    if subjectim.max() > layout.stimuli:
        raise DataError(
            f"{path}: subjectim has id {subjectim.max()}, but there are {layout.stimuli} stimuli; "
            "download it again, or correct brainkit-layout.toml"
        )
    shared = set(subjectim[:, : layout.shared].ravel().tolist())
    if shared != set(fields["sharedix"].ravel().tolist()):
        raise DataError(
            f"{path}: sharedix and the first {layout.shared} columns of subjectim name different "
            "images, expected the same 1-based ids; download it again"
        )


def _check_responses(path: Path, subject: Subject, design: Design) -> None:
    if not exists(path) and not path.is_symlink():
        return
    names = ("SUBJECT", "SESSION", "RUN", "TRIAL", "73KID")
    columns = read_columns(path, names, delimiter="\t")
    table = {name: integers(path, columns, name) for name in names}
    others = table["SUBJECT"][table["SUBJECT"] != subject]
    if len(others):
        raise DataError(
            f"{path} holds trials of subject {others[0]} in column SUBJECT, expected {subject}; "
            "put the file of this subject there"
        )
    rows = len(table["73KID"])
    if rows == 0:
        raise DataError(
            f"{path} has a header, but no trials; download it again, or delete it: it only guards "
            "against files of other subjects"
        )
    length = design.lengths[0]
    stray = np.flatnonzero(table["SESSION"] != np.arange(rows) // length + 1)
    if rows > len(design.image_ids) or len(stray):
        where = stray[0] if len(stray) else len(design.image_ids)
        raise DataError(
            f"{path}, data row {where + 1}: session {table['SESSION'][where]} with "
            f"{length} trials a session expected; download it again"
        )
    shown = design.image_ids[:rows] + 1
    wrong = np.flatnonzero(table["73KID"] != shown)
    if len(wrong):
        row = wrong[0]
        place = ", ".join(f"{name.lower()} {table[name][row]}" for name in names[1:4])
        raise DataError(
            f"{path}, {place}: 73KID is {table['73KID'][row]}, but nsd_expdesign.mat says "
            f"{shown[row]} (1-based); {len(wrong)} of {rows} trials disagree, so one of the two "
            "files was changed or belongs to another subject, download both again"
        )
