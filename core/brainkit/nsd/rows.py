"""Which row of the result each trial adds to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainkit.nsd.design import Design
from brainkit.nsd.sessions import SessionFile


@dataclass(frozen=True)
class TrialRows:
    """The rows of the result: training rows first, then test rows, each by ascending image id.

    Attributes:
        image_ids: int32 (rows,), 0-based.
        repeats: int32 (rows,), trials that add to each row.
        n_train: number of training rows.
        of_session: for each session, int64 (trials,): the row of each trial.
        is_test: for each session, bool (trials,).
    """

    image_ids: NDArray[np.int32]
    repeats: NDArray[np.int32]
    n_train: int
    of_session: tuple[NDArray[np.int64], ...]
    is_test: tuple[NDArray[np.bool_], ...]


def arrange(
    design: Design,
    files: Sequence[SessionFile],
    *,
    average: bool,
    split: str = "shared",
    held_out: Sequence[int] = (),
) -> TrialRows:
    """Place trials in rows: one row an image with `average`, one row a trial without."""
    sessions = [file.session for file in files]
    trials = design.trials(sessions)
    ids, is_test = design.image_ids[trials], design.tested(sessions, split, held_out)
    order = np.lexsort((np.arange(len(trials)), ids, is_test))
    begins = np.ones(len(order), dtype=np.bool_)
    if average:
        begins[1:] = np.diff(ids[order]) != 0
        begins[1:] |= np.diff(is_test[order].astype(np.int8)) != 0
    ends = np.cumsum([design.lengths[each - 1] for each in sessions])[:-1]
    row_of = np.empty(len(order), dtype=np.int64)
    row_of[order] = np.cumsum(begins) - 1
    firsts = order[begins]
    return TrialRows(
        image_ids=ids[firsts],
        repeats=np.bincount(row_of).astype(np.int32),
        n_train=int(np.count_nonzero(~is_test[firsts])),
        of_session=tuple(np.split(row_of, ends)),
        is_test=tuple(np.split(is_test, ends)),
    )
