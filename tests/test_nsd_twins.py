"""One photograph on both sides of the split, under two ids, is found and told."""

import csv
import shutil
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest

from brainkit.data import Selection
from brainkit.errors import DataError
from brainkit.nsd import check_data, load_trials, plan_trials
from brainkit.nsd.tables import coco_ids_of, load_stimulus_table
from brainkit.nsd.twins import repeated_photographs

ROOT = Path(__file__).parent / "golden/nsd/fake_nsd"
PICTURES = "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
TABLE = "nsddata/experiments/nsd/nsd_stim_info_merged.csv"


@pytest.fixture
def nsd(tmp_path):
    return shutil.copytree(ROOT, tmp_path / "nsd")


@pytest.fixture(scope="module")
def sides():
    """Ids of the training and the test images, ascending."""
    rows = plan_trials(ROOT, 1, Selection()).rows
    return rows.image_ids[: rows.n_train].tolist(), rows.image_ids[rows.n_train :].tolist()


def copy_coco_id(root, source, target):
    with (root / TABLE).open(newline="") as file:
        rows = list(csv.reader(file))
    for column in ("cocoId", "cocoSplit"):
        place = rows[0].index(column)
        rows[target + 1][place] = rows[source + 1][place]
    with (root / TABLE).open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def copy_picture(root, source, target):
    with h5py.File(root / PICTURES, "r+") as file:
        file["imgBrick"][target] = file["imgBrick"][source]


def warned(root, **selection):
    """The sentences of a loading that name two ids; they are warned and in the trials."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trials = load_trials(root, 1, Selection(**selection))
    assert {str(each.message) for each in caught} >= set(trials.warnings)
    return [each for each in trials.warnings if "under two ids" in each]


def test_nothing_is_told_of_different_photographs(nsd):
    assert warned(nsd) == []
    assert check_data(nsd).warnings == ()
    assert "warnings:" not in check_data(nsd).text()


@pytest.mark.parametrize("copy", [copy_coco_id, copy_picture])
def test_one_photograph_in_training_and_test_is_told(nsd, sides, copy):
    train, test = sides[0][5], sides[1][3]
    copy(nsd, train, test)
    (told,) = warned(nsd)
    assert f"images {train} (training) and {test} (test)" in told
    report = check_data(nsd)
    assert report.contradictions == ()
    (leak,) = [each for each in report.warnings if "split shared" in each]
    assert f"subj01: images {train} (training) and {test} (test)" in leak
    assert f"warnings:\n  {leak}" in report.text()


def test_a_pair_is_told_once_with_its_coco_id_and_others_are_counted(nsd, sides):
    for place in (2, 4):
        copy_coco_id(nsd, sides[0][place], sides[1][place])
        copy_picture(nsd, sides[0][place], sides[1][place])
    copy_picture(nsd, sides[0][6], sides[1][6])
    (told,) = warned(nsd)
    assert f"images {sides[0][2]} (training) and {sides[1][2]} (test)" in told
    assert "COCO id" in told
    assert "3 test images are among the training images" in told


def test_copies_on_one_side_are_told_where_they_are_parted(nsd, sides):
    copy_picture(nsd, sides[0][0], sides[0][1])
    copy_coco_id(nsd, sides[1][0], sides[1][1])
    assert warned(nsd) == []


def test_pictures_that_share_a_row_are_no_copies(nsd, sides):
    train, test = sides[0][0], sides[1][0]
    with h5py.File(nsd / PICTURES, "r+") as file:
        file["imgBrick"][test, 10:20] = file["imgBrick"][train, 10:20]
    assert warned(nsd) == []


def test_without_table_and_pictures_trials_load_as_before(nsd):
    (nsd / TABLE).unlink()
    (nsd / PICTURES).unlink()
    assert warned(nsd) == []
    assert check_data(nsd).warnings == ()


def test_coco_ids_of_some_rows_are_those_of_the_whole_table(nsd):
    ids = np.array([0, 7, 31, 59])
    expected = load_stimulus_table(nsd).coco_ids[ids]
    np.testing.assert_array_equal(coco_ids_of(nsd, ids), expected)
    with (nsd / TABLE).open(newline="") as file:
        rows = list(csv.reader(file))
    rows[3][rows[0].index("cropBox")] = "(0,\n0, 0, 0)"  # its row takes two lines
    with (nsd / TABLE).open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    np.testing.assert_array_equal(coco_ids_of(nsd, ids), expected)
    with pytest.raises(DataError, match="60 rows, but image id 60"):
        coco_ids_of(nsd, np.array([0, 60]))


def test_a_damaged_table_is_told_but_stops_no_loading(nsd):
    (nsd / TABLE).write_text("cocoId\n1\n")
    trials = load_trials_quietly(nsd)
    (told,) = [each for each in trials.warnings if "cannot be told" in each]
    assert str(nsd / TABLE) in told


def load_trials_quietly(root):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load_trials(root, 1, Selection())


def test_repeated_photographs_are_those_of_brute_force(nsd):
    rng = np.random.default_rng(0)
    for _ in range(25):
        first, second = rng.choice(60, 2, replace=False).tolist()
        copy_picture(nsd, first, second)
    with h5py.File(nsd / PICTURES) as file:
        pictures = file["imgBrick"][:]
    equal = (pictures[:, None] == pictures[None]).all(axis=(2, 3, 4))
    expected = {tuple(np.flatnonzero(row).tolist()) for row in equal if row.sum() > 1}
    assert any(len(group) > 2 for group in expected)
    found = repeated_photographs(nsd, np.arange(60))
    assert [each.ids for each in found] == sorted(expected)


def test_pictures_that_are_all_alike_cost_no_pairs(nsd):
    with h5py.File(nsd / PICTURES, "r+") as file:
        file["imgBrick"][:] = 0
    (photograph,) = repeated_photographs(nsd, np.arange(60))
    assert photograph.ids == tuple(range(60))
