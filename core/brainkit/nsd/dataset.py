"""Responses, pictures and captions as a dataset of torch, for a training loop of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from brainkit.data import Selection
from brainkit.errors import UsageError
from brainkit.names import Subject
from brainkit.nsd.captions import has_captions, load_captions
from brainkit.nsd.stimuli import load_stimuli
from brainkit.nsd.trials import load_trials, plan_trials


class TrialRow(NamedTuple):
    """One row of a dataset.

    Attributes:
        betas: float32 (voxels,), standardised as the selection says.
        picture: uint8 (height, width, 3), RGB; None if pictures are left out.
        captions: of the picture; empty where there are none.
        image_id: 0-based.
        subject: whose betas.
    """

    betas: Tensor
    picture: Tensor | None
    captions: tuple[str, ...]
    image_id: int
    subject: Subject


@dataclass(frozen=True)
class RowBatch:
    """Rows put together.

    Attributes:
        betas: float32 (batch, voxels).
        pictures: uint8 (batch, height, width, 3); None if they are left out.
        captions: of each row.
        image_ids: int64 (batch,), 0-based.
        subjects: of each row.
        voxels: int64 (batch,), how many of a row's numbers are betas; zeros follow in padded ones.
    """

    betas: Tensor
    pictures: Tensor | None
    captions: tuple[tuple[str, ...], ...]
    image_ids: Tensor
    subjects: tuple[Subject, ...]
    voxels: Tensor


class NSDDataset(Dataset[TrialRow]):
    """Rows of one subject's training or test images, in the order of `load_trials`.

    Making one checks all files cheaply and reads nothing large. Betas are read once, when the first
    row is asked for or by `load`, into memory that processes share; pictures are read from disk row
    by row, by whichever worker gives them. Test betas enter no statistic.

    Call `load` before a `DataLoader` with workers begins, or each worker reads the betas.
    """

    def __init__(
        self,
        root: str | Path,
        subject: Subject = 1,
        selection: Selection | None = None,
        *,
        split: Literal["train", "test"] = "train",
        pictures: bool = True,
        captions: bool | None = None,
    ) -> None:
        """Check the files of a download, of the miniature or of one's own data.

        Args:
            root: the folder.
            subject: its number or name.
            selection: ROI, sessions, standardisation and so on; `Selection()` by default. With
                `repeats="single"` a row is a trial.
            split: the training or the test images.
            pictures: whether rows have pictures.
            captions: whether rows have captions; None for those that there are.

        Raises:
            UsageError: the selection, the split or the subject does not exist.
            DataError: a file is missing, damaged or contradicts another.
        """
        if split not in ("train", "test"):
            raise UsageError(f"split is {split!r}, expected train or test")
        self.root, self.subject, self.split = Path(root), subject, split
        self.selection, self.pictures = selection or Selection(), pictures
        self.captions = has_captions(self.root) if captions is None else captions
        self.plan = plan_trials(self.root, subject, self.selection)
        n_train, ids = self.plan.rows.n_train, self.plan.rows.image_ids
        self.image_ids = ids[:n_train] if split == "train" else ids[n_train:]
        self._betas: Tensor | None = None
        self._texts: dict[int, tuple[str, ...]] | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.image_ids)

    @property
    def n_voxels(self) -> int:
        """Numbers in a row's betas."""
        return len(self.plan.voxel_xyz)

    @property
    def loaded(self) -> bool:
        """Whether the betas are in memory."""
        return self._betas is not None

    def load(self) -> NSDDataset:
        """Read the betas into memory that processes share, and return the dataset.

        Raises:
            DataError: a file is damaged.
        """
        if self._betas is None:
            trials = load_trials(self.root, self.subject, self.selection)
            half = trials.train if self.split == "train" else trials.test
            shared: Any = torch.from_numpy(half.betas)  # torch has no annotation of what follows
            self._betas = shared.share_memory_()
        return self

    @property
    def betas(self) -> Tensor:
        """All rows' betas, float32 (rows, voxels)."""
        loaded = self.load()._betas
        assert loaded is not None
        return loaded

    def __getitem__(self, index: int) -> TrialRow:
        """Return one row."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[TrialRow]:
        """Return several rows, whose pictures are read together, as a `DataLoader` asks for them.

        Raises:
            IndexError: there are not as many rows.
        """
        places = [range(len(self))[index] for index in indices]
        ids = self.image_ids[np.array(places, np.int64)]
        pictures = torch.from_numpy(load_stimuli(self.root, ids)) if self.pictures else None
        return [
            TrialRow(
                self.betas[place],
                None if pictures is None else pictures[row],
                self._captions_of(int(ids[row])),
                int(ids[row]),
                self.subject,
            )
            for row, place in enumerate(places)
        ]

    def _captions_of(self, image_id: int) -> tuple[str, ...]:
        if not self.captions:
            return ()
        if self._texts is None:
            distinct = np.unique(self.image_ids)
            texts = load_captions(self.root, distinct)
            self._texts = dict(zip(distinct.tolist(), texts, strict=True))
        return self._texts[image_id]


def collate(rows: Sequence[TrialRow]) -> RowBatch:
    """Put rows of one subject together.

    Raises:
        UsageError: rows have other numbers of voxels.
    """
    lengths = {len(row.betas) for row in rows}
    if len(lengths) > 1:
        raise UsageError(
            f"rows have {sorted(lengths)} voxels, as of several subjects; put them together by "
            "collate_padded or collate_by_subject"
        )
    return collate_padded(rows)


def collate_padded(rows: Sequence[TrialRow]) -> RowBatch:
    """Put rows of any subjects together; behind the betas of fewer voxels follow zeros."""
    betas = torch.nn.utils.rnn.pad_sequence([row.betas for row in rows], batch_first=True)
    pictures = [row.picture for row in rows if row.picture is not None]
    return RowBatch(
        betas=betas,
        pictures=torch.stack(pictures) if pictures else None,
        captions=tuple(row.captions for row in rows),
        image_ids=torch.tensor([row.image_id for row in rows]),
        subjects=tuple(row.subject for row in rows),
        voxels=torch.tensor([len(row.betas) for row in rows]),
    )


def collate_by_subject(rows: Sequence[TrialRow]) -> dict[Subject, RowBatch]:
    """Put rows of each subject together, subjects in the order in which they come."""
    subjects = dict.fromkeys(row.subject for row in rows)
    return {each: collate([row for row in rows if row.subject == each]) for each in subjects}
