"""The dataset of torch gives what the loaders give, with any workers and of any subject."""

import warnings

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset

from brainkit.data import Selection
from brainkit.errors import DataError, UsageError
from brainkit.miniature import miniature
from brainkit.miniature.brain import Difficulty
from brainkit.nsd import (
    NSDDataset,
    Recording,
    collate,
    collate_by_subject,
    collate_padded,
    load_captions,
    load_stimuli,
    load_trials,
    write_dataset,
)


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    small = Difficulty(voxels=60, train_images=24, test_images=6)
    return miniature(tmp_path_factory.mktemp("people"), small, subjects=(1, 5)).nsd


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("repeats", ["average", "single"])
def test_rows_are_those_of_the_loaders(nsd, split, repeats):
    selection = Selection(repeats=repeats)
    dataset = NSDDataset(nsd, 1, selection, split=split)
    half = getattr(load_trials(nsd, 1, selection), split)
    assert isinstance(dataset, Dataset)
    assert len(dataset) == len(half.image_ids)
    assert dataset.n_voxels == half.betas.shape[1]
    for index in (0, len(dataset) - 1, -1):
        row = dataset[index]
        assert torch.equal(row.betas, torch.from_numpy(half.betas[index]))
        assert row.image_id == half.image_ids[index]
        assert np.array_equal(row.picture.numpy(), load_stimuli(nsd, [row.image_id])[0])
        assert row.captions == load_captions(nsd, [row.image_id])[0]
    with pytest.raises(IndexError):
        dataset[len(dataset)]


def test_nothing_large_is_read_before_the_first_row(nsd, monkeypatch):
    def read(*_, **__):
        raise DataError("read")

    monkeypatch.setattr("brainkit.nsd.dataset.load_trials", read)
    monkeypatch.setattr("brainkit.nsd.dataset.load_stimuli", read)
    dataset = NSDDataset(nsd)
    assert len(dataset) == 30
    assert not dataset.loaded
    with pytest.raises(DataError, match="read"):
        dataset[0]


def batches(dataset, workers, seed, collated=collate):
    loader = DataLoader(
        dataset,
        batch_size=7,
        shuffle=True,
        num_workers=workers,
        collate_fn=collated,
        generator=torch.Generator().manual_seed(seed),
    )
    return [list(loader) for _ in range(2)]


@pytest.mark.filterwarnings("ignore:This process")
def test_workers_and_seeds_give_the_same_order_of_rows_every_time(nsd):
    dataset = NSDDataset(nsd).load()
    alone, again, other = batches(dataset, 0, 1), batches(dataset, 2, 1), batches(dataset, 0, 2)
    for epoch, same in zip(alone, again, strict=True):
        for one, two in zip(epoch, same, strict=True):
            assert torch.equal(one.image_ids, two.image_ids)
            assert torch.equal(one.betas, two.betas)
            assert torch.equal(one.pictures, two.pictures)
            assert one.captions == two.captions

    def orders(epochs):
        return [torch.cat([each.image_ids for each in epoch]).tolist() for epoch in epochs]

    first, second = orders(alone)
    assert first != second
    assert sorted(first) == sorted(second) == sorted(dataset.image_ids.tolist())
    assert orders(other)[0] != first


def test_subjects_are_mixed_by_padding_or_apart(people):
    both = ConcatDataset([NSDDataset(people, 1), NSDDataset(people, 5)])
    counts = {1: 60, 5: 50}
    (padded, *_), _ = batches(both, 0, 0, collate_padded)
    (apart, *_), _ = batches(both, 0, 0, collate_by_subject)
    assert set(padded.subjects) == {1, 5}
    assert padded.betas.shape == (7, 60)
    for row, subject in enumerate(padded.subjects):
        assert padded.voxels[row] == counts[subject]
        assert not padded.betas[row, counts[subject] :].any()
    for subject, batch in apart.items():
        rows = [row for row, each in enumerate(padded.subjects) if each == subject]
        assert torch.equal(batch.betas, padded.betas[rows, : counts[subject]])
        assert torch.equal(batch.image_ids, padded.image_ids[rows])
    with pytest.raises(UsageError, match=r"rows have \[50, 60\] voxels, as of several subjects"):
        batches(both, 0, 0)


def test_pictures_and_captions_can_be_left_out(nsd):
    row = NSDDataset(nsd, pictures=False, captions=False)[3]
    assert row.picture is None
    assert row.captions == ()
    batch = collate([row, row])
    assert batch.pictures is None
    assert batch.betas.shape == (2, 40)


def test_data_of_ones_own_without_captions_give_rows(tmp_path):
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (8, 16, 16, 3)).astype(np.uint8)
    recording = Recording("sub-01", [rng.normal(size=(8, 5))], [list(range(8))])
    root = write_dataset(tmp_path / "own", [recording], pictures, test=0.25)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        row = NSDDataset(root, "sub-01", split="test")[0]
    assert row.subject == "sub-01"
    assert row.captions == ()
    assert np.array_equal(row.picture.numpy(), pictures[row.image_id])


def test_what_is_not_there_is_one_sentence(nsd):
    with pytest.raises(UsageError, match="split is 'valid', expected train or test"):
        NSDDataset(nsd, split="valid")
    with pytest.raises(UsageError, match="there is no subject 2; choose one of 1"):
        NSDDataset(nsd, 2)
