"""The miniature's subjects: whose voxels and images are whose; subject 1 is always the same."""

import hashlib
import warnings

import numpy as np
import pytest

from brainkit.data import Selection
from brainkit.errors import UsageError
from brainkit.miniature import is_made, miniature
from brainkit.miniature.brain import Difficulty
from brainkit.miniature.people import VOXELS
from brainkit.nsd import check_data, load_captions, load_design, load_stimuli, load_trials

SMALL = Difficulty(voxels=120, train_images=60, test_images=12)
SUBJECTS = (1, 2, 5, 7)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("people")


@pytest.fixture(scope="module")
def everyone(cache):
    return miniature(cache, SMALL, subjects=SUBJECTS).nsd


@pytest.fixture(scope="module")
def alone(cache):
    return miniature(cache, SMALL).nsd


def digest(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def loaded(root, subject):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load_trials(root, subject, Selection())


def test_check_data_finds_nothing_wrong_with_any_subject(everyone):
    report = check_data(everyone)
    assert report.contradictions == ()
    assert report.warnings == ()
    for subject in SUBJECTS:
        assert any(line.startswith(f"subj{subject:02d}: betas") for line in report.present)
        assert check_data(everyone, subject).contradictions == ()


def test_numbers_of_voxels_are_in_the_proportions_of_nsd(everyone):
    counts = {each: loaded(everyone, each).train.betas.shape[1] for each in SUBJECTS}
    assert counts == {each: round(120 * of / 15_724) for each, of in VOXELS.items()}


def test_test_images_are_shared_and_training_images_are_of_one_subject(everyone):
    trials = {each: loaded(everyone, each) for each in SUBJECTS}
    shared = trials[1].test.image_ids
    assert len(shared) == 12
    assert all(np.array_equal(of.test.image_ids, shared) for of in trials.values())
    own = [set(of.train.image_ids.tolist()) for of in trials.values()]
    assert all(len(ids) == 60 for ids in own)
    assert len(set.union(*own)) == 4 * 60


def test_each_subject_has_an_order_of_its_own(everyone):
    orders = [load_design(everyone, each) for each in SUBJECTS]
    shared = [tuple(design.image_ids[design.is_shared]) for design in orders]
    assert len(set(shared)) == 4
    assert len({frozenset(order) for order in shared}) == 1


def test_betas_tuning_and_noise_ceilings_are_of_the_subject_alone(everyone):
    trials = {each: loaded(everyone, each) for each in SUBJECTS}
    for each in SUBJECTS[1:]:
        n = trials[each].test.betas.shape[1]
        linked = [
            np.corrcoef(trials[1].test.betas[:, place], trials[each].test.betas[:, place])[0, 1]
            for place in range(n)
        ]
        assert np.abs(linked).max() < 0.95
    medians = [float(np.median(trials[each].ncsnr)) for each in SUBJECTS]
    assert len(set(medians)) == 4
    assert medians[0] > medians[-1]


def test_subject_1_is_the_same_alone_and_among_others(everyone, alone):
    parts = ("nsddata/ppdata/subj01", "nsddata/freesurfer/subj01", "nsddata_betas/ppdata/subj01")
    for part in parts:
        assert digest(everyone / part) == digest(alone / part)
    assert np.array_equal(load_design(everyone, 1).image_ids, load_design(alone, 1).image_ids)
    images = np.arange(SMALL.images)
    assert np.array_equal(load_stimuli(everyone, images), load_stimuli(alone, images))
    assert load_captions(everyone, images) == load_captions(alone, images)


def test_subjects_are_made_when_asked_for_and_the_others_stay(tmp_path):
    root = miniature(tmp_path, SMALL, subjects=[5]).nsd
    assert is_made(tmp_path, SMALL, subjects=[5])
    assert not is_made(tmp_path, SMALL, subjects=[5, 7])
    assert not is_made(tmp_path, SMALL)
    before = digest(root)
    assert miniature(tmp_path, SMALL, subjects=[7, 5]).nsd == root
    after = digest(root)
    assert {name: after[name] for name in before} == before
    assert {name.split("/subj")[1][:2] for name in set(after) - set(before)} == {"07"}


def test_what_a_killed_process_left_of_a_subject_is_made_again(tmp_path, everyone):
    root = miniature(tmp_path, SMALL, subjects=[5]).nsd
    half = root / "nsddata/ppdata/subj02/func1pt8mm/roi"
    half.mkdir(parents=True)
    (half / "stray.nii.gz").write_bytes(b"")
    miniature(tmp_path, SMALL, subjects=[2])
    assert digest(root / "nsddata/ppdata/subj02") == digest(everyone / "nsddata/ppdata/subj02")


@pytest.mark.parametrize("subjects", [[3], [1, 9], []])
def test_a_subject_that_it_has_not_is_one_sentence(tmp_path, subjects):
    with pytest.raises(UsageError, match="the miniature has the subjects 1, 2, 5 and 7"):
        miniature(tmp_path, SMALL, subjects=subjects)
    assert not list(tmp_path.iterdir())


def test_a_run_of_another_subject_reads_that_subject(cli):
    small = ("-o", "miniature.train_images=24", "-o", "miniature.test_images=4")
    report = cli.run("toy", "--subject", 5, *small, "-o", "miniature.voxels=60")
    assert report.parents[1].name == "subj05"
    ended = cli("run", "toy", "--subject", 4, code=2)
    assert "--subject is 4, but the miniature has subjects 1, 2, 5 and 7" in ended.stderr
